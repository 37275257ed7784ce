package machine

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A still is what a player had saved at a moment, and the time.
type still struct {
	p     *player
	now   time.Time
	saved Snapshot
}

// stills are moments of one network with storms and a job: in the middle, with
// messages that have not arrived, and at the end, with all that were ever sent.
type stills struct {
	mid, end []still
	messages map[wire.Kind][][]byte
}

// play once: the fuzzer starts from it at every input.
var takeStills = sync.OnceValue(func() *stills {
	s := newMarket(panicker{}, 3, 2)
	st := &stills{messages: map[wire.Kind][][]byte{}}
	s.watch = append(s.watch, func(_ *player, ev Event, _ []Effect) {
		var data []byte
		switch ev := ev.(type) {
		case Gossiped:
			data = ev.Data
		case Received:
			data = ev.Data
		default:
			return
		}
		kind, _, _ := wire.Open(data)
		st.messages[kind] = append(st.messages[kind], data)
	})
	for _, p := range s.players {
		p.takes = 3 * time.Second
	}
	s.startAll()
	s.rules = []*rule{{kind: wire.KindOp, from: "provider1", to: "witness1", count: 3}} // so that it wants some
	s.run(2500*time.Millisecond, nil)
	c, j := s.player("client"), testJob("a", 2, 1)
	s.order(c, j)
	s.run(2*time.Second, nil)
	st.mid = s.stills()
	s.wantSettled(c, j, time.Minute)
	s.run(10*time.Second, nil)
	st.end = s.stills()
	b := &replica.Bundle{} // nobody in the story makes two operations at once
	for _, data := range st.messages[wire.KindOp][:2] {
		_, r, _ := wire.Open(data)
		op, err := ledger.DecodeOp(r.Fixed(r.Rest()))
		if err != nil {
			panic(err)
		}
		b.Ops = append(b.Ops, op)
	}
	st.messages[wire.KindBundle] = [][]byte{wire.Seal(wire.KindBundle, func(w *wire.Writer) { w.Fixed(b.Encode()) })}
	s.start(s.player("client"))
	st.messages[wire.KindAccusation] = [][]byte{sealAccusation(flood{s, s.player("client")}.fork(1))}
	return st
})

func (s *stage) stills() (all []still) {
	for _, p := range s.players {
		all = append(all, still{p: p, now: s.now, saved: p.snapshot()})
	}
	return all
}

// A panicker is a tester outside of any test.
type panicker struct{}

func (panicker) Helper()                      {}
func (panicker) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (panicker) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (panicker) Errorf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// wake returns the machine of a still, after its first step.
func (st still) wake(t tester) *Machine {
	m, err := New(st.p.config(), st.saved)
	if err != nil {
		t.Fatalf("%s: %v", st.p.name, err)
	}
	m.Step(st.now, Tick{})
	return m
}

// seeds calls add with messages of every kind, whole and damaged, and the way they
// travel: from 0 is gossip.
func (st *stills) seeds(add func(from uint8, data []byte)) {
	for _, kind := range slices.Sorted(maps.Keys(st.messages)) {
		all := st.messages[kind]
		way := uint8(1)
		if kind < wire.KindAsk {
			way = 0
		}
		add(1-way, all[0])
		for _, data := range [][]byte{all[0], all[len(all)-1]} {
			for who := range uint8(6) {
				add(way*(who+1), data)
			}
			for i := range 4 {
				flipped := bytes.Clone(data)
				flipped[(i*len(data)+len(data)/2)/4%len(data)] ^= 1 << i
				add(way, flipped)
			}
			add(way, data[:len(data)/2])
			add(way, append(bytes.Clone(data), 0))
		}
	}
}

// [MCH-15] No message, from whomever, ends a machine, moves money that was not
// signed for, or has it save what nobody has signed.
func FuzzStep(f *testing.F) {
	st := takeStills()
	for kind := wire.KindOp; kind <= wire.KindWant; kind++ {
		if kind.Limit() > 0 && len(st.messages[kind]) == 0 {
			f.Fatalf("the story has no %v message", kind)
		}
	}
	st.seeds(func(from uint8, data []byte) {
		for _, who := range []uint8{0, 3, 5} { // a witness, a provider, the client
			f.Add(who, from, data)
		}
	})
	f.Fuzz(func(t *testing.T, who, from uint8, data []byte) {
		var ev Event = Gossiped{Data: data}
		players := st.mid
		if from > 0 {
			ev = Received{From: players[int(from)%len(players)].p.key.id, Data: data}
		}
		for i, moment := range [...]still{st.mid[int(who)%len(st.mid)], st.end[int(who)%len(st.end)]} {
			m := moment.wake(t)
			root, supply := m.replica.State().Root(), m.replica.State().Supply()
			fx := stepped(m, moment.now, ev, nil)
			checkSaves(t, m, fx)
			if err := sane(m); err != nil {
				t.Fatal(err)
			}
			// At the end everything is known that was ever signed: nothing can move money.
			if i == 1 && (m.replica.State().Root() != root || m.replica.State().Supply() != supply) {
				t.Fatalf("%s: %x changes the state", moment.p.name, data)
			}
			for range 3 {
				m.Step(m.Deadline(), Tick{})
			}
		}
	})
}

