package market

import (
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// digest returns the digest of the fields that put writes, on a network: the
// same words on another network have another digest.
func digest(domain string, n p2p.Network, put func(*wire.Writer)) p2p.Digest {
	w := wire.NewWriter(256)
	put(w)
	return p2p.Sum(domain, n[:], w.Bytes())
}

// refuse fails the reader when bad is true.
func refuse(r *wire.Reader, bad bool, format string, args ...any) {
	if bad {
		r.Fail(fmt.Errorf("%w: "+format, append([]any{wire.ErrValue}, args...)...))
	}
}

func takeClass(r *wire.Reader) ledger.Class {
	c := ledger.Class(r.Text(ledger.MaxClass))
	refuse(r, !ValidClass(c), "class %q", c)
	return c
}

func takeRegion(r *wire.Reader) string {
	region := r.Text(MaxRegion)
	refuse(r, !ValidRegion(region), "region %q", region)
	return region
}

// takeUnits reads a capacity in mCU, at least 1.
func takeUnits(r *wire.Reader) uint64 {
	units := r.U64()
	refuse(r, units == 0 || units > MaxCapacity, "%d mCU", units)
	return units
}

// takeSeconds reads a term in seconds, at least 1.
func takeSeconds(r *wire.Reader) uint32 {
	s := r.U32()
	refuse(r, s == 0 || s > MaxTerm, "term of %d s", s)
	return s
}

func takeAmount(r *wire.Reader) ledger.Amount {
	a := ledger.Amount(r.U64())
	refuse(r, a > ledger.MaxSupply, "%d atoms", a)
	return a
}

// takeTime reads a Unix time in milliseconds.
func takeTime(r *wire.Reader) int64 {
	t := int64(r.U64())
	refuse(r, t < 0, "time %d", t)
	return t
}

func takeLease(r *wire.Reader) ledger.OpID {
	var id ledger.OpID
	r.Into(id[:])
	refuse(r, id.IsZero(), "no lease")
	return id
}
