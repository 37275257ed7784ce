package market

import (
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market/curve"
	"github.com/pinfi/pinfi/p2p"
)

// [MKT-12] LeaseOpen moves its escrow out of the client's lane.
func TestOpen(t *testing.T) {
	w := newWorld(t)
	id := w.open(1000, 3600, 5*ledger.Token)
	if got := w.s.EscrowOf(id); got != 5*ledger.Token {
		t.Errorf("escrow: got %v", got)
	}
	if got := w.s.Spendable(w.client[0], 0); got != testMoney-5*ledger.Token-10 {
		t.Errorf("left: got %v", got)
	}
	l, ok := w.c.Lease(id)
	if !ok || l.State != StateOpen || l.Client != w.client[0] || l.Escrow != 5*ledger.Token {
		t.Errorf("lease: got %+v", l)
	}
	if got := w.c.Demand(w.seller[0], small); got != 0 {
		t.Errorf("an open lease is demand: %d", got)
	}
}

// [MKT-12] A LeaseOpen that its lane cannot pay, fee included, or of a class that
// does not exist, does not count.
func TestOpenRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*LeaseOpen)
		want   ledger.Result
	}{
		{"all the money", func(o *LeaseOpen) { o.Escrow = testMoney - 10 }, ledger.OK},
		{"no money for the fee", func(o *LeaseOpen) { o.Escrow = testMoney - 9 }, ledger.InsufficientBalance},
		{"no such class", func(o *LeaseOpen) { o.Class = "tpu" }, ledger.BadBody},
		{"no units", func(o *LeaseOpen) { o.Units = 0 }, ledger.BadBody},
		{"too many units", func(o *LeaseOpen) { o.Units = MaxCapacity + 1 }, ledger.BadBody},
		{"no term", func(o *LeaseOpen) { o.Seconds = 0 }, ledger.BadBody},
		{"two days", func(o *LeaseOpen) { o.Seconds = MaxTerm + 1 }, ledger.BadBody},
		{"no escrow", func(o *LeaseOpen) { o.Escrow = 0 }, ledger.BadBody},
		{"no terms", func(o *LeaseOpen) { o.Terms = p2p.Digest{} }, ledger.BadBody},
		{"no provider", func(o *LeaseOpen) { o.Provider = ledger.Account{} }, ledger.BadBody},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.opening(1000, 3600, 5*ledger.Token)
			tt.change(&o)
			w.want(tt.want, w.op(w.client[0], 0, ledger.KindLeaseOpen, o.Encode()))
		})
	}
}

// [MKT-14] LeaseAccept counts at the provider's true place on the curve, at the
// exact charge, within the escrow.
func TestAccept(t *testing.T) {
	w := newWorld(t)
	first, second := w.open(1000, 3600, 5*ledger.Token), w.open(1000, 3600, 5*ledger.Token)
	a := w.accept(first)
	if a.D0 != 10_000 || a.D1 != 11_000 {
		t.Errorf("first place: got %d to %d, want 10000 to 11000", a.D0, a.D1)
	}
	if got := w.c.Demand(w.seller[0], small); got != 1000 {
		t.Errorf("demand: got %d, want 1000", got)
	}
	b := w.accept(second)
	if b.D0 != 11_000 || b.Charge <= a.Charge {
		t.Errorf("second: got place %d and charge %v after %v, want 11000 and more", b.D0, b.Charge, a.Charge)
	}
	want, err := curve.Params{P0: 2_000_000_000, Quarters: 3, Capacity: 64_000, Floor: 3200}.Charge(10_000, 11_000, 3600)
	if err != nil || a.Charge != want {
		t.Errorf("charge: got %v, want %v (%v)", a.Charge, want, err)
	}
	l, _ := w.c.Lease(first)
	if l.State != StateAccepted || l.Charge != a.Charge || l.D1 != 11_000 {
		t.Errorf("lease: got %+v", l)
	}
}

