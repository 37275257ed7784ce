package market

import (
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Verify reports whether a key signed a digest. p2p.Verify is one.
type Verify func(p2p.PeerID, p2p.Digest, p2p.Signature) bool

// An Offer is a provider's capacity for sale in one class. The offer of the
// highest Seq replaces those before it; one with nothing Free withdraws.
type Offer struct {
	Provider ledger.Account
	Class    ledger.Class
	Region   string
	Seq      uint64        // rises with every change; a refresh changes Expires too
	Declared uint64        // capacity of the provider's device, in mCU
	Free     uint64        // part of it that is not leased, in mCU, at most Declared
	Reserve  ledger.Amount // least price, in atoms per CU-hour; 0: the pool's price is enough
	Expires  int64         // Unix time in milliseconds from which it does not count
	Sig      p2p.Signature // of SigningDigest, by Provider
}

// Put writes the canonical bytes.
func (o *Offer) Put(w *wire.Writer) {
	o.unsigned(w)
	w.Fixed(o.Sig[:])
}

func (o *Offer) unsigned(w *wire.Writer) {
	w.Fixed(o.Provider[:])
	w.Text(string(o.Class))
	w.Text(o.Region)
	w.U64(o.Seq)
	w.U64(o.Declared)
	w.U64(o.Free)
	w.U64(uint64(o.Reserve))
	w.U64(uint64(o.Expires))
}

// TakeOffer reads what Put writes and nothing else; the reader holds the error.
func TakeOffer(r *wire.Reader) Offer {
	var o Offer
	r.Into(o.Provider[:])
	o.Class = takeClass(r)
	o.Region = takeRegion(r)
	o.Seq = r.U64()
	o.Declared = takeUnits(r)
	o.Free = r.U64()
	refuse(r, o.Free > o.Declared, "%d mCU free of %d", o.Free, o.Declared)
	o.Reserve = takeAmount(r)
	o.Expires = takeTime(r)
	r.Into(o.Sig[:])
	return o
}

// SigningDigest returns what the provider signs on a network: every field but
// Sig.
func (o *Offer) SigningDigest(n p2p.Network) p2p.Digest {
	return digest("pinfi/offer/1", n, o.unsigned)
}

// Signed reports whether the provider signed the offer for the network.
func (o *Offer) Signed(n p2p.Network, verify Verify) bool {
	return verify(o.Provider, o.SigningDigest(n), o.Sig)
}

// A Bid is a client's need, told to everybody in a class and region.
type Bid struct {
	Client  ledger.Account
	ID      p2p.Digest // names the need; asks repeat it
	Class   ledger.Class
	Region  string
	Units   uint64        // capacity of each task, in mCU
	Seconds uint32        // longest time of each task
	Max     ledger.Amount // most that all tasks together may cost, in atoms
	Tasks   uint32        // number of tasks, at least 1
	Expires int64         // Unix time in milliseconds from which it does not count
	Sig     p2p.Signature // of SigningDigest, by Client
}

// Put writes the canonical bytes.
func (b *Bid) Put(w *wire.Writer) {
	b.unsigned(w)
	w.Fixed(b.Sig[:])
}

func (b *Bid) unsigned(w *wire.Writer) {
	w.Fixed(b.Client[:])
	w.Fixed(b.ID[:])
	w.Text(string(b.Class))
	w.Text(b.Region)
	w.U64(b.Units)
	w.U32(b.Seconds)
	w.U64(uint64(b.Max))
	w.U32(b.Tasks)
	w.U64(uint64(b.Expires))
}

// TakeBid reads what Put writes and nothing else; the reader holds the error.
func TakeBid(r *wire.Reader) Bid {
	var b Bid
	r.Into(b.Client[:])
	r.Into(b.ID[:])
	b.Class = takeClass(r)
	b.Region = takeRegion(r)
	b.Units = takeUnits(r)
	b.Seconds = takeSeconds(r)
	b.Max = takeAmount(r)
	b.Tasks = r.U32()
	refuse(r, b.Tasks == 0, "no tasks")
	b.Expires = takeTime(r)
	r.Into(b.Sig[:])
	return b
}

// SigningDigest returns what the client signs on a network: every field but Sig.
func (b *Bid) SigningDigest(n p2p.Network) p2p.Digest { return digest("pinfi/bid/1", n, b.unsigned) }

// Signed reports whether the client signed the bid for the network.
func (b *Bid) Signed(n p2p.Network, verify Verify) bool {
	return verify(b.Client, b.SigningDigest(n), b.Sig)
}
