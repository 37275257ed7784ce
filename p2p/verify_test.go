package p2p_test

import (
	stded25519 "crypto/ed25519"
	"crypto/sha512"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/pinfi/pinfi/p2p"
)

// zcash is what the vectors of ZIP-215 sign.
var zcash = p2p.Sum("pinfi/test/1", []byte("Zcash"))

// An edge is a signature that rules of verification differ on, or that all refuse.
type edge struct {
	name string
	p2p.Signed
	valid bool // by ZIP-215
}

// accepted returns signatures that ZIP-215 accepts: the 196 whose key and R are of
// small order, in canonical encodings and others; and those of a key and an R that
// each have one of the 8 torsion components.
func accepted(t testing.TB) (all []edge) {
	t.Helper()
	points := smallOrder(t)
	for _, key := range points {
		for _, r := range points {
			sig := p2p.Signature(slices.Concat(r, make([]byte, 32)))
			all = append(all, edge{
				fmt.Sprintf("key %x, R %x", key, r), p2p.Signed{Key: p2p.PeerID(key), Digest: zcash, Sig: sig}, true,
			})
		}
	}
	for i, onKey := range points[:8] {
		for j, onR := range points[:8] {
			name := fmt.Sprintf("torsion %d of key, %d of R", i, j)
			all = append(all, edge{name, signWith(t, onKey, onR), true})
		}
	}
	return all
}

// signWith signs as a key that has a torsion component, with an R that has one, so
// that the equation holds after the multiplication by the cofactor.
func signWith(t testing.TB, onKey, onR []byte) p2p.Signed {
	t.Helper()
	secret, nonce := scalarOf(t, "secret"), scalarOf(t, "nonce")
	key, r := plus(t, secret, onKey), plus(t, nonce, onR)
	h := sha512.Sum512(slices.Concat(r[:], key[:], zcash[:]))
	k, err := scalar.New().SetBytesModOrderWide(h[:])
	if err != nil {
		t.Fatal(err)
	}
	s := scalar.New().Add(nonce, scalar.New().Mul(k, secret))
	signed := p2p.Signed{Key: p2p.PeerID(key), Digest: zcash}
	copy(signed.Sig[:], r[:])
	if err := s.ToBytes(signed.Sig[32:]); err != nil {
		t.Fatal(err)
	}
	return signed
}

