package market

import (
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// An Ask is a client's question to one provider: what would this cost? The stream
// that carries it vouches for its sender.
type Ask struct {
	Client  ledger.Account
	Bid     p2p.Digest // the need it is for
	Nonce   uint64     // tells a client's questions apart
	Class   ledger.Class
	Units   uint64 // in mCU
	Seconds uint32
}

// Put writes the canonical bytes.
func (a *Ask) Put(w *wire.Writer) {
	w.Fixed(a.Client[:])
	w.Fixed(a.Bid[:])
	w.U64(a.Nonce)
	w.Text(string(a.Class))
	w.U64(a.Units)
	w.U32(a.Seconds)
}

// TakeAsk reads what Put writes and nothing else; the reader holds the error.
func TakeAsk(r *wire.Reader) Ask {
	var a Ask
	r.Into(a.Client[:])
	r.Into(a.Bid[:])
	a.Nonce = r.U64()
	a.Class = takeClass(r)
	a.Units = takeUnits(r)
	a.Seconds = takeSeconds(r)
	return a
}

// A Quote is a provider's signed answer to an Ask. It fixes a place on the curve
// and the price that follows from it, and reserves nothing.
type Quote struct {
	Provider ledger.Account
	Client   ledger.Account
	Bid      p2p.Digest
	Nonce    uint64
	Class    ledger.Class
	Units    uint64 // in mCU
	Seconds  uint32
	Lane     ledger.Lane   // the provider's lane of the class
	LaneSeq  uint64        // its head when the quote was made: D0 holds until it moves
	D0       uint64        // demand before, in mCU
	D1       uint64        // demand after: D0 + Units
	Reserve  ledger.Amount // the provider's least price, in atoms per CU-hour
	Charge   ledger.Amount // price of the whole term, in atoms
	Expires  int64         // Unix time in milliseconds from which it does not count
	Sig      p2p.Signature // of SigningDigest, by Provider
}

// Put writes the canonical bytes.
func (q *Quote) Put(w *wire.Writer) {
	q.unsigned(w)
	w.Fixed(q.Sig[:])
}

func (q *Quote) unsigned(w *wire.Writer) {
	w.Fixed(q.Provider[:])
	w.Fixed(q.Client[:])
	w.Fixed(q.Bid[:])
	w.U64(q.Nonce)
	w.Text(string(q.Class))
	w.U64(q.Units)
	w.U32(q.Seconds)
	w.U8(uint8(q.Lane))
	w.U64(q.LaneSeq)
	w.U64(q.D0)
	w.U64(q.D1)
	w.U64(uint64(q.Reserve))
	w.U64(uint64(q.Charge))
	w.U64(uint64(q.Expires))
}

// TakeQuote reads what Put writes and nothing else; the reader holds the error.
func TakeQuote(r *wire.Reader) Quote {
	var q Quote
	r.Into(q.Provider[:])
	r.Into(q.Client[:])
	r.Into(q.Bid[:])
	q.Nonce = r.U64()
	q.Class = takeClass(r)
	q.Units = takeUnits(r)
	q.Seconds = takeSeconds(r)
	q.Lane = ledger.Lane(r.U8())
	q.LaneSeq = r.U64()
	q.D0 = r.U64()
	q.D1 = r.U64()
	q.Reserve = takeAmount(r)
	q.Charge = takeAmount(r)
	q.Expires = takeTime(r)
	r.Into(q.Sig[:])
	return q
}

// SigningDigest returns what the provider signs on a network: every field but
// Sig.
func (q *Quote) SigningDigest(n p2p.Network) p2p.Digest {
	return digest("pinfi/quote/1", n, q.unsigned)
}

// Signed reports whether the provider signed the quote for the network.
func (q *Quote) Signed(n p2p.Network, verify Verify) bool {
	return verify(q.Provider, q.SigningDigest(n), q.Sig)
}
