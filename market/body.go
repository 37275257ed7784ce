package market

import (
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// LeaseOpen is the body of ledger.KindLeaseOpen: a client sets money aside for one
// job on one provider. The operation's id names the lease.
type LeaseOpen struct {
	Provider ledger.Account // the only one that may take the lease
	Class    ledger.Class
	Units    uint64 // in mCU
	Seconds  uint32 // the term
	Escrow   ledger.Amount
	Terms    p2p.Digest // of the job's Terms
}

// Encode returns the canonical body.
func (o LeaseOpen) Encode() []byte {
	w := wire.NewWriter(128)
	w.Fixed(o.Provider[:])
	w.Text(string(o.Class))
	w.U64(o.Units)
	w.U32(o.Seconds)
	w.U64(uint64(o.Escrow))
	w.Fixed(o.Terms[:])
	return w.Bytes()
}

func takeOpen(r *wire.Reader) *LeaseOpen {
	o := &LeaseOpen{}
	r.Into(o.Provider[:])
	refuse(r, o.Provider.IsZero(), "no provider")
	o.Class = takeClass(r)
	o.Units = takeUnits(r)
	o.Seconds = takeSeconds(r)
	o.Escrow = takeAmount(r)
	refuse(r, o.Escrow == 0, "no escrow")
	r.Into(o.Terms[:])
	refuse(r, o.Terms.IsZero(), "no terms")
	return o
}

// LeaseAccept is the body of ledger.KindLeaseAccept: the provider takes a lease at
// a place on the curve, and its units count as demand from here on. The operation
// stands on the provider's lane of the class.
type LeaseAccept struct {
	Lease   ledger.OpID
	D0      uint64        // demand before, in mCU: the class's and the provider's own
	D1      uint64        // demand after
	Reserve ledger.Amount // the provider's least price, in atoms per CU-hour
	Charge  ledger.Amount // price of the whole term, as the curve gives it
}

// Encode returns the canonical body.
func (a LeaseAccept) Encode() []byte {
	w := wire.NewWriter(64)
	w.Fixed(a.Lease[:])
	w.U64(a.D0)
	w.U64(a.D1)
	w.U64(uint64(a.Reserve))
	w.U64(uint64(a.Charge))
	return w.Bytes()
}

func takeAccept(r *wire.Reader) *LeaseAccept {
	return &LeaseAccept{
		Lease: takeLease(r), D0: r.U64(), D1: r.U64(), Reserve: takeAmount(r), Charge: takeAmount(r),
	}
}

// LeaseClose is the body of ledger.KindLeaseClose: the provider settles a lease by
// the client's last voucher. The operation stands on the provider's lane of the
// class.
type LeaseClose struct {
	Lease      ledger.OpID
	Used       uint64        // seconds of the last voucher; 0: no voucher
	VoucherSig p2p.Signature // of that voucher, by the client; zero without one
	Reason     EndReason
}

// Encode returns the canonical body.
func (c LeaseClose) Encode() []byte {
	w := wire.NewWriter(128)
	w.Fixed(c.Lease[:])
	w.U64(c.Used)
	w.Fixed(c.VoucherSig[:])
	w.U8(uint8(c.Reason))
	return w.Bytes()
}

// A closing is a LeaseClose that remembers whether its voucher was good, because a
// signature is dear to check and the contract is asked more than once.
type closing struct {
	LeaseClose
	checked bool
	good    bool
}

func takeClose(r *wire.Reader) *closing {
	c := &closing{LeaseClose: LeaseClose{Lease: takeLease(r), Used: r.U64()}}
	r.Into(c.VoucherSig[:])
	refuse(r, c.Used == 0 && c.VoucherSig != p2p.Signature{}, "a voucher for nothing")
	c.Reason = EndReason(r.U8())
	refuse(r, !c.Reason.Valid(), "%v", c.Reason)
	return c
}

// DecodeLeaseClose reads the body of a LeaseClose and nothing else.
func DecodeLeaseClose(body []byte) (LeaseClose, error) {
	r := wire.NewReader(body)
	c := takeClose(r)
	if err := r.Close(); err != nil {
		return LeaseClose{}, fmt.Errorf("body of %v: %w", ledger.KindLeaseClose, err)
	}
	return c.LeaseClose, nil
}

// signed reports whether the client signed the voucher; no voucher needs no
// signature.
func (c *closing) signed(n p2p.Network, client ledger.Account, verify Verify) bool {
	if !c.checked {
		v := Voucher{Lease: c.Lease, Used: c.Used, Sig: c.VoucherSig}
		c.good = c.Used == 0 || v.Signed(n, client, verify)
		c.checked = true
	}
	return c.good
}

// Decode implements ledger.Contract.
func (c *Contract) Decode(k ledger.Kind, body []byte) (any, error) {
	r := wire.NewReader(body)
	var v any
	switch k {
	case ledger.KindLeaseOpen:
		v = takeOpen(r)
	case ledger.KindLeaseAccept:
		v = takeAccept(r)
	case ledger.KindLeaseClose:
		v = takeClose(r)
	default:
		return nil, fmt.Errorf("body of %v: %w", k, wire.ErrValue)
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("body of %v: %w", k, err)
	}
	return v, nil
}
