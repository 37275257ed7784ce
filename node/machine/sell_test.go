package machine

import (
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// [MCH-14] A node signs no operation that witnesses may not vote for: a lease that is
// longer than a device on probation may sell is declined.
func TestProbationTerm(t *testing.T) {
	s := newMarket(t, never, 1)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	c, p := s.player("client"), s.player("provider1")
	start := s.leaseUnaskedFor(c, p, 1000, market.ProbationTerm+1, 1)[0]
	s.run(500*time.Millisecond, nil)
	s.step(p, Received{From: c.key.id, Data: wire.Seal(wire.KindStart, start.Put)})
	s.run(2*time.Second, nil)
	l, _ := c.m.leases.Lease(start.Lease)
	if l.State != market.StateClosed || l.Reason != market.EndDeclined || l.Refund != l.Escrow {
		t.Errorf("lease is %v, %v, refund %v of %v", l.State, l.Reason, l.Refund, l.Escrow)
	}
}

// sent returns how many messages of a kind are among the effects.
func sent(fx []Effect, want wire.Kind) (n int) {
	for _, f := range fx {
		var data []byte
		switch f := f.(type) {
		case Send:
			data = f.Data
		case Publish:
			data = f.Data
		default:
			continue
		}
		if kind, _, _ := wire.Open(data); kind == want {
			n++
		}
	}
	return n
}

// running returns a market in which a job of one task runs and does not end, with
// the provider that runs it.
func running(t *testing.T, providers int) (s *stage, c, p *player, j Job) {
	t.Helper()
	s = newMarket(t, never, providers)
	for _, p := range s.players {
		p.hangs = true
	}
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	c, j = s.player("client"), testJob("a", 1, 0)
	s.order(c, j)
	s.run(2*time.Second, func() bool {
		for _, q := range c.m.purchases {
			if !q.started.IsZero() {
				p = s.byID(q.provider)
			}
		}
		return p != nil
	})
	if p == nil {
		t.Fatal("no job runs")
	}
	return s, c, p, j
}

// [MCH-10] A provider that comes back with nothing to sell, or another class, still
// closes the leases of its former life.
func TestSellsSomethingElse(t *testing.T) {
	for name, sell := range map[string]*Sell{
		"nothing":       nil,
		"another class": {Class: "gpu.24", Region: testRegion, Units: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, p, j := running(t, 2)
			s.run(2*time.Second, nil)
			s.stop(p)
			p.cfg.Sell = sell
			s.run(time.Second, nil)
			for _, q := range s.players {
				q.hangs = false
			}
			s.start(p)
			s.wantSettled(c, j, time.Minute)
			s.run(3*time.Second, nil)
			s.wantBalance()
		})
	}
}

// A lease of a node that does not sell its class is declined, and a last voucher
// closes it.
func TestSellsNothing(t *testing.T) {
	for _, name := range []string{"witness1", "provider1"} {
		t.Run(name, func(t *testing.T) { sellsNothing(t, name) })
	}
}

func sellsNothing(t *testing.T, name string) {
	s := newMarket(t, never, 1)
	s.player("provider1").cfg.Sell.Class = "gpu.24"
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	c, idle := s.player("client"), s.player(name)
	starts := s.leaseUnasked(c, idle, 1000, 2)
	s.run(500*time.Millisecond, nil)
	s.step(idle, Received{From: c.key.id, Data: wire.Seal(wire.KindStart, starts[0].Put)})
	last := market.Voucher{Lease: starts[1].Lease, Final: true}
	s.step(idle, Received{From: c.key.id, Data: wire.Seal(wire.KindPay, last.Put)})
	s.run(2*time.Second, nil)
	for _, st := range starts {
		if l, _ := c.m.leases.Lease(st.Lease); l.State != market.StateClosed || l.Refund != l.Escrow {
			t.Errorf("lease is %v with a refund of %v", l.State, l.Refund)
		}
	}
	s.wantBalance()
}