// [MKT-13] Only the named provider accepts or closes a lease, on its lane of the
// class. [MKT-14] A false place or charge does not count.
func TestAcceptRefused(t *testing.T) {
	w := newWorld(t)
	id := w.open(1000, 3600, 5*ledger.Token)
	cheap := w.open(1000, 3600, 1)
	good := w.acceptance(id)
	with := func(change func(*LeaseAccept)) LeaseAccept {
		a := good
		change(&a)
		return a
	}
	p := w.seller[0]
	tests := []struct {
		name string
		by   ledger.Account
		lane ledger.Lane
		body LeaseAccept
		want ledger.Result
	}{
		{"another provider", w.seller[1], 1, good, ledger.NotYours},
		{"the client", w.client[0], 1, good, ledger.NotYours},
		{"the lane of payments", p, 0, good, ledger.BadLane},
		{"the lane of another class", p, 2, good, ledger.BadLane},
		{"an unknown lease", p, 1, with(func(a *LeaseAccept) { a.Lease = ledger.OpID{9} }), ledger.UnknownLease},
		{"a lower place", p, 1, with(func(a *LeaseAccept) { a.D0--; a.D1-- }), ledger.BadPrice},
		{"a longer step", p, 1, with(func(a *LeaseAccept) { a.D1++ }), ledger.BadPrice},
		{"an atom more", p, 1, with(func(a *LeaseAccept) { a.Charge++ }), ledger.BadPrice},
		{"an atom less", p, 1, with(func(a *LeaseAccept) { a.Charge-- }), ledger.BadPrice},
		{"a reserve not charged", p, 1, with(func(a *LeaseAccept) { a.Reserve = 3_000_000_000 }), ledger.BadPrice},
		{"more than the escrow", p, 1, with(func(a *LeaseAccept) { a.Lease = cheap }), ledger.BadPrice},
		{"good", p, 1, good, ledger.OK},
		{"twice", p, 1, good, ledger.AlreadyDone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			w.want(tt.want, w.op(tt.by, tt.lane, ledger.KindLeaseAccept, tt.body.Encode()))
		})
	}
}

// [MKT-14] A reserve price charges as the curve with that reserve does.
func TestAcceptReserve(t *testing.T) {
	w := newWorld(t)
	id := w.open(1000, 3600, 5*ledger.Token)
	a := w.acceptance(id)
	a.Reserve = 3_000_000_000
	a.Charge = 3_000_000_000 // 1 CU for an hour, flat
	w.want(ledger.OK, w.op(w.seller[0], 1, ledger.KindLeaseAccept, a.Encode()))
}

// [MKT-15] A witness votes for a LeaseAccept within the device's capacity only:
// what it has proven once it is admitted; before, what it declares up to the
// probation cap, and for at most an hour.
func TestMayVote(t *testing.T) {
	tests := []struct {
		name    string
		passed  byte
		proven  byte
		units   uint64
		seconds uint32
		taken   uint64
		want    ledger.Result
	}{
		{"probation, the cap", 0, 0, 4000, 3600, 0, ledger.OK},
		{"probation, over the cap", 0, 0, 4001, 3600, 0, ledger.NoCapacity},
		{"probation, what is left", 2, 50, 1000, 3600, 3000, ledger.OK},
		{"probation, more than is left", 2, 50, 1001, 3600, 3000, ledger.NoCapacity},
		{"probation, too long", 2, 50, 1000, 3601, 0, ledger.BadState},
		{"admitted, what it has proven", 3, 5, 5000, MaxTerm, 0, ledger.OK},
		{"admitted, more than it has proven", 3, 5, 5001, 60, 0, ledger.NoCapacity},
		{"admitted, more than is left", 3, 5, 5000, 60, 1, ledger.NoCapacity},
		{"admitted and failing since", 3, 0, 1, 60, 0, ledger.NoCapacity},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.prove(w.seller[0], tt.passed, tt.proven)
			if tt.taken > 0 {
				w.accept(w.open(tt.taken, 60, 500*ledger.Token))
			}
			a := w.acceptance(w.open(tt.units, tt.seconds, 400*ledger.Token))
			op := w.op(w.seller[0], 1, ledger.KindLeaseAccept, a.Encode())
			it, r := w.s.Prepare(op)
			if r != ledger.OK {
				t.Fatal(r)
			}
			if got := w.s.MayVoteItem(it); got != tt.want {
				t.Errorf("vote: got %v, want %v", got, tt.want)
			}
			if got := w.s.CheckItem(it); got != ledger.OK {
				t.Errorf("what was certified does not count: %v", got)
			}
		})
	}
	w := newWorld(t)
	o := w.opening(1, 60, ledger.Token)
	o.Provider = name(99)
	id := w.want(ledger.OK, w.op(w.client[0], 0, ledger.KindLeaseOpen, o.Encode()))
	it, _ := w.s.Prepare(w.op(name(99), 1, ledger.KindLeaseAccept, w.acceptance(id).Encode()))
	if got := w.s.MayVoteItem(it); got != ledger.UnknownDevice {
		t.Errorf("a provider without a device: got %v, want %v", got, ledger.UnknownDevice)
	}
}

