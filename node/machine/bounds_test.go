package machine

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs"
)

// A flood is what a crowd of strangers sends, each under a key of its own: the i-th
// message of each kind. All of it decodes, and is signed as it should be.
type flood struct {
	s *stage
	p *player // who is flooded
}

func (f flood) stranger(i int) key { return keyOf(fmt.Sprint("stranger", i)) }

// register returns an operation that costs its author nothing.
func (f flood) register(i int) *ledger.Op {
	k := f.stranger(i)
	op := &ledger.Op{
		Chain: ledger.ChainOf(f.s.g.Network()), Kind: ledger.KindDeviceRegister, Account: k.id, Seq: 1,
		Body: ledger.DeviceRegister{Class: testClass, Declared: 1000}.Encode(),
	}
	op.Sig = cheapSign(k.id, op.SigningDigest())
	return op
}

// gossip returns a message of a kind that everybody hears.
func (f flood) gossip(kind wire.Kind, i int) []byte {
	k, now := f.stranger(i), f.s.now.UnixMilli()
	switch kind {
	case wire.KindOp:
		return sealOp(f.register(i))
	case wire.KindFrame:
		frame := f.s.frameOf(0, nil, opNamed(fmt.Sprint(i)))
		frame.Sig[0] ^= 1
		return sealFrame(frame)
	case wire.KindBeat:
		slot := f.s.g.SlotAt(f.s.now)
		b := ledger.Beat{Slot: slot + ledger.Slot(i%2)}
		b.Witness = ledger.Schedule(&f.s.g.Ledger, ledger.GenesisBeacon(f.s.g.Network()), b.Slot)
		b.Proof[0], b.Proof[1] = byte(i), byte(i>>8)
		return wire.Seal(wire.KindBeat, b.AppendTo)
	case wire.KindOffer:
		o := market.Offer{
			Provider: k.id, Class: testClass, Region: testRegion, Seq: 1, Declared: 1000, Free: 1000, Expires: now + 60_000,
		}
		o.Sig = cheapSign(k.id, o.SigningDigest(f.s.g.Network()))
		return wire.Seal(kind, o.Put)
	default:
		b := market.Bid{
			Client: k.id, ID: p2p.Sum("need"), Class: testClass, Region: testRegion, Units: 1, Seconds: 1, Max: 1, Tasks: 1,
			Expires: now + 60_000,
		}
		b.Sig = cheapSign(k.id, b.SigningDigest(f.s.g.Network()))
		return wire.Seal(wire.KindBid, b.Put)
	}
}

// direct returns a message of a kind that one peer sends.
func (f flood) direct(kind wire.Kind, i int) []byte {
	id := opNamed(fmt.Sprint("lease", i))
	switch kind {
	case wire.KindAsk:
		a := market.Ask{
			Client: f.stranger(i).id, Bid: p2p.Sum("need"), Nonce: uint64(i), Class: testClass, Units: 1, Seconds: 1,
		}
		return wire.Seal(kind, a.Put)
	case wire.KindQuoted:
		q := market.Quote{Provider: f.stranger(i).id, Client: f.p.key.id, Class: testClass, Units: 1, Seconds: 1, Expires: 1}
		return wire.Seal(kind, q.Put)
	case wire.KindStart:
		st := market.Start{Lease: id, Terms: market.Terms{Module: p2p.Sum("m"), Tasks: 1, MemoryPages: 1, Seconds: 1}}
		return wire.Seal(kind, st.Put)
	case wire.KindReport:
		r := market.Report{Lease: id, Phase: market.PhaseRunning, Used: 1}
		return wire.Seal(kind, r.Put)
	case wire.KindPay:
		v := market.Voucher{Lease: id, Used: 1, Final: true}
		return wire.Seal(kind, v.Put)
	case wire.KindReveal:
		return wire.Seal(kind, func(w *wire.Writer) {
			w.Fixed(id[:])
			new(ledger.Beat).AppendTo(w)
			proofs.EncodeReveal(w, &proofs.Reveal{Roots: make([]p2p.Digest, 1000)})
		})
	case wire.KindHeads:
		return headsOf(make([]uint32, headWords*len(f.s.g.Ledger.Witnesses)))
	case wire.KindItems:
		var all items
		for n := range 16 {
			all.addOp(f.register(1_000_000 + 16*i + n))
		}
		return wire.Seal(kind, all.append)
	case wire.KindAccusation:
		return sealAccusation(f.fork(6_000_000 + i))
	case wire.KindBundle:
		b := &replica.Bundle{}
		for n := range 4 {
			b.Ops = append(b.Ops, f.register(5_000_000+4*i+n))
		}
		return wire.Seal(kind, func(w *wire.Writer) { w.Fixed(b.Encode()) })
	default:
		var v want
		for n := range wantMax {
			v.ops = append(v.ops, opNamed(fmt.Sprint(i, n)))
			v.bundles = append(v.bundles, replica.BundleID(opNamed(fmt.Sprint(i, n))))
		}
		return wire.Seal(wire.KindWant, v.append)
	}
}