func scalarOf(t testing.TB, name string) *scalar.Scalar {
	t.Helper()
	h := sha512.Sum512([]byte(name))
	s, err := scalar.New().SetBytesModOrderWide(h[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plus returns s times the base point, plus a point.
func plus(t testing.TB, s *scalar.Scalar, point []byte) curve.CompressedEdwardsY {
	t.Helper()
	encoded, err := curve.NewCompressedEdwardsYFromBytes(point)
	if err != nil {
		t.Fatal(err)
	}
	p, err := curve.NewEdwardsPoint().SetCompressedY(encoded)
	if err != nil {
		t.Fatal(err)
	}
	base := curve.NewEdwardsPoint().MulBasepoint(curve.ED25519_BASEPOINT_TABLE, s)
	return *curve.NewCompressedEdwardsY().SetEdwardsPoint(p.Add(p, base))
}

// refused returns signatures that no rules accept.
func refused(t testing.TB) []edge {
	t.Helper()
	honest := honestly(3)
	bad := func(name string, change func(s *p2p.Signed)) edge {
		s := honest
		change(&s)
		return edge{name, s, false}
	}
	none := slices.Repeat([]byte{0xff}, 31) // with a last byte of 0x02: no point has it
	return []edge{
		bad("another digest", func(s *p2p.Signed) { s.Digest[0] ^= 1 }),
		bad("another key", func(s *p2p.Signed) { s.Key = honestly(4).Key }),
		bad("another R", func(s *p2p.Signed) { copy(s.Sig[:32], smallOrder(t)[0]) }),
		bad("another S", func(s *p2p.Signed) { s.Sig[32] ^= 1 }),
		bad("an S over the order", func(s *p2p.Signed) { s.Sig[63] |= 0xe0 }),
		bad("a key that is no point", func(s *p2p.Signed) { copy(s.Key[:], none); s.Key[31] = 2 }),
		bad("an R that is no point", func(s *p2p.Signed) { copy(s.Sig[:32], none); s.Sig[31] = 2 }),
		bad("nothing", func(s *p2p.Signed) { s.Sig = p2p.Signature{} }),
	}
}

// honestly returns the signature of an honest identity.
func honestly(i int) p2p.Signed {
	id := p2p.IdentityFromSeed([32]byte{byte(i), byte(i >> 8)})
	d := p2p.Sum("pinfi/test/1", []byte(fmt.Sprint(i)))
	return p2p.Signed{Key: id.PeerID(), Digest: d, Sig: id.Sign(d)}
}

// [LED-60] Single and batch verification agree: on the edge cases of ZIP-215, at
// every place in batches of several sizes, alone and among wrong ones.
func TestVerifyBatchEdges(t *testing.T) {
	good, bad := accepted(t), refused(t)
	if len(good) != 196+64 {
		t.Fatalf("%d accepted vectors, want 260", len(good))
	}
	for _, e := range slices.Concat(good, bad) {
		if got := p2p.Verify(e.Key, e.Digest, e.Sig); got != e.valid {
			t.Errorf("%s: alone %v, want %v", e.name, got, e.valid)
		}
	}
	var mixed []edge // one wrong one after each six
	for i, e := range good {
		if mixed = append(mixed, e); i%6 == 0 {
			mixed = append(mixed, bad[i/6%len(bad)])
		}
	}
	cached := p2p.NewVerifier(32) // fewer than there are keys
	for name, ring := range map[string][]edge{"accepted": good, "mixed": mixed} {
		for _, size := range []int{1, 2, 3, 4, 5, 16, 64, 95, 130} {
			for start := range ring { // so that each is once at each place
				if size >= 64 && start%7 > 0 {
					continue
				}
				batch, want := window(ring, start, size)
				verify := p2p.VerifyBatch
				if start%2 > 0 {
					verify = cached.VerifyBatch
				}
				if got := verify(batch); !slices.Equal(got, want) {
					t.Fatalf("%s from %s, %d at once: %v", name, ring[start].name, size, differ(ring, start, got, want))
				}
			}
		}
	}
}

// window returns so many of a ring's signatures, from one on.
func window(ring []edge, start, size int) (batch []p2p.Signed, want []bool) {
	for i := range size {
		e := &ring[(start+i)%len(ring)]
		batch, want = append(batch, e.Signed), append(want, e.valid)
	}
	return batch, want
}

// differ names the edges that were judged wrongly.
func differ(ring []edge, start int, got, want []bool) (names []string) {
	for i := range got {
		if got[i] != want[i] {
			names = append(names, ring[(start+i)%len(ring)].name)
		}
	}
	return names
}

// [LED-61] Verification by other rules must never be mixed in: crypto/ed25519
// refuses signatures that batches accept, so that whoever uses it sees another
// ledger. This is the negative control of LED-60.
func TestVerifyBatchStandardDisagrees(t *testing.T) {
	small, torsion := 0, 0
	good := accepted(t)
	batch, _ := window(good, 0, len(good))
	for i, ok := range p2p.VerifyBatch(batch) {
		s := &batch[i]
		switch agrees := ok == stded25519.Verify(s.Key[:], s.Digest[:], s.Sig[:]); {
		case !agrees && i < 196:
			small++
		case !agrees:
			torsion++
		}
	}
	t.Logf("crypto/ed25519 refuses %d of 196 of small order and %d of 64 with torsion", small, torsion)
	if small == 0 || torsion < 32 {
		t.Error("the other rules accept these: the vectors show nothing")
	}
}

// [LED-62] The wrong ones of a batch are found, however many they are and wherever
// they stand.
func TestVerifyBatchFindsWrong(t *testing.T) {
	const n = 512
	honest := make([]p2p.Signed, n)
	for i := range honest {
		honest[i] = honestly(i % 50)
	}
	v := p2p.NewVerifier(64)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, wrong := range []int{0, 1, 2, 7, 40, n} {
		batch, want := slices.Clone(honest), slices.Repeat([]bool{true}, n)
		for _, i := range rng.Perm(n)[:wrong] {
			batch[i].Sig[rng.IntN(32)] ^= 1 << rng.IntN(8)
			want[i] = false
		}
		for name, got := range map[string][]bool{"plain": p2p.VerifyBatch(batch), "cached": v.VerifyBatch(batch)} {
			if !slices.Equal(got, want) {
				t.Errorf("%s, %d wrong of %d, seed %d: not those are found", name, wrong, n, seed)
			}
		}
	}
	if got := p2p.VerifyBatch(nil); len(got) != 0 {
		t.Errorf("a batch of none gives %v", got)
	}
}

// Two signatures that are wrong and cancel each other out are found: the
// coefficients keep them apart, and no order or company brings them together.
func TestVerifyBatchCancelling(t *testing.T) {
	order := []byte("\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10")
	if len(order) != 32 {
		t.Fatal(len(order))
	}
	batch := []p2p.Signed{honestly(1), honestly(2), honestly(3), honestly(4)}
	one := scalar.NewFromUint64(1)
	for i, change := range []*scalar.Scalar{one, scalar.New().Neg(one)} {
		s, err := scalar.NewFromBytesModOrder(batch[i].Sig[32:])
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Add(s, change).ToBytes(batch[i].Sig[32:]); err != nil {
			t.Fatal(err)
		}
	}
	if got := p2p.VerifyBatch(batch); !slices.Equal(got, []bool{false, false, true, true}) {
		t.Errorf("got %v", got)
	}
}

// A Verifier is used by several workers at once.
func TestVerifierConcurrently(t *testing.T) {
	v := p2p.NewVerifier(8)
	batch := make([]p2p.Signed, 40)
	for i := range batch {
		batch[i] = honestly(i % 20)
	}
	batch[17].Sig[0] ^= 1
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				if got := v.VerifyBatch(batch); slices.Index(got, false) != 17 || slices.Contains(got[18:], false) {
					t.Error("the wrong one is not found")
				}
			}
		})
	}
	group.Wait()
}