// [LED-44] A retired device sells nothing, leases that were accepted run on, and
// the device comes back with any capacity.
func TestRetiredDevice(t *testing.T) {
	w := newWorld(t)
	p := w.seller[0]
	pay := ledger.Transfer{To: p, Amount: 100}.Encode()
	w.want(ledger.OK, w.op(w.client[1], 0, ledger.KindTransfer, pay))
	id := w.open(1000, 3600, 5*ledger.Token)
	w.accept(id)
	retire := w.op(p, 0, ledger.KindDeviceRetire, ledger.DeviceRetire{Class: small}.Encode())
	retire.Claims = []ledger.Claim{{From: w.client[1], Upto: 1}}
	w.want(ledger.OK, retire)
	vote := func() ledger.Result {
		a := w.acceptance(w.open(1000, 60, ledger.Token))
		it, r := w.s.Prepare(w.op(p, 1, ledger.KindLeaseAccept, a.Encode()))
		if r != ledger.OK {
			t.Fatal(r)
		}
		return w.s.MayVoteItem(it)
	}
	if got := vote(); got != ledger.NoCapacity {
		t.Errorf("vote for a lease on a retired device: got %v, want %v", got, ledger.NoCapacity)
	}
	if l := w.close(id, 3600, EndClientStop); l.Paid.Serve == 0 {
		t.Errorf("lease: got %+v, want it paid", l)
	}
	w.want(ledger.OK, w.op(p, 0, ledger.KindDeviceRegister, ledger.DeviceRegister{Class: small, Declared: 1000}.Encode()))
	if got := vote(); got != ledger.OK {
		t.Errorf("vote for a lease on a device that is back: got %v", got)
	}
}

// [LED-48] A LeaseOpen costs its escrow, the other operations of leases nothing; they
// may be followed.
func TestFollowLease(t *testing.T) {
	w := newWorld(t)
	follow := func(first *ledger.Op, amount ledger.Amount) ledger.Result {
		head, r := w.s.Prepare(first)
		if r != ledger.OK {
			t.Fatal(r)
		}
		op := w.op(first.Account, first.Lane, ledger.KindTransfer, ledger.Transfer{To: name(9), Amount: amount}.Encode())
		op.Seq, op.Prev = first.Seq+1, head.ID
		it, r := w.s.Prepare(op)
		if r != ledger.OK {
			t.Fatal(r)
		}
		return w.s.CheckAfter(it, []*ledger.Item{head})
	}
	open := w.op(w.client[0], 0, ledger.KindLeaseOpen, w.opening(1000, 60, 400*ledger.Token).Encode())
	if got := follow(open, 600*ledger.Token-20); got != ledger.OK {
		t.Errorf("all that a lease leaves: got %v", got)
	}
	if got := follow(open, 600*ledger.Token-19); got != ledger.InsufficientBalance {
		t.Errorf("an atom more than a lease leaves: got %v", got)
	}
	a := w.acceptance(w.open(1000, 60, ledger.Token))
	accept := w.op(w.seller[0], 1, ledger.KindLeaseAccept, a.Encode())
	if got := follow(accept, 1); got != ledger.InsufficientBalance {
		t.Errorf("a payment out of nothing: got %v", got)
	}
	w.want(ledger.OK, w.op(w.client[0], 0, ledger.KindTransfer, ledger.Transfer{To: w.seller[0], Amount: 100}.Encode()))
	move := w.op(w.seller[0], 0, ledger.KindLaneMove, ledger.LaneMove{To: 1, Amount: 50}.Encode())
	move.Claims = []ledger.Claim{{From: w.client[0], Upto: 2}}
	w.want(ledger.OK, move)
	if got := follow(accept, 40); got != ledger.OK {
		t.Errorf("all that the lane holds: got %v", got)
	}
}

