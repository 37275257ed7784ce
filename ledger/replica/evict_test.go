package replica

import (
	"slices"
	"testing"

	"github.com/pinfi/pinfi/ledger"
)

// newPool returns a replica of who('s') with room for a few strangers' operations.
func newPool(t *testing.T, g *ledger.Genesis, pending int) *Replica {
	t.Helper()
	r, err := New(Config{
		Network: testNetwork, Genesis: g, Self: who('s'), Limits: Limits{Pending: pending},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// junk returns an operation that can never be applied.
func junk(c byte, seq uint64) *ledger.Op { return transfer(who(c), seq, ledger.OpID{1}, who('z'), 1) }

// register returns a registration of a device, for which an account needs nothing.
func register(account ledger.Account) *ledger.Op {
	op := &ledger.Op{
		Chain: ledger.ChainOf(testNetwork), Kind: ledger.KindDeviceRegister, Account: account, Seq: 1,
		Body: ledger.DeviceRegister{Class: "gpu", Declared: 1}.Encode(),
	}
	op.Sig = fakeSign(op.Account, op.SigningDigest())
	return op
}

func wantAdd(t *testing.T, r *Replica, op *ledger.Op, out Outcome, res ledger.Result) {
	t.Helper()
	if gotOut, gotRes := r.AddOp(op); gotOut != out || gotRes != res {
		t.Errorf("operation %d of %c: %v, %v, want %v, %v", op.Seq, op.Account[0], gotOut, gotRes, out, res)
	}
}

// [LED-25] An operation that is not votable, of an account that owns nothing, is refused.
func TestPoor(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newPool(t, g, 64)
	wantAdd(t, r, junk('x', 2), Refused, ledger.Full)
	wantAdd(t, r, transfer(who('x'), 1, ledger.OpID{}, who('z'), 1), Refused, ledger.Full)
	first := register(who('x'))
	wantAdd(t, r, first, Added, ledger.OK)
	for w := range 3 {
		r.AddFrame(frame(g, uint16(w), nil, first.ID()))
	}
	if !r.IsApplied(first.ID()) {
		t.Fatal("the registration is not applied")
	}
	wantAdd(t, r, junk('x', 3), Added, ledger.BadSeq) // it owns a device
	wantAdd(t, r, transfer(g.Witnesses[0].Account, 1, ledger.OpID{}, who('z'), 1), Added, ledger.InsufficientBalance)
	wantAdd(t, r, junk('s', 2), Added, ledger.BadSeq) // the replica's own
	voted := junk('y', 2)
	wantAdd(t, r, voted, Refused, ledger.Full)
	r.AddFrame(frame(g, 0, frame(g, 0, nil, first.ID()), voted.ID()))
	wantAdd(t, r, voted, Added, ledger.BadSeq)
}

// [LED-26] A full pool makes room at the cost of the account that has most operations which are not votable.
func TestEvict(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newPool(t, g, 6)
	for _, op := range []*ledger.Op{junk('a', 2), junk('a', 3), junk('a', 4), junk('b', 2), junk('b', 3), junk('c', 2)} {
		wantAdd(t, r, op, Added, ledger.BadSeq)
	}
	wantAdd(t, r, junk('a', 5), Refused, ledger.Full) // nobody holds more
	wantAdd(t, r, junk('d', 2), Added, ledger.BadSeq) // for the third of a
	wantAdd(t, r, transfer(who('d'), 1, ledger.OpID{}, who('z'), 1), Added, ledger.OK)
	held := func() (out []string) {
		for op := range r.Pending() {
			out = append(out, string(op.Account[:1])+string(rune('0'+op.Seq)))
		}
		slices.Sort(out)
		return out
	}
	if got := held(); !slices.Equal(got, []string{"a2", "b2", "b3", "c2", "d1", "d2"}) {
		t.Fatalf("pending %v", got)
	}
	for i := range byte(5) { // what is votable goes on taking the place of what is not
		wantAdd(t, r, register(ledger.Account{'r', i}), Added, ledger.OK)
	}
	wantAdd(t, r, register(who('x')), Refused, ledger.Full)
	wantAdd(t, r, register(who('x')), Refused, ledger.Full)
	wantAdd(t, r, junk('s', 2), Added, ledger.BadSeq)
	wantAdd(t, r, transfer(who('s'), 2, ledger.OpID{2}, who('z'), 1), Equivocation, ledger.BadSeq)
	wantAdd(t, r, transfer(who('s'), 2, ledger.OpID{3}, who('z'), 1), Equivocation, ledger.BadSeq)
	wantAdd(t, r, junk('s', 300), Refused, ledger.Full)
	wantAdd(t, r, register(who('x')), Refused, ledger.Full)
	places := 0
	for _, l := range lanesOf(r) {
		places += len(l.places)
	}
	if places != 7 || len(r.entries) != 9 || r.PendingLen() != 9 {
		t.Errorf("%d places, %d entries, %d pending, want 7, 9, 9", places, len(r.entries), r.PendingLen())
	}
	r.AddFrame(frame(g, 0, nil, register(ledger.Account{'r', 0}).ID()))
	wantAdd(t, r, register(who('x')), Added, ledger.OK) // what has a vote leaves room
}

// [LED-26] The pool that the keys of nobody have filled takes an honest operation soon.
func TestFlood(t *testing.T) {
	g := newGenesis(1, 1, 1)
	for i := range 64 {
		g.Alloc = append(g.Alloc, ledger.Alloc{Account: ledger.Account{2, byte(i)}, Amount: 1})
	}
	r := newPool(t, g, 0)
	for i := range 64 {
		for seq := range uint64(64) {
			for rival := range 2 {
				r.AddOp(transfer(ledger.Account{2, byte(i)}, seq+2, ledger.OpID{1}, who('z'), ledger.Amount(rival+1)))
			}
			r.AddOp(transfer(ledger.Account{2, byte(i)}, seq+2, ledger.OpID{2}, who('z'), 1))
		}
	}
	for i := range 64 {
		for lane := range uint8(128) {
			op := transfer(ledger.Account{2, byte(i)}, 2, ledger.OpID{1}, who('z'), 1)
			op.Lane = ledger.Lane(lane + 1)
			op.Sig = fakeSign(op.Account, op.SigningDigest())
			r.AddOp(op)
		}
	}
	if got := r.PendingLen(); got < 16384-1024 || got > 16384 {
		t.Fatalf("%d pending", got)
	}
	wantAdd(t, r, transfer(who('a'), 1, ledger.OpID{}, who('z'), 1), Added, ledger.OK)
	wantAdd(t, r, transfer(who('b'), 2, ledger.OpID{3}, who('z'), 1), Added, ledger.BadSeq)
}

// [LED-112] When all that wait could be voted for, one that pays a higher fee a byte
// takes the place of the one that pays least.
func TestOutbid(t *testing.T) {
	g := newGenesis(1, 1, 1)
	r := newPool(t, g, 3)
	pays := func(c byte, seq uint64, prev ledger.OpID, fee ledger.Amount) *ledger.Op {
		op := transfer(who(c), seq, prev, who('z'), 1)
		op.Fee = fee
		op.Sig = fakeSign(op.Account, op.SigningDigest())
		return op
	}
	poor := pays('a', 1, ledger.OpID{}, 2)
	fair, good := pays('b', 1, ledger.OpID{}, 3), pays('d', 1, ledger.OpID{}, 4)
	for _, op := range []*ledger.Op{good, poor, fair} {
		r.AddOp(op)
	}
	if n := r.PendingLen(); n != 3 {
		t.Fatalf("%d pending, want 3", n)
	}
	wantAdd(t, r, pays('c', 1, ledger.OpID{}, 2), Refused, ledger.Full)
	rich := pays('c', 1, ledger.OpID{}, 5)
	wantAdd(t, r, rich, Added, ledger.OK)
	for op, want := range map[*ledger.Op]bool{poor: false, good: true, fair: true, rich: true} {
		if _, held := r.Op(op.ID()); held != want {
			t.Errorf("the operation %d of %c with a fee of %d is held: %v", op.Seq, op.Account[0], op.Fee, held)
		}
	}
	for w := range 3 { // with a vote it is out of reach
		r.AddFrame(frame(g, uint16(w), nil, fair.ID()))
	}
	if !r.IsApplied(fair.ID()) {
		t.Error("what is left cannot be voted for")
	}
}
