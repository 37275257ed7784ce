package ledger

import (
	"testing"

	"pgregory.net/rapid"
)

// A relay is a state, the operations that made it, and operations of one lane
// that wait.
type relay struct {
	rt      *rapid.T
	s       *State
	history []*Op
	opened  []OpID
	before  []*Item
}

// other draws an operation of a lane other than the one named, and applies it if it
// can be.
func (r *relay) other(account Account, lane Lane) {
	op := randomOp(r.rt, r.s, r.opened)
	if op.Account == account && op.Lane == lane || r.s.Apply(op) != OK {
		return
	}
	r.history = append(r.history, op)
	if op.Kind == KindLeaseOpen {
		r.opened = append(r.opened, op.ID())
	}
}

// next draws an operation behind those that wait. It is of any kind but one whose
// check is not monotone: the vault lets anybody close a lease.
func (r *relay) next(account Account, lane Lane) *Item {
	k := rapid.SampledFrom(randomKinds).Draw(r.rt, "next kind")
	if k == KindLeaseClose {
		k = KindTransfer
	}
	op := randomOn(r.rt, r.s, account, lane, k, nil)
	if n := len(r.before); n > 0 {
		op.Seq, op.Prev = r.before[n-1].Op.Seq+1, r.before[n-1].ID
	}
	it, res := r.s.Prepare(op)
	if res != OK {
		return nil
	}
	return it
}

// queue lets an operation that next draws wait if CheckAfter says OK.
func (r *relay) queue(t *testing.T, account Account, lane Lane) {
	it := r.next(account, lane)
	if it == nil {
		return
	}
	root := r.s.Root()
	res := r.s.CheckAfter(it, r.before)
	if r.s.Root() != root {
		r.rt.Fatal("CheckAfter changed the state")
	}
	if r.alone(it) {
		if want := r.applied(t, it); res != want {
			r.rt.Fatalf("%v after %d: %v, and when they are applied %v", it.Op.Kind, len(r.before), res, want)
		}
	}
	if res == OK {
		r.before = append(r.before, it)
	}
}

// alone reports whether the operation and all that wait need nothing but money.
func (r *relay) alone(it *Item) bool {
	for _, at := range append(r.before, it) {
		if _, alone, known := at.spends(); !alone || !known {
			return false
		}
	}
	return len(it.Op.Claims) == 0 || len(r.before) == 0
}

// applied returns what the ledger says of the operation when those that wait are
// applied and nothing else happened.
func (r *relay) applied(t *testing.T, it *Item) Result {
	s := newState(t)
	for _, op := range r.history {
		if res := s.Apply(op); res != OK {
			r.rt.Fatalf("history: %v", res)
		}
	}
	for _, at := range r.before {
		if res := s.Apply(at.Op); res != OK {
			r.rt.Fatalf("%v of the lane: %v", at.Op.Kind, res)
		}
	}
	return s.Check(it.Op)
}

// [LED-46] What CheckAfter allows can be applied after the operations it follows,
// whatever operations of other lanes come in between.
func TestCheckAfter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &relay{rt: rt, s: newState(t)}
		for range rapid.SampledFrom([]int{0, 10, 20}).Draw(rt, "history") {
			r.other(Account{}, 0)
		}
		for range 4 {
			account := rapid.SampledFrom([]Account{who('a'), who('b'), who('d')}).Draw(rt, "of")
			lane := Lane(rapid.SampledFrom([]int{0, 0, 1}).Draw(rt, "on"))
			for range 8 {
				r.queue(t, account, lane)
			}
			for i, it := range r.before {
				for range rapid.SampledFrom([]int{0, 2, 5}).Draw(rt, "between") {
					r.other(account, lane)
				}
				if res := r.s.ApplyItem(it); res != OK {
					rt.Fatalf("%v, %d of %d: %v", it.Op.Kind, i+1, len(r.before), res)
				}
				r.history = append(r.history, it.Op)
				wantAudit(rt, r.s)
			}
			r.before = nil
		}
	})
}

// [LED-47] An operation waits when one of those before it could not be applied, does
// not follow, or is of an unknown cost.
func TestCheckAfterWaits(t *testing.T) {
	s := newState(t)
	op := func(account Account, after *Item, k Kind, body []byte) *Item {
		t.Helper()
		op := draft(s, account, 0, k, body)
		if after != nil {
			op.Seq, op.Prev = after.Op.Seq+1, after.ID
		}
		it, r := s.Prepare(op)
		if r != OK {
			t.Fatal(r)
		}
		return it
	}
	pay := func(a Amount) []byte { return Transfer{who('c'), a}.Encode() }
	first := op(who('a'), nil, KindTransfer, pay(100))
	second := op(who('a'), first, KindTransfer, pay(100))
	third := op(who('a'), second, KindTransfer, pay(100))
	dear := op(who('a'), nil, KindTransfer, pay(991))
	costly := op(who('a'), first, KindTransfer, pay(900))
	device := op(who('a'), first, KindDeviceRegister, DeviceRegister{"gpu", 1}.Encode())
	refused := op(who('a'), nil, KindDeviceRetire, DeviceRetire{"gpu"}.Encode())
	lease := op(who('a'), nil, KindLeaseOpen, make([]byte, 8))
	claiming := op(who('a'), first, KindTransfer, pay(1))
	aside := op(who('a'), first, KindTransfer, pay(1))
	aside.Op.Lane = 1
	claiming.Op.Claims = []Claim{{From: who('b')}}
	for _, tt := range []struct {
		name   string
		it     *Item
		before []*Item
		want   Result
	}{
		{"two that follow", third, []*Item{first, second}, OK},
		{"nothing before", second, nil, BadSeq},
		{"one is left out", third, []*Item{first}, BadSeq},
		{"out of order", third, []*Item{second, first}, BadSeq},
		{"a rival", second, []*Item{op(who('a'), nil, KindTransfer, pay(1))}, BadPrev},
		{"another account's", op(who('b'), first, KindTransfer, pay(1)), []*Item{first}, BadSeq},
		{"of another lane", aside, []*Item{first}, BadSeq},
		{"after one that is too dear", op(who('a'), dear, KindTransfer, pay(1)), []*Item{dear}, BadSeq},
		{"after one that is refused", op(who('a'), refused, KindTransfer, pay(1)), []*Item{refused}, BadSeq},
		{"after a later one that is too dear", op(who('a'), costly, KindTransfer, pay(1)), []*Item{first, costly}, BadSeq},
		{"after a device that is not the first", op(who('a'), device, KindTransfer, pay(1)), []*Item{first, device}, BadSeq},
		{"after an unknown cost", op(who('a'), lease, KindTransfer, pay(1)), []*Item{lease}, BadSeq},
		{"a claim that is not the first's", claiming, []*Item{first}, BadSeq},
	} {
		if got := s.CheckAfter(tt.it, tt.before); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