// [MCH-11] A provider serves at most Sales leases at once; it declines the others,
// and their clients get their money back.
func TestSalesLimit(t *testing.T) {
	s := newMarket(t, never, 1)
	p, c := s.player("provider1"), s.player("client")
	p.hangs, p.cfg.Limits.Sales = true, 2
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	starts := s.leaseUnasked(c, p, 500, 10)
	s.run(3*time.Second, nil)
	ran := 0
	s.watch = append(s.watch, func(_ *player, _ Event, fx []Effect) {
		for _, f := range fx {
			if _, ok := f.(RunJob); ok {
				ran++
			}
		}
	})
	for _, st := range starts {
		s.step(p, Received{From: c.key.id, Data: wire.Seal(wire.KindStart, st.Put)})
	}
	s.run(5*time.Second, nil)
	declined := 0
	for l := range c.m.leases.Leases() {
		if l.State == market.StateClosed && l.Reason == market.EndDeclined && l.Refund == l.Escrow {
			declined++
		}
	}
	if ran != 2 || declined != 8 || p.m.Sales() != 2 {
		t.Errorf("%d jobs ran, %d leases were declined, %d are served; want 2, 8, 2", ran, declined, p.m.Sales())
	}
}

// [MCH-12] A client gives up a provider that talks and does not come to an end:
// Load after the lease when nothing has started, and after twice the job's longest
// time and Patience when it has.
func TestOverdue(t *testing.T) {
	t.Run("never starts", func(t *testing.T) {
		s := newMarket(t, never, 2)
		c := s.player("client")
		c.cfg.Timing.Load = 15 * time.Second
		for _, p := range s.players {
			p.stuck = true
		}
		s.startAll()
		s.run(1200*time.Millisecond, nil)
		j := testJob("a", 1, 0)
		s.order(c, j)
		s.run(5*time.Second, nil)
		for _, p := range s.players {
			p.stuck = false
		}
		s.wantSettled(c, j, 25*time.Second)
	})
	t.Run("never ends", func(t *testing.T) {
		s, c, p, j := running(t, 2)
		s.rules = []*rule{{kind: wire.KindOp, from: p.name, count: -1}, {kind: wire.KindItems, from: p.name, count: -1}}
		s.alwaysRunning(p)
		from := s.now
		s.run(3*time.Minute, func() bool { v, _ := c.m.Job(j.ID); return v.Done })
		if took := s.now.Sub(from); took < 2*time.Minute || took > 140*time.Second {
			t.Errorf("the job took %v, want twice a minute and Patience", took)
		}
		if q := inOrder(c.m.purchases); q[0].paid > 60 || q[1].paid > 60 {
			t.Errorf("%d and %d s were paid, want at most 60", q[0].paid, q[1].paid)
		}
	})
	t.Run("closes without an output", func(t *testing.T) {
		s, c, p, j := running(t, 2)
		s.alwaysRunning(p)
		v := s.wantSettled(c, j, 100*time.Second)
		if len(v.Leases) != 2 || v.Tasks[0].Provider == p.key.id {
			t.Errorf("%d leases, want one with each provider", len(v.Leases))
		}
	})
}

// alwaysRunning lets a provider say for ever that its job runs.
func (s *stage) alwaysRunning(p *player) {
	s.twists = append(s.twists, func(from, _ *player, kind wire.Kind, data []byte) []byte {
		if from != p || kind != wire.KindReport {
			return data
		}
		_, r, _ := wire.Open(data)
		said := market.TakeReport(r)
		rep := market.Report{Lease: said.Lease, Phase: market.PhaseRunning, Used: said.Used}
		return wire.Seal(wire.KindReport, rep.Put)
	})
	for _, q := range s.players {
		q.hangs = false
	}
}

// A client that was away does not blame the provider that gave it up; one that is
// back and in touch does.
func TestBlame(t *testing.T) {
	for _, inTouch := range []bool{false, true} {
		s, c, p, j := running(t, 1)
		s.stop(c)
		s.run(time.Second, nil)
		if !inTouch {
			s.run(40*time.Second, nil)
		}
		s.start(c)
		s.run(1500*time.Millisecond, nil)
		if inTouch {
			s.step(p, JobDone{Lease: inOrder(c.m.purchases)[0].lease, Failed: true, Text: "no room"})
			s.run(100*time.Millisecond, nil)
		}
		if fails := c.m.jobs[j.ID].tasks[0].fails; (fails > 0) != inTouch {
			t.Errorf("in touch %v: the task counts %d fails of its provider", inTouch, fails)
		}
	}
}

