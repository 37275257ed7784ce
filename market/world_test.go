package market

import (
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

const small ledger.Class = "cpu.small"

// testParams are the rules of most tests: round numbers.
func testParams() *Params {
	return &Params{
		Quarters: 3, BetaBps: 2000, SigmaBps: 9000, FloorPPM: 50_000, Window: 600,
		Classes: []ClassParams{
			{Name: small, P0: 2_000_000_000, Demand: 10_000, Capacity: 64_000, Probation: 4_000},
			{Name: "gpu.24", P0: 5_000_000_000, Demand: 0, Capacity: 8_000, Probation: 1_000},
		},
	}
}

// name returns an account that a test can tell from others.
func name(n byte) ledger.Account { return ledger.Account{0: n, 31: 1} }

// fakeSign stands in for a signature: whoever knows the key's name can make it.
func fakeSign(key p2p.PeerID, d p2p.Digest) p2p.Signature {
	half := p2p.Sum("fake", key[:], d[:])
	return p2p.Signature(append(half[:], half[:]...))
}

func fakeVerify(key p2p.PeerID, d p2p.Digest, sig p2p.Signature) bool { return fakeSign(key, d) == sig }

// A world is a ledger with the lease contract, and two clients and two providers.
type world struct {
	t      testing.TB
	s      *ledger.State
	c      *Contract
	client [2]ledger.Account
	seller [2]ledger.Account
}

const testMoney = 1000 * ledger.Token

// rig is a contract that sets devices as proofs would.
type rig struct{}

func (rig) Kinds() []ledger.Kind                               { return []ledger.Kind{ledger.KindProofVerdict} }
func (rig) Decode(_ ledger.Kind, body []byte) (any, error)     { return body, nil }
func (rig) Check(*ledger.State, *ledger.Op, any) ledger.Result { return ledger.OK }
func (rig) Leaf([]byte) ([]byte, bool)                         { return nil, false }
func (rig) Reset()                                             {}
func (rig) Apply(tx *ledger.Tx, op *ledger.Op, body any) {
	d, _ := tx.State().Device(op.Account, small)
	b := body.([]byte)
	d.Passed, d.Proven = uint32(b[0]), uint64(b[1])*1000
	tx.SetDevice(d)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t, c: NewContract(testParams(), fakeVerify),
		client: [2]ledger.Account{name(1), name(2)}, seller: [2]ledger.Account{name(11), name(12)},
	}
	g := &ledger.Genesis{
		Name: "test", SlotMillis: 500, EpochMillis: 3000, MinFee: 10,
		Alloc:     []ledger.Alloc{{Account: w.client[0], Amount: testMoney}, {Account: w.client[1], Amount: testMoney}},
		Witnesses: []ledger.Witness{{Account: name(21), Stake: ledger.Token}},
	}
	s, err := ledger.New(p2p.Network{1, 2, 3}, g, []ledger.Contract{w.c, rig{}})
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	for _, p := range w.seller {
		w.want(ledger.OK, w.op(p, 0, ledger.KindDeviceRegister, ledger.DeviceRegister{Class: small, Declared: 9000}.Encode()))
	}
	return w
}

// op returns the next operation of a lane.
func (w *world) op(account ledger.Account, lane ledger.Lane, kind ledger.Kind, body []byte) *ledger.Op {
	seq, prev := w.s.Head(account, lane)
	op := &ledger.Op{
		Chain: w.s.Chain(), Kind: kind, Lane: lane, Account: account, Seq: seq + 1, Prev: prev, Body: body,
	}
	if kind.PaysFee() {
		op.Fee = 10
	}
	return op
}

// want applies an operation and wants a result.
func (w *world) want(want ledger.Result, op *ledger.Op) ledger.OpID {
	w.t.Helper()
	if got := w.s.Apply(op); got != want {
		w.t.Fatalf("%v: got %v, want %v", op.Kind, got, want)
	}
	if err := w.s.Audit(); err != nil {
		w.t.Fatal(err)
	}
	return op.ID()
}

// prove sets what proofs have shown of a provider's device.
func (w *world) prove(provider ledger.Account, passed, cu byte) {
	w.t.Helper()
	w.want(ledger.OK, w.op(provider, 9, ledger.KindProofVerdict, []byte{passed, cu}))
}

// opening returns a LeaseOpen of the first client for the first provider.
func (w *world) opening(units uint64, seconds uint32, escrow ledger.Amount) LeaseOpen {
	return LeaseOpen{
		Provider: w.seller[0], Class: small, Units: units, Seconds: seconds, Escrow: escrow, Terms: p2p.Digest{7},
	}
}

// open opens a lease of the first client.
func (w *world) open(units uint64, seconds uint32, escrow ledger.Amount) ledger.OpID {
	w.t.Helper()
	return w.want(ledger.OK, w.op(w.client[0], 0, ledger.KindLeaseOpen, w.opening(units, seconds, escrow).Encode()))
}

// acceptance returns the true LeaseAccept of a lease.
func (w *world) acceptance(id ledger.OpID) LeaseAccept {
	w.t.Helper()
	l, ok := w.c.Lease(id)
	if !ok {
		w.t.Fatalf("no lease %v", id)
	}
	d0 := w.c.Position(l.Provider, l.Class)
	charge, ok := w.c.Charge(l.Provider, l.Class, l.Units, l.Seconds, 0)
	if !ok {
		w.t.Fatal("no charge")
	}
	return LeaseAccept{Lease: id, D0: d0, D1: d0 + l.Units, Charge: charge}
}

// accept accepts a lease truly.
func (w *world) accept(id ledger.OpID) LeaseAccept {
	w.t.Helper()
	a := w.acceptance(id)
	w.want(ledger.OK, w.op(w.seller[0], 1, ledger.KindLeaseAccept, a.Encode()))
	return a
}

// closure returns a LeaseClose with a voucher of the lease's client.
func (w *world) closure(id ledger.OpID, used uint64, reason EndReason) LeaseClose {
	w.t.Helper()
	l, _ := w.c.Lease(id)
	b := LeaseClose{Lease: id, Used: used, Reason: reason}
	if used > 0 {
		v := Voucher{Lease: id, Used: used}
		b.VoucherSig = fakeSign(l.Client, v.SigningDigest(w.s.Network()))
	}
	return b
}

// close closes a lease of the first provider.
func (w *world) close(id ledger.OpID, used uint64, reason EndReason) Lease {
	w.t.Helper()
	w.want(ledger.OK, w.op(w.seller[0], 1, ledger.KindLeaseClose, w.closure(id, used, reason).Encode()))
	l, _ := w.c.Lease(id)
	return l
}