// [MKT-16] A lease that is closed before it was accepted returns all of its escrow.
func TestDecline(t *testing.T) {
	w := newWorld(t)
	id := w.open(1000, 3600, 5*ledger.Token)
	l := w.close(id, 0, EndDeclined)
	if l.State != StateClosed || l.Refund != 5*ledger.Token || l.Paid != (curve.Split{}) || l.Reason != EndDeclined {
		t.Errorf("lease: got %+v", l)
	}
	if got := w.s.Balance(w.client[0]); got != testMoney-10 {
		t.Errorf("the client holds %v, want all but the fee", got)
	}
	w.want(ledger.AlreadyDone, w.op(w.seller[0], 1, ledger.KindLeaseClose, w.closure(id, 0, EndDeclined).Encode()))
	w.want(ledger.AlreadyDone, w.op(w.seller[0], 1, ledger.KindLeaseAccept, LeaseAccept{Lease: id}.Encode()))
}

// [MKT-17] Close pays what is due for the voucher's seconds by the split, burns a
// share of the unused part of the window unless the provider is to blame, and
// returns the rest. [MKT-26] Without a voucher it returns all, whatever the reason.
func TestClose(t *testing.T) {
	tests := []struct {
		name    string
		seconds uint32
		used    uint64
		reason  EndReason
		end     uint64 // to which the burn reaches, in seconds
	}{
		{"the whole term", 3600, 3600, EndBudgetExhausted, 3600},
		{"a voucher beyond the term", 3600, 4000, EndBudgetExhausted, 3600},
		{"a voucher beyond all time", 3600, ^uint64(0), EndBudgetExhausted, 3600},
		{"one second", 3600, 1, EndJobExit, 600},
		{"no second", 3600, 0, EndClientStop, 0},
		{"no second of a short term", 100, 0, EndJobExit, 0},
		{"a whole window", 3600, 600, EndJobExit, 600},
		{"a second more", 3600, 601, EndJobExit, 1200},
		{"a term shorter than a window", 100, 30, EndOOM, 100},
		{"a term that ends within a window", 1000, 700, EndPolicy, 1000},
		{"the provider's fault", 3600, 601, EndProviderFault, 601},
		{"the provider's wish", 3600, 601, EndProviderReclaim, 601},
		{"never started", 3600, 0, EndDeclined, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			id := w.open(1000, tt.seconds, 5*ledger.Token)
			charge := w.accept(id).Charge
			l := w.close(id, tt.used, tt.reason)
			used := min(tt.used, uint64(tt.seconds))
			due, _ := ledger.MulDivCeil(charge, used, uint64(tt.seconds))
			until, _ := ledger.MulDivCeil(charge, tt.end, uint64(tt.seconds))
			extra, _ := ledger.MulDivCeil(until-due, 2000, 10_000)
			want := curve.SplitOf(due, 2000, 9000)
			want.Burn += extra
			if l.Paid != want || l.Refund != 5*ledger.Token-due-extra {
				t.Errorf("got %+v and %v back, want %+v and %v", l.Paid, l.Refund, want, 5*ledger.Token-due-extra)
			}
			if got := w.s.Balance(w.client[0]); got != testMoney-10-due-extra {
				t.Errorf("the client holds %v", got)
			}
			if w.s.Balance(w.seller[0]) != want.Serve || w.s.PotOf(small) != want.Stakers || w.s.EscrowOf(id) != 0 {
				t.Errorf("provider %v, pot %v, escrow %v", w.s.Balance(w.seller[0]), w.s.PotOf(small), w.s.EscrowOf(id))
			}
			if got := w.s.Supply().Burned; got != want.Burn+10 {
				t.Errorf("burned %v, want %v and the fee", got, want.Burn)
			}
			if got := w.c.Demand(w.seller[0], small); got != 0 {
				t.Errorf("a closed lease is demand: %d", got)
			}
		})
	}
}

