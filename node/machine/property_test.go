package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p/wire"
)

// [MCH-5] The leases of a job never hold, or have cost, more than its maximum.
//
// The stage checks it after every step, operations that wait for their turn
// included.
func TestBudgetHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newMarket(t, never, rapid.IntRange(1, 6).Draw(t, "providers"))
		for _, p := range s.players {
			if p.cfg.Sell != nil {
				p.cfg.Sell = sells(4000, ledger.Amount(rapid.Uint64Range(0, 2).Draw(t, "reserve"))*ledger.Token)
			}
		}
		s.startAll()
		s.run(1500*time.Millisecond, nil)
		c := s.player("client")
		j := testJob("a", uint32(rapid.IntRange(1, 6).Draw(t, "tasks")), 0)
		const charge = 12_868_570 // of a task on an idle provider
		whole, rest := rapid.Uint64Range(0, 6).Draw(t, "charges"), rapid.Uint64Range(1, charge).Draw(t, "rest")
		j.Max = ledger.Amount(charge*whole + rest)
		s.order(c, j)
		s.run(5*time.Minute, func() bool { return c.settled(j) })
		v, _ := c.m.Job(j.ID)
		if !v.Settled {
			t.Fatalf("not settled: %+v", v)
		}
		s.run(3*time.Second, nil)
		s.wantBalance()
	})
}

// [MCH-6] A voucher is for no more seconds than have passed since the lease was
// certain, and one interval, whatever the provider reports.
func TestVouchersBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newMarket(t, never, 2)
		c := s.player("client")
		opened := map[ledger.OpID]time.Time{}
		s.watch = append(s.watch, func(p *player, _ Event, fx []Effect) {
			if p != c {
				return
			}
			for id, q := range c.m.purchases {
				if q.opened != 0 && opened[id].IsZero() {
					opened[id] = s.now
				}
			}
			for _, f := range fx {
				send, ok := f.(Send)
				if !ok {
					continue
				}
				if kind, r, _ := wire.Open(send.Data); kind == wire.KindPay {
					v := market.TakeVoucher(r)
					if most := s.now.Sub(opened[v.Lease]) + 2*time.Second; time.Duration(v.Used)*time.Second > most {
						t.Fatalf("a voucher for %d s, %v after the lease was certain", v.Used, most-2*time.Second)
					}
				}
			}
		})
		s.twists = append(s.twists, func(_, _ *player, kind wire.Kind, data []byte) []byte {
			if kind != wire.KindReport || rapid.Bool().Draw(t, "honest") {
				return data
			}
			_, r, _ := wire.Open(data)
			p := market.TakeReport(r)
			p.Used = rapid.Uint64().Draw(t, "used")
			return wire.Seal(wire.KindReport, p.Put)
		})
		for _, p := range s.players {
			p.takes = time.Duration(rapid.IntRange(0, 4000).Draw(t, "takes")) * time.Millisecond
		}
		s.startAll()
		s.run(1500*time.Millisecond, nil)
		j := testJob("a", 2, 0)
		s.order(c, j)
		s.wantSettled(c, j, time.Minute)
	})
}

// rounds runs a job of two tasks, one of them checked, to its end, and returns the
// stage at rest. crash, if set, is told each step and may end a player's life.
func rounds(t tester) (*stage, *player, Job) {
	s := newMarket(t, never, 2)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	return s, s.player("client"), testJob("a", 2, 1)
}

// [MCH-7] A node that dies after any of its Saves, before anything else of that
// step, ends its story as if it had not: jobs end with their outputs, every lease
// is closed, and nothing stays in escrow.
func TestDeathAfterAnySave(t *testing.T) {
	for _, name := range []string{"client", "provider1", "provider2", "witness1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deaths := 0
			for n := 1; dieAfter(t, name, n); n++ {
				deaths++
			}
			if deaths < 5 {
				t.Errorf("%s saved %d times, too few for this test to mean anything", name, deaths)
			}
		})
	}
}

// dieAfter plays a job in which a player dies after its n-th Save, and reports
// whether it saved so often.
func dieAfter(t *testing.T, name string, n int) bool {
	t.Helper()
	s, c, j := rounds(t)
	p := s.player(name)
	p.dieAfter = n
	s.order(c, j)
	s.run(20*time.Second, func() bool { return p.m == nil })
	if p.m != nil {
		return false
	}
	s.run(500*time.Millisecond, nil)
	s.start(p)
	if c.m.jobs[j.ID] == nil { // the order died with the client: the user gives it again
		s.order(c, j)
	}
	s.wantSettled(c, j, 2*time.Minute)
	s.run(4*time.Second, nil)
	s.wantBalance()
	v, _ := c.m.Job(j.ID)
	for _, task := range v.Tasks {
		if want := outputOf(c, task.terms(j)); task.Output != want {
			t.Errorf("death %d of %s: task %d has another output", n, name, task.Index)
		}
	}
	if spent, paid := c.spent(), paidFor(v); spent != paid {
		t.Errorf("death %d of %s: the client has spent %v, its leases have cost %v", n, name, spent, paid)
	}
	return true
}

// terms returns the terms under which a task ran.
func (v TaskView) terms(j Job) market.Terms {
	return market.Terms{Module: j.Module, Input: j.Input, Task: v.Of}
}

// spent returns what a player with 1000 tokens at genesis has lost.
func (p *player) spent() ledger.Amount {
	return 1000*ledger.Token - p.m.replica.State().Balance(p.key.id)
}