// fork returns the proof that an account of nobody has signed two registrations.
func (f flood) fork(i int) *replica.Accusation {
	a := f.register(i)
	b := *a
	b.Body = ledger.DeviceRegister{Class: testClass, Declared: 7}.Encode()
	b.Sig = cheapSign(b.Account, b.SigningDigest())
	p := &replica.Accusation{Offence: replica.OpFork, Ops: [2]*ledger.Op{a, &b}}
	if a.ID().Compare(b.ID()) > 0 {
		p.Ops[0], p.Ops[1] = p.Ops[1], p.Ops[0]
	}
	return p
}

// [MCH-17] A step verifies at most two signatures and random outputs that strangers
// sent, and none of operations and frames.
// [MCH-18] What strangers can make a machine remember is bounded, and a step that
// takes their messages ends in less than a millisecond.
func TestFlood(t *testing.T) {
	for _, name := range []string{"witness1", "provider1", "client"} {
		t.Run(name, func(t *testing.T) {
			s := newMarket(t, 8, 2)
			p, verified := s.player(name), 0
			p.cfg.Crypto.Verify = func(id p2p.PeerID, d p2p.Digest, sig p2p.Signature) bool {
				verified++
				return cheapVerify(id, d, sig)
			}
			p.cfg.Crypto.VerifyBatch = func(batch []p2p.Signed) []bool {
				verified += len(batch)
				return p2p.VerifyEach(cheapVerify)(batch)
			}
			p.cfg.Crypto.VerifyVRF = func(k p2p.VRFKey, d p2p.Digest, proof p2p.VRFProof) (p2p.VRFOutput, bool) {
				verified++
				return cheapVRF(k, d, proof)
			}
			s.startAll()
			s.run(1200*time.Millisecond, nil)
			s.order(s.player("client"), testJob("a", 2, 0))
			s.run(200*time.Millisecond, nil)
			f := flood{s, p}
			before := heap()
			for kind := wire.KindOp; kind <= wire.KindWant; kind++ {
				if kind.Limit() == 0 {
					continue
				}
				var spent time.Duration
				const n = 2000
				for i := range n {
					var ev Event
					if kind < wire.KindAsk {
						ev = Gossiped{Data: f.gossip(kind, i)}
					} else {
						ev = Received{From: f.stranger(i).id, Data: f.direct(kind, i)}
					}
					verified = 0
					start := time.Now()
					fx := p.m.Step(s.now, ev)
					spent += time.Since(start)
					if verified > 2 {
						t.Fatalf("a step that takes %v verifies %d signatures", kind, verified)
					}
					for _, f := range fx {
						if v, ok := f.(Verify); ok {
							spent += s.answer(p, v)
						}
					}
				}
				// The bound is a millisecond. Ten leave room for a busy machine, and none for a
				// step whose work grows with what is held.
				if mean := spent / n; mean > 10*time.Millisecond {
					t.Errorf("a step that takes %v lasts %v", kind, mean)
				}
			}
			grown := heap() - before
			wantBounded(t, p.m)
			if grown > 64<<20 {
				t.Errorf("the heap has grown by %d MiB", grown>>20)
			}
			t.Logf("%d KiB more, %d operations pending, %d offers", grown>>10, p.m.replica.PendingLen(), p.m.book.Len())
			s.run(2*time.Second, nil) // it still works
			if err := sane(p.m); err != nil {
				t.Error(err)
			}
		})
	}
}

// answer tells a player which signatures are right, has it add them, and returns how
// long its longest step took.
func (s *stage) answer(p *player, v Verify) (longest time.Duration) {
	todo := []Event{Verified{ID: v.ID, OK: p2p.VerifyEach(cheapVerify)(v.Batch)}}
	for len(todo) > 0 {
		start := time.Now()
		fx := p.m.Step(s.now, todo[0])
		longest = max(longest, time.Since(start))
		todo = todo[1:]
		for _, f := range fx {
			if v, ok := f.(Verify); ok {
				todo = append(todo, Verified{ID: v.ID, OK: p2p.VerifyEach(cheapVerify)(v.Batch)})
			}
		}
		if len(todo) == 0 && !p.m.due.inbox.IsZero() {
			todo = append(todo, Tick{})
		}
	}
	return longest
}

// An answer with more than 256 operations is refused whole.
func TestItemsLimit(t *testing.T) {
	s := newMarket(t, never, 1)
	c := s.player("client")
	s.start(c)
	for more, want := range []bool{false, true} {
		var all items
		for i := range itemsMax + more {
			all.ops = append(all.ops, flood{s, c}.register(i))
		}
		data := wire.Seal(wire.KindItems, all.append)
		if got := noted(s.step(c, Received{From: keyOf("x").id, Data: data}), FactRefused); got != want {
			t.Errorf("%d operations are refused: %v", len(all.ops), got)
		}
	}
}

