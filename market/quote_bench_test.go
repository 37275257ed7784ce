package market

import (
	"testing"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// BenchmarkQuote is a quote without its way over the network: a provider computes
// and signs it with a real key; a client decodes it, computes the charge again and
// verifies the signature.
func BenchmarkQuote(b *testing.B) {
	w := newWorld(b)
	id := p2p.IdentityFromSeed([32]byte{1})
	q, asked := w.quoted(1000, 3600)
	seller := Seller{Provider: w.seller[0], Class: small}
	verify := func(_ p2p.PeerID, d p2p.Digest, sig p2p.Signature) bool { return p2p.Verify(id.PeerID(), d, sig) }
	b.ReportAllocs()
	for b.Loop() {
		made, no := MakeQuote(w.c, w.s, seller, asked.Ask, q.Expires)
		if no != 0 {
			b.Fatal(no)
		}
		made.Sig = id.Sign(made.SigningDigest(w.s.Network()))
		_, r, err := wire.Open(wire.Seal(wire.KindQuoted, made.Put))
		if err != nil {
			b.Fatal(err)
		}
		got := TakeQuote(r)
		if no := CheckQuote(w.c, w.s, &got, asked, verify); no != 0 {
			b.Fatal(no)
		}
	}
}