// [MKT-18] A voucher counts only when the lease's client signed it, for this
// lease, these seconds and this network.
func TestVoucher(t *testing.T) {
	w := newWorld(t)
	id, other := w.open(1000, 3600, 5*ledger.Token), w.open(1000, 3600, 5*ledger.Token)
	w.accept(id)
	sign := func(by ledger.Account, n p2p.Network, lease ledger.OpID, used uint64) p2p.Signature {
		v := Voucher{Lease: lease, Used: used}
		return fakeSign(by, v.SigningDigest(n))
	}
	net := w.s.Network()
	tests := []struct {
		name string
		sig  p2p.Signature
		want ledger.Result
	}{
		{"by the provider", sign(w.seller[0], net, id, 60), ledger.BadVoucher},
		{"of another lease", sign(w.client[0], net, other, 60), ledger.BadVoucher},
		{"of fewer seconds", sign(w.client[0], net, id, 59), ledger.BadVoucher},
		{"of another network", sign(w.client[0], p2p.Network{9}, id, 60), ledger.BadVoucher},
		{"none", p2p.Signature{}, ledger.BadVoucher},
		{"good", sign(w.client[0], net, id, 60), ledger.OK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			b := LeaseClose{Lease: id, Used: 60, VoucherSig: tt.sig, Reason: EndJobExit}
			w.want(tt.want, w.op(w.seller[0], 1, ledger.KindLeaseClose, b.Encode()))
		})
	}
}

// [MKT-13] Only the named provider closes a lease, on its lane of the class.
func TestCloseRefused(t *testing.T) {
	w := newWorld(t)
	id := w.open(1000, 3600, 5*ledger.Token)
	body := w.closure(id, 0, EndDeclined).Encode()
	w.want(ledger.NotYours, w.op(w.seller[1], 1, ledger.KindLeaseClose, body))
	w.want(ledger.NotYours, w.op(w.client[0], 1, ledger.KindLeaseClose, body))
	w.want(ledger.BadLane, w.op(w.seller[0], 0, ledger.KindLeaseClose, body))
	bad := LeaseClose{Lease: id, VoucherSig: p2p.Signature{1}, Reason: EndDeclined}
	w.want(ledger.BadBody, w.op(w.seller[0], 1, ledger.KindLeaseClose, bad.Encode()))
	bad = LeaseClose{Lease: id, Reason: EndDeclined + 1}
	w.want(ledger.BadBody, w.op(w.seller[0], 1, ledger.KindLeaseClose, bad.Encode()))
}

// [MKT-18] The contract takes real signatures as well.
func TestRealVoucher(t *testing.T) {
	id := p2p.IdentityFromSeed([32]byte{1})
	v := Voucher{Lease: ledger.OpID{1}, Used: 60}
	v.Sig = id.Sign(v.SigningDigest(p2p.Network{1}))
	if !v.Signed(p2p.Network{1}, id.PeerID(), p2p.Verify) || v.Signed(p2p.Network{2}, id.PeerID(), p2p.Verify) {
		t.Error("a voucher is good on another network, or nowhere")
	}
}