// heap returns the bytes in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// wantBounded demands that nothing in a machine is larger than its limit.
func wantBounded(t *testing.T, m *Machine) {
	t.Helper()
	for what, n := range map[string][2]int{
		"peers":          {len(m.peers), m.cfg.Limits.Peers + len(m.cfg.Genesis.Ledger.Witnesses)},
		"inbox":          {len(m.inbox.queue), m.cfg.Limits.Inbox},
		"inbox, names":   {len(m.inbox.held), m.cfg.Limits.Inbox},
		"sources":        {len(m.inbox.sources), m.cfg.Limits.Inbox},
		"sales":          {len(m.sales), m.cfg.Limits.Sales},
		"jobs":           {len(m.jobs), m.cfg.Limits.Jobs},
		"storms":         {len(m.storms), m.cfg.Limits.Sessions},
		"audits":         {len(m.audits), m.cfg.Limits.Sessions},
		"beats":          {len(m.beats.held), beatsKept + 1},
		"lanes":          {len(m.lanes), 1 + len(m.cfg.Genesis.Market.Classes)},
		"offers":         {m.book.Len(), 100_000},
		"operations":     {m.replica.PendingLen(), 16_384},
		"passed devices": {len(m.passed), 100},
	} {
		if n[0] > n[1] {
			t.Errorf("%d %s, at most %d", n[0], what, n[1])
		}
	}
}

// [MCH-19] A machine keeps at most Peers peers in mind, and the witnesses besides.
func TestPeersLimit(t *testing.T) {
	s := newMarket(t, never, 0)
	c := s.player("client")
	c.cfg.Limits.Peers = 50
	s.start(c)
	for i := range 500 {
		s.step(c, PeerUp{keyOf(fmt.Sprint(i)).id})
	}
	s.step(c, PeerUp{c.key.id})
	if n := c.m.Peers(); n != 50 {
		t.Errorf("%d peers, want 50", n)
	}
	for _, p := range s.players[:3] {
		s.start(p)
	}
	if n := c.m.Peers(); n != 53 {
		t.Errorf("%d peers with three witnesses, want 53", n)
	}
	for i := range 500 {
		s.step(c, PeerDown{keyOf(fmt.Sprint(i)).id})
	}
	if n := c.m.Peers(); n != 3 {
		t.Errorf("%d peers after the others left, want 3", n)
	}
}

// [MCH-20] A machine holds at most Jobs jobs. The oldest that is settled makes room;
// when none is, the order is refused.
func TestJobsLimit(t *testing.T) {
	s := newMarket(t, never, 2)
	c := s.player("client")
	c.cfg.Limits.Jobs = 3
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	var jobs []Job
	for i := range 5 {
		jobs = append(jobs, testJob(fmt.Sprint(i), 1, 0))
		s.order(c, jobs[i])
		s.wantSettled(c, jobs[i], time.Minute)
	}
	if _, ok := c.m.Job(jobs[1].ID); ok || len(c.m.Jobs()) != 3 || len(c.m.purchases) != 3 {
		t.Errorf("the machine holds %d jobs, the second among them %v; want the last three", len(c.m.Jobs()), ok)
	}
	if m, err := New(c.config(), c.snapshot()); err != nil || len(m.jobs) != 3 || len(m.purchases) != 3 {
		t.Errorf("after a restart: %v; want 3 jobs and their leases", err)
	}
	for _, p := range s.players {
		p.hangs = true
	}
	for i := range 4 {
		fx := s.step(c, Submit{Job: testJob(fmt.Sprint("under way", i), 1, 0)})
		if refused := noted(fx, FactJobDone); refused != (i == 3) {
			t.Errorf("order %d is refused: %v", i, refused)
		}
	}
}

// noted reports whether a fact is among the effects.
func noted(fx []Effect, fact Fact) bool {
	for _, f := range fx {
		if n, ok := f.(Note); ok && n.Fact == fact {
			return true
		}
	}
	return false
}

// [MCH-21] A machine proves at most Sessions storms at once, and judges as many.
func TestSessionsLimit(t *testing.T) {
	s := newMarket(t, 1, 4)
	for _, p := range s.players {
		p.cfg.Limits.Sessions = 2
	}
	s.watch = append(s.watch, func(p *player, _ Event, _ []Effect) {
		if len(p.m.storms) > 2 || len(p.m.audits) > 2 {
			t.Fatalf("%s proves %d storms and judges %d", p.name, len(p.m.storms), len(p.m.audits))
		}
	})
	s.startAll()
	s.run(30*time.Second, nil)
}

// A job goes on while strangers flood everybody with operations.
func TestJobInFlood(t *testing.T) {
	s := newMarket(t, never, 2)
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	c, j := s.player("client"), testJob("a", 2, 0)
	s.order(c, j)
	for _, p := range s.players {
		for i := range 3000 {
			s.step(p, Gossiped{Data: flood{s, p}.gossip(wire.KindOp, i)})
		}
	}
	s.wantSettled(c, j, time.Minute)
}
