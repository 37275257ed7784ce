package machine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// Nodes that heard different sides of a witness's fork, equally long, tell each
// other.
func TestSyncForkedEnd(t *testing.T) {
	s := newStage(t, never)
	for i := range 4 {
		s.add(fmt.Sprint("witness", i), true, 0, nil)
	}
	a, b := s.add("a", false, 1000, nil), s.add("b", false, 1000, nil)
	s.start(a)
	s.start(b)
	s.run(1500*time.Millisecond, nil) // no heads of before are under way
	root := s.frameOf(0, nil, opNamed("root"))
	left, right := s.frameOf(0, root, opNamed("left")), s.frameOf(0, root, opNamed("right"))
	for _, f := range []*replica.Frame{root, left} {
		s.step(a, Gossiped{Data: sealFrame(f)})
	}
	for _, f := range []*replica.Frame{root, right} {
		s.step(b, Gossiped{Data: sealFrame(f)})
	}
	s.run(5*time.Second, nil)
	for _, p := range []*player{a, b} {
		if got := len(p.m.replica.FramesAfter([]uint32{1, 0, 0, 0}, 9)); got != 2 || p.m.replica.EvidenceLen() != 1 {
			t.Errorf("%s holds %d sides of the fork, evidence of %d", p.name, got, p.m.replica.EvidenceLen())
		}
	}
}

// An answer holds the frames of all witnesses in the order in which they came, as many
// as it has room for, and what they vote for.
func TestSyncSharesRoom(t *testing.T) {
	s := newStage(t, never)
	for i := range 4 {
		s.add(fmt.Sprint("witness", i), true, 0, nil)
	}
	a, b := s.add("a", false, 1000, nil), s.add("b", false, 1000, nil)
	s.start(a)
	s.start(b)
	for w := range uint16(4) {
		var last *replica.Frame
		for i := range 32 {
			last = s.frameOf(int(w), last, opNamed(fmt.Sprint(w, i)))
			s.step(a, Gossiped{Data: sealFrame(last)})
		}
	}
	seen := map[uint16]bool{}
	for range 4 {
		for _, fx := range s.step(a, Received{From: b.key.id, Data: headsOf(make([]uint32, 4*headWords))}) {
			if send, ok := fx.(Send); ok {
				for _, f := range framesIn(send.Data) {
					seen[f.Witness] = true
				}
			}
		}
	}
	if len(seen) != 4 {
		t.Errorf("frames of witnesses %v were sent, want of all", seen)
	}
}

// [MCH-4] A heads message of another number of witnesses is refused.
func TestSyncHeadsOfOthers(t *testing.T) {
	s := newStage(t, never)
	s.add("witness0", true, 0, nil)
	a, b := s.add("a", false, 1000, nil), s.add("b", false, 1000, nil)
	s.start(a)
	s.start(b)
	for _, n := range []int{0, 1, headWords - 1, headWords + 1, 2 * headWords} {
		fx := s.step(a, Received{From: b.key.id, Data: headsOf(make([]uint32, n))})
		if !slices.ContainsFunc(fx, func(fx Effect) bool { note, ok := fx.(Note); return ok && note.Fact == FactRefused }) {
			t.Errorf("%d words: not refused", n)
		}
	}
}

// headsOf returns a heads message.
func headsOf(words []uint32) []byte {
	return wire.Seal(wire.KindHeads, func(w *wire.Writer) {
		w.Count(len(words))
		for _, word := range words {
			w.U32(word)
		}
	})
}

// framesIn returns the frames of an items message.
func framesIn(data []byte) (frames []*replica.Frame) {
	kind, r, err := wire.Open(data)
	if err != nil || kind != wire.KindItems {
		return nil
	}
	return takeItems(r).frames
}