// paidFor returns what the leases of a job have cost, fees included.
func paidFor(v JobView) (sum ledger.Amount) {
	for _, l := range v.Leases {
		sum += l.Lease.Escrow - l.Lease.Refund + 1000
	}
	return sum
}

// A tape holds what a player was told, and when.
type tape struct {
	at []time.Time
	ev []Event
}

// kindOfEvent names an event, and a message by its kind.
func kindOfEvent(ev Event) string {
	switch ev := ev.(type) {
	case Gossiped:
		kind, _, _ := wire.Open(ev.Data)
		return kind.String()
	case Received:
		kind, _, _ := wire.Open(ev.Data)
		return kind.String()
	default:
		return fmt.Sprintf("%T", ev)
	}
}

// [MCH-8] Every message is idempotent: one that comes twice does what it does once.
func TestTwiceIsOnce(t *testing.T) {
	s := newMarket(t, 2, 2)
	tapes := map[*player]*tape{}
	for _, p := range s.players {
		tapes[p] = &tape{}
	}
	s.watch = append(s.watch, func(p *player, ev Event, _ []Effect) {
		tapes[p].at, tapes[p].ev = append(tapes[p].at, s.now), append(tapes[p].ev, ev)
	})
	for _, p := range s.players {
		p.takes = 1500 * time.Millisecond
	}
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	s.player("client").m.peerUp(s.player("witness1").key.id)
	c, j := s.player("client"), testJob("a", 2, 1)
	s.rules = []*rule{{kind: wire.KindOp, from: "client", to: "witness1", count: 1}} // so that it asks for it
	s.order(c, j)
	s.wantSettled(c, j, time.Minute)
	s.run(20*time.Second, nil)

	seen := map[string]int{}
	for _, p := range s.players {
		once := tapes[p].replay(t, p, "", 0)
		for _, ev := range tapes[p].ev {
			seen[kindOfEvent(ev)]++
		}
		for kind := range seen {
			if kind == "machine.Tick" {
				continue // it is no message: the host makes one when the Deadline has passed
			}
			for _, lag := range []int{1, 30} {
				if twice := tapes[p].replay(t, p, kind, lag); twice != once {
					t.Errorf("%s: every %s again %d events later\n%s\nonce\n%s", p.name, kind, lag, twice, once)
				}
			}
		}
	}
	for _, kind := range []string{
		"op", "frame", "beat", "offer", "bid", "ask", "quoted", "start", "report", "pay", "reveal", "heads", "items",
		"machine.PeerUp", "machine.Submit", "machine.JobStarted", "machine.JobDone", "machine.Fetched",
		"machine.Proved", "machine.Opened", "machine.Checked",
	} {
		if seen[kind] == 0 {
			t.Errorf("the story has no %s", kind)
		}
	}
}

// replay tells a fresh machine what is on the tape, events of one kind once more
// when lag more have happened, and returns what it knows about money.
func (tp *tape) replay(t *testing.T, p *player, kind string, lag int) string {
	m, err := New(p.config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for i, ev := range tp.ev {
		if lag > 0 && i >= lag && kindOfEvent(tp.ev[i-lag]) == kind {
			promises(said, stepped(m, tp.at[i], tp.ev[i-lag], nil))
		}
		promises(said, stepped(m, tp.at[i], ev, nil))
	}
	return m.summary() + strings.Join(slices.Sorted(maps.Keys(said)), "\n")
}

// promises notes the vouchers that are sent and the seconds that are charged at the
// end of a job.
func promises(said map[string]bool, fx []Effect) {
	for _, f := range fx {
		send, ok := f.(Send)
		if !ok {
			continue
		}
		switch kind, r, _ := wire.Open(send.Data); kind {
		case wire.KindPay:
			v := market.TakeVoucher(r)
			said[fmt.Sprintf("voucher %s %d %v", v.Lease.Short(), v.Used, v.Final)] = true
		case wire.KindReport:
			if p := market.TakeReport(r); p.Phase == market.PhaseDone {
				said[fmt.Sprintf("charge %s %d", p.Lease.Short(), p.Used)] = true
			}
		}
	}
}

// summary returns all that a machine holds to be true of money and work.
func (m *Machine) summary() string {
	text := fmt.Sprintf("state %v\n", m.replica.State().Root().Short())
	for _, q := range inOrder(m.purchases) {
		text += fmt.Sprintf("purchase %s: paid %d final %v orphan %v closed %v\n", q.lease.Short(), q.paid, q.final,
			q.orphan, q.closed)
	}
	for _, j := range m.sortedJobs() {
		text += fmt.Sprintf("job %s: ended %v cause %v\n", j.ID.Short(), j.ended, j.cause)
		for _, t := range j.tasks {
			text += fmt.Sprintf("task %d: %d by %s, %d fails, output %s\n", t.index, t.phase, t.by.Short(), t.fails,
				t.result.Output.Short())
		}
	}
	for id, s := range m.sales {
		text += fmt.Sprintf("sale %s: %d, voucher %d\n", id.Short(), s.phase, s.voucher.Used)
	}
	for _, l := range sortedLanes(m) {
		seq, head := m.replica.State().Head(m.cfg.Self, l)
		text += fmt.Sprintf("lane %d: %d %s, flying %v, queued %d\n", l, seq, head.Short(),
			len(m.lanes[l].flying), len(m.lanes[l].queue))
	}
	return text
}

func sortedLanes(m *Machine) []ledger.Lane { return slices.Sorted(maps.Keys(m.lanes)) }