// VerifyEach asks for each, in order.
func TestVerifyEach(t *testing.T) {
	batch := []p2p.Signed{honestly(1), honestly(2), honestly(3)}
	batch[1].Digest[0] ^= 1
	if got := p2p.VerifyEach(p2p.Verify)(batch); !slices.Equal(got, []bool{true, false, true}) {
		t.Errorf("got %v", got)
	}
}

// BenchmarkVerify measures the cost of one signature: alone, and in batches by keys
// that are all new, or that the Verifier has met.
func BenchmarkVerify(b *testing.B) {
	b.Run("single", func(b *testing.B) {
		s := honestly(1)
		for b.Loop() {
			p2p.Verify(s.Key, s.Digest, s.Sig)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sigs/s")
	})
	for _, size := range []int{4, 16, 64, 512} {
		batch := make([]p2p.Signed, size)
		for i := range batch {
			batch[i] = honestly(i)
		}
		wrong := slices.Clone(batch)
		wrong[size/3].Sig[0] ^= 1
		all := slices.Clone(batch)
		for i := range all {
			all[i].Sig[0] ^= 1
		}
		forget := p2p.NewVerifier(1)
		for _, c := range []struct {
			name   string
			verify func([]p2p.Signed) []bool
			batch  []p2p.Signed
		}{
			{"keys=plain", p2p.VerifyBatch, batch},
			{"keys=met", p2p.NewVerifier(4096).VerifyBatch, batch},
			{"keys=new", forget.VerifyBatch, batch},
			{"keys=met/wrong=1", p2p.NewVerifier(4096).VerifyBatch, wrong},
			{"keys=met/wrong=all", p2p.NewVerifier(4096).VerifyBatch, all},
		} {
			b.Run(fmt.Sprintf("batch=%d/%s", size, c.name), func(b *testing.B) {
				c.verify(c.batch)
				for b.Loop() {
					c.verify(c.batch)
				}
				b.ReportMetric(float64(b.N)*float64(size)/b.Elapsed().Seconds(), "sigs/s")
			})
		}
	}
}