// An author goes on as soon as it has seen its operations certified. Who has not yet
// keeps what it makes next all the same, and need not ask for it.
func TestBundlesAhead(t *testing.T) {
	s := newStage(t, never)
	for i := range 4 {
		s.add(fmt.Sprint("witness", i), true, 0, nil)
	}
	a, owner := s.add("a", false, 1000, nil), s.add("owner", false, 1000, nil)
	s.start(a)
	ops := burns(owner, 4*flyingMax)
	for part := range slices.Chunk(ops, flyingMax) {
		b := &replica.Bundle{Ops: part}
		s.step(a, Gossiped{Data: wire.Seal(wire.KindBundle, func(w *wire.Writer) { w.Fixed(b.Encode()) })})
	}
	s.run(time.Second, nil)
	if n := a.m.replica.PendingLen(); n != len(ops) {
		t.Errorf("%d of %d operations are kept", n, len(ops))
	}
}

// A node that is ten thousand operations behind asks on as soon as an answer is added,
// and not once a Sync: it catches up within three seconds, over links of 10 ms.
func TestSyncFarBehind(t *testing.T) {
	const n = 10_000
	for _, size := range []int{1, flyingMax} {
		s := newStage(t, never)
		s.add("witness", true, 0, nil)
		ahead, behind := s.add("ahead", false, 1000, nil), s.add("behind", false, 1000, nil)
		ops := burns(s.add("owner", false, 1000, nil), n)
		if size == 1 {
			ahead.save(s.history(ops))
		} else {
			ahead.save(s.bundled(ops, size))
		}
		s.start(ahead)
		s.start(behind)
		start := s.now
		s.run(time.Minute, func() bool { return behind.m.replica.State().Applied() == n })
		took := s.now.Sub(start)
		if got := behind.m.replica.State().Applied(); got != n || took > 3*time.Second {
			t.Errorf("bundles of %d: %d of %d operations after %v", size, got, n, took)
		}
		t.Logf("bundles of %d: %v", size, took)
	}
}

// bundled is history with bundles, each voted for in a frame of its own.
func (s *stage) bundled(ops []*ledger.Op, size int) Snapshot {
	var saved Snapshot
	var last *replica.Frame
	for part := range slices.Chunk(ops, size) {
		b := &replica.Bundle{Ops: part}
		id := b.ID()
		saved = append(saved, Record{Kind: RecordBundle, Key: id[:], Value: b.Encode()})
		next := s.frameOf(0, last)
		next.Bundles = []replica.BundleVote{{ID: id}}
		next.Sig = cheapSign(s.g.Ledger.Witnesses[0].Account, next.SigningDigest())
		last = next
		saved = append(saved, frameRecord(last))
	}
	return saved
}

// [LED-81] A node whose own operation was taken back signs no other for its place.
func TestRevertedIsNotSignedAgain(t *testing.T) {
	s := newStage(t, never)
	s.add("witness", true, 0, nil)
	thief, p := s.add("thief", false, 1000, nil), s.add("client", false, 0, nil)
	s.start(p)
	pay := func(a ledger.Amount) *ledger.Op {
		op := burns(thief, 1)[0]
		op.Kind, op.Body = ledger.KindTransfer, ledger.Transfer{To: p.key.id, Amount: a}.Encode()
		op.Sig = thief.cfg.Crypto.Sign(op.SigningDigest())
		return op
	}
	var last *replica.Frame
	certify := func(op *ledger.Op) {
		last = s.frameOf(0, last, op.ID())
		s.step(p, Gossiped{Data: sealFrame(last)}) // first: what a vote speaks of is taken, rival or not
		s.run(time.Second, nil)
		s.step(p, Gossiped{Data: sealOp(op)})
		s.run(time.Second, nil)
	}
	burn := func(name string) intent {
		return intent{kind: ledger.KindBurn, key: p2p.Sum(name), body: func() ([]byte, bool) {
			return ledger.Burn{Amount: 1}.Encode(), true
		}}
	}
	certify(pay(500 * ledger.Token))
	p.m.want(0, burn("first"))
	own := p.m.lane(0).flying[0]
	certify(own)
	if !p.m.replica.IsApplied(own.ID()) || len(p.m.lane(0).flying) != 0 {
		t.Fatal("the operation is not applied")
	}
	certify(pay(400 * ledger.Token))
	if p.m.replica.IsApplied(own.ID()) {
		t.Fatal("the operation is not taken back")
	}
	p.m.want(0, burn("second"))
	if q := p.m.lane(0).flying; len(q) != 1 || q[0] != own {
		t.Errorf("%d operations under way, want the one that was taken back", len(q))
	}
}