// checkSaves demands that every record is signed by whom it binds.
func checkSaves(t *testing.T, m *Machine, fx []Effect) {
	t.Helper()
	for _, f := range fx {
		save, ok := f.(Save)
		if !ok {
			continue
		}
		for _, r := range save.Batch {
			if r.Value != nil && !signedRecord(m, r) {
				t.Fatalf("record of kind %d is signed by nobody: %x", r.Kind, r.Value)
			}
		}
	}
}

func signedRecord(m *Machine, r Record) bool {
	switch r.Kind {
	case RecordOp:
		op, err := ledger.DecodeOp(r.Value)
		return err == nil && cheapVerify(op.Account, op.SigningDigest(), op.Sig)
	case RecordFrame:
		f, err := replica.DecodeFrame(r.Value)
		return err == nil && cheapVerify(m.cfg.Genesis.Ledger.Witnesses[f.Witness].Account, f.SigningDigest(), f.Sig)
	case RecordSale:
		rd := wire.NewReader(r.Value)
		s := takeSale(rd)
		l, ok := m.leases.Lease(s.lease)
		return rd.Close() == nil && ok && l.Client == s.client && l.Provider == m.cfg.Self &&
			(s.voucher.Used == 0 || s.voucher.Signed(m.network, s.client, cheapVerify))
	case RecordJob, RecordPurchase, RecordTask:
		return len(m.jobs) > 0 // its own
	case RecordBundle:
		b, err := replica.DecodeBundle(r.Value)
		return err == nil && !slices.ContainsFunc(b.Ops, func(op *ledger.Op) bool {
			return !cheapVerify(op.Account, op.SigningDigest(), op.Sig)
		})
	case RecordOutline:
		o, err := replica.DecodeOutline(r.Value)
		return err == nil && !slices.ContainsFunc(o.Ops, func(op *ledger.Op) bool {
			return op != nil && !cheapVerify(op.Account, op.SigningDigest(), op.Sig)
		})
	case RecordEvidence:
		p, err := replica.DecodeAccusation(r.Value)
		if err != nil {
			return false
		}
		_, signed, err := p.Evidence(m.network, &m.cfg.Genesis.Ledger)
		return err == nil && !slices.Contains(p2p.VerifyEach(cheapVerify)(signed), false)
	default:
		return false
	}
}

// [MCH-16] A record that no machine saved is refused, or does no harm.
func FuzzRestore(f *testing.F) {
	st := takeStills()
	for who, moment := range st.mid {
		for i, r := range moment.saved {
			if i%7 != 0 && r.Kind < RecordSale {
				continue
			}
			f.Add(uint8(who), uint8(r.Kind), r.Key, r.Value)
			for k := range 6 {
				damaged := bytes.Clone(r.Value)
				damaged[k*(len(damaged)-1)/5] ^= 0x81
				f.Add(uint8(who), uint8(r.Kind), r.Key, damaged)
			}
		}
	}
	f.Fuzz(func(t *testing.T, who, kind uint8, key, value []byte) {
		moment := st.mid[int(who)%len(st.mid)]
		saved := slices.DeleteFunc(slices.Clone(moment.saved), func(r Record) bool {
			return r.Kind == RecordKind(kind) && bytes.Equal(r.Key, key)
		})
		saved = inKeyOrder(append(saved, Record{Kind: RecordKind(kind), Key: key, Value: value}))
		m, err := New(moment.p.config(), saved)
		if err != nil {
			return
		}
		m.Step(moment.now, Tick{})
		for id := range m.purchases {
			m.Step(moment.now, Received{From: m.purchases[id].provider, Data: nil})
		}
		for range 30 {
			m.Step(m.Deadline(), Tick{})
		}
		m.Step(m.Deadline(), PeerUp{p2p.PeerID{1}})
		for _, id := range m.Jobs() {
			m.Job(id)
		}
	})
}