// What is fetched is the output, whatever the provider says meanwhile.
func TestOutputIsWhatWasFetched(t *testing.T) {
	s := newMarket(t, never, 1)
	c, done := s.player("client"), 0
	other := p2p.Sum("another output")
	s.twists = append(s.twists, func(from, to *player, kind wire.Kind, data []byte) []byte {
		if kind != wire.KindReport || from == c {
			return data
		}
		_, r, _ := wire.Open(data)
		rep := market.TakeReport(r)
		if rep.Phase == market.PhaseDone && done == 0 {
			done++
			rep.Output, rep.Used = other, 50
			second := wire.Seal(wire.KindReport, rep.Put)
			s.post(&arrival{at: s.now.Add(linkDelay + time.Millisecond), to: to, life: -1, make: func() Event {
				return Received{From: from.key.id, Data: second}
			}})
		}
		return data
	})
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	j := testJob("a", 1, 0)
	s.order(c, j)
	v := s.wantSettled(c, j, 10*time.Second)
	if done == 0 || v.Tasks[0].Output == other {
		t.Errorf("the output is one that was never fetched (%d reports)", done)
	}
}

// A report's text is cut to what a report holds.
func TestLongText(t *testing.T) {
	s, _, p, _ := running(t, 1)
	lease := inOrder(s.player("client").m.purchases)[0].lease
	fx := s.step(p, JobDone{Lease: lease, Source: market.ExitTrap, Exit: 134, Text: strings.Repeat("x", 1000)})
	if sent(fx, wire.KindReport) != 1 {
		t.Error("no report")
	}
}

// [MCH-13] One offer answers all bids of a Quote time.
func TestBidFlood(t *testing.T) {
	s := newMarket(t, never, 1)
	p, verified := s.player("provider1"), 0
	p.cfg.Crypto.Verify = func(id p2p.PeerID, d p2p.Digest, sig p2p.Signature) bool {
		verified++
		return cheapVerify(id, d, sig)
	}
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	offers := 0
	verified = 0
	s.watch = append(s.watch, func(q *player, _ Event, fx []Effect) {
		if q == p {
			offers += sent(fx, wire.KindOffer)
		}
	})
	for i := range 1000 {
		k := keyOf(strings.Repeat("x", i))
		b := market.Bid{
			Client: k.id, ID: p2p.Sum("need"), Class: testClass, Region: testRegion, Units: 1, Seconds: 1, Max: 1, Tasks: 1,
			Expires: s.now.Add(time.Minute).UnixMilli(),
		}
		b.Sig = cheapSign(k.id, b.SigningDigest(s.g.Network()))
		s.step(p, Gossiped{Data: wire.Seal(wire.KindBid, b.Put)})
		s.run(time.Millisecond, nil)
	}
	if offers < 2 || offers > 4 {
		t.Errorf("%d offers in a second of bids, want one each 400 ms", offers)
	}
	if verified > 10 {
		t.Errorf("%d signatures were verified, want one for each offer", verified)
	}
}

// A voucher for fewer seconds than the best one, and one that the client did not
// sign, leave the best one as it is.
//
// [MCH-8] Every message is idempotent: one that comes twice does what it does once.
func TestBestVoucherStays(t *testing.T) {
	s, c, p, _ := running(t, 1)
	s.run(3500*time.Millisecond, nil)
	lease := inOrder(c.m.purchases)[0].lease
	best := p.m.sales[lease].voucher
	if best.Used < 3 {
		t.Fatalf("the best voucher is for %d s", best.Used)
	}
	older, forged := market.Voucher{Lease: lease, Used: best.Used - 1}, market.Voucher{Lease: lease, Used: best.Used + 9}
	older.Sig = c.cfg.Crypto.Sign(older.SigningDigest(s.g.Network()))
	for _, v := range []market.Voucher{older, forged} {
		for _, f := range s.step(p, Received{From: c.key.id, Data: wire.Seal(wire.KindPay, v.Put)}) {
			if _, ok := f.(Save); ok {
				t.Errorf("a voucher for %d s is saved, the best is for %d", v.Used, best.Used)
			}
		}
	}
	if got := p.m.sales[lease].voucher; got != best {
		t.Errorf("the best voucher was for %d s, now it is for %d", best.Used, got.Used)
	}
}
