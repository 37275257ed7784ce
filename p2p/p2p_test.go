package p2p_test

import (
	"bytes"
	stded25519 "crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"
	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/p2p"
)

// golden returns the vectors of testdata/golden.txt: "name hex" lines.
func golden(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]byte)
	for line := range strings.Lines(string(text)) {
		name, digits, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || name == "#" {
			continue
		}
		if out[name], err = hex.DecodeString(digits); err != nil {
			t.Fatalf("golden %s: %v", name, err)
		}
	}
	return out
}

// want compares with a golden vector.
func want(t *testing.T, vectors map[string][]byte, name string, got []byte) {
	t.Helper()
	if !bytes.Equal(got, vectors[name]) {
		t.Errorf("%s is %x, want %x", name, got, vectors[name])
	}
}

// [WIR-8] A digest is the SHA-256 of a domain and parts, each after its length.
func TestSum(t *testing.T) {
	v := golden(t)
	for name, d := range map[string]p2p.Digest{
		"sum-empty": p2p.Sum("pinfi/test/1"),
		"sum-parts": p2p.Sum("pinfi/test/1", []byte("a"), nil, []byte("bc")),
	} {
		want(t, v, name, d[:])
	}
	content := p2p.SumContent([]byte("hello"))
	plain := sha256.Sum256([]byte("hello"))
	if !bytes.Equal(content[:], plain[:]) {
		t.Errorf("content digest is %v, want %x", content, plain)
	}
	byHand := sha256.Sum256([]byte("\x00\x00\x00\x01d\x00\x00\x00\x02xy"))
	if got := p2p.Sum("d", []byte("xy")); !bytes.Equal(got[:], byHand[:]) {
		t.Errorf("sum is %v, want %x", got, byHand)
	}
	op := make([]byte, 176)
	if n := testing.AllocsPerRun(10, func() { p2p.Sum("pinfi/op/1", op) }); n != 0 {
		t.Errorf("a sum takes %v allocations, want none", n)
	}
}

// No two ways of cutting bytes into parts share a digest.
func TestSumSeparates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 4))
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		same := slices.EqualFunc(a, b, bytes.Equal)
		if (p2p.Sum("d", a...) == p2p.Sum("d", b...)) != same {
			t.Fatalf("%x and %x: equal digests %v, equal parts %v", a, b, !same, same)
		}
		if p2p.Sum("d", a...) == p2p.Sum("e", a...) {
			t.Fatal("two domains share a digest")
		}
	})
}

// BenchmarkSum is the digest of as many bytes as an operation of one claim, the longest
// operation, and a frame of 256 votes have.
func BenchmarkSum(b *testing.B) {
	for _, n := range []int{32, 176, 960, 8300} {
		part := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p2p.Sum("pinfi/op/1", part)
			}
		})
	}
}

func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "bytes"))
		id, d := p2p.PeerID(raw), p2p.Digest(raw)
		if back, err := p2p.ParsePeerID(id.String()); err != nil || back != id {
			t.Fatalf("peer id %v comes back as %v, %v", id, back, err)
		}
		if back, err := p2p.ParseDigest(d.String()); err != nil || back != d {
			t.Fatalf("digest %v comes back as %v, %v", d, back, err)
		}
		text, err := json.Marshal(map[p2p.PeerID]p2p.Digest{id: d})
		if err != nil {
			t.Fatal(err)
		}
		var back map[p2p.PeerID]p2p.Digest
		if err := json.Unmarshal(text, &back); err != nil || back[id] != d {
			t.Fatalf("%s comes back as %v, %v", text, back, err)
		}
		if id.Short() != id.String()[:8] || d.Short() != d.String()[:8] {
			t.Fatalf("short names %s and %s", id.Short(), d.Short())
		}
	})
	for _, bad := range []string{"", "ab", strings.Repeat("a", 63), strings.Repeat("a", 65), strings.Repeat("g", 64)} {
		if id, err := p2p.ParsePeerID(bad); err == nil {
			t.Errorf("ParsePeerID(%q) is %v", bad, id)
		}
		var d p2p.Digest
		if err := d.UnmarshalText([]byte(bad)); err == nil || !d.IsZero() {
			t.Errorf("digest %q is %v", bad, d)
		}
		var id p2p.PeerID
		if err := id.UnmarshalText([]byte(bad)); err == nil || !id.IsZero() {
			t.Errorf("peer id %q is %v", bad, id)
		}
	}
	low, high := p2p.PeerID{1}, p2p.PeerID{1, 1}
	if low.Compare(high) != -1 || high.Compare(low) != 1 || low.Compare(low) != 0 {
		t.Error("peer ids are not ordered by their bytes")
	}
}

// [WIR-9] Topics and protocols carry the network's name and a version.
func TestNetwork(t *testing.T) {
	n := p2p.Network{0x1a, 0x2b, 0x3c, 0x4d, 0x5e}
	for got, want := range map[string]string{
		string(n.Topic(p2p.Ops)):           "/pinfi/1a2b3c4d/ops/1",
		string(n.Offers("gpu-24", "eu")):   "/pinfi/1a2b3c4d/offers/gpu-24/eu/1",
		string(n.Protocol(p2p.Quote)):      "/pinfi/1a2b3c4d/quote/1",
		n.String():                         "1a2b3c4d",
		string(p2p.Network{}.Topic("any")): "/pinfi/00000000/any/1",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A seed makes the keys that RFC 8032 (section 7.1, test 1) makes of it, and
// signatures and proofs that never change.
func TestIdentityGolden(t *testing.T) {
	v := golden(t)
	seed := [32]byte(v["seed"])
	id := p2p.IdentityFromSeed(seed)
	self, vrf := id.PeerID(), id.VRFKey()
	want(t, v, "peer-id", self[:])
	want(t, v, "vrf-key", vrf[:])
	d := p2p.Sum("pinfi/test/1", []byte("message"))
	sig := id.Sign(d)
	want(t, v, "signature", sig[:])
	proof := id.ProveVRF(d)
	want(t, v, "vrf-proof", proof[:])
	output, ok := p2p.VerifyVRF(vrf, d, proof)
	if !ok {
		t.Error("the golden proof is refused")
	}
	want(t, v, "vrf-output", output[:])
	if back := id.Seed(); back != seed {
		t.Errorf("seed comes back as %x", back)
	}
	if !bytes.Equal(self[:], stded25519.NewKeyFromSeed(seed[:]).Public().(stded25519.PublicKey)) {
		t.Error("the public key is not what other libraries make of the seed")
	}
	if text := id.String(); strings.Contains(text, hex.EncodeToString(seed[:8])) || !strings.Contains(text, self.Short()) {
		t.Errorf("identity prints as %s", text)
	}
	if bytes.Equal(vrf[:], self[:]) {
		t.Error("one key serves two purposes")
	}
}

// The function behind proofs is the one of RFC 9381, appendix B.4.
func TestVRFStandard(t *testing.T) {
	v := golden(t)
	for _, n := range []string{"rfc9381-19", "rfc9381-20"} {
		alpha := v[n+"-alpha"]
		key := ed25519.NewKeyFromSeed(v[n+"-seed"])
		proof := ecvrf.Prove(key, alpha)
		want(t, v, n+"-proof", proof)
		ok, output := ecvrf.Verify(key.Public().(ed25519.PublicKey), proof, alpha)
		if !ok {
			t.Errorf("%s: proof is refused", n)
		}
		want(t, v, n+"-output", output)
	}
}

// What was signed verifies; after any change of one bit it does not.
func TestSignatures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := p2p.IdentityFromSeed([32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")))
		c := id.Crypto()
		d := p2p.SumContent(rapid.SliceOf(rapid.Byte()).Draw(t, "content"))
		sig, proof := c.Sign(d), c.ProveVRF(d)
		if !c.Verify(id.PeerID(), d, sig) {
			t.Fatal("a signature is refused")
		}
		output, ok := c.VerifyVRF(id.VRFKey(), d, proof)
		if !ok || output == (p2p.VRFOutput{}) {
			t.Fatal("a proof is refused")
		}
		bit := rapid.IntRange(0, 8*len(proof)-1).Draw(t, "bit")
		flip := func(b []byte) { b[bit/8%len(b)] ^= 1 << (bit % 8) }
		sig2, proof2, d2 := sig, proof, d
		flip(sig2[:])
		flip(proof2[:])
		flip(d2[:])
		if c.Verify(id.PeerID(), d, sig2) || c.Verify(id.PeerID(), d2, sig) {
			t.Fatalf("a changed signature or digest verifies, bit %d", bit)
		}
		if _, ok := c.VerifyVRF(id.VRFKey(), d2, proof); ok {
			t.Fatal("a proof verifies for another input")
		}
		if out2, ok := c.VerifyVRF(id.VRFKey(), d, proof2); ok && out2 != output {
			t.Fatalf("one input has two outputs, bit %d", bit)
		}
	})
}

// smallOrder are the encodings of the points of small order, those that are not
// canonical among them.
func smallOrder(t testing.TB) [][]byte {
	t.Helper()
	points := []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	}
	out := make([][]byte, 0, len(points))
	for _, p := range points {
		b, err := hex.DecodeString(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// batch verifies one signature the way a batch does, with an honest one beside it.
func batch(key p2p.PeerID, d p2p.Digest, sig p2p.Signature) bool {
	honest := p2p.IdentityFromSeed([32]byte{1})
	self, other := honest.PeerID(), honest.Sign(d)
	ok := p2p.VerifyBatch([]p2p.Signed{{Key: self, Digest: d, Sig: other}, {Key: key, Digest: d, Sig: sig}})
	return ok[0] && ok[1]
}

// [WIR-7] Signatures are judged by ZIP-215: the 196 of small order that it
// accepts are accepted, in a batch as alone.
func TestZIP215(t *testing.T) {
	d := p2p.Sum("pinfi/test/1", []byte("Zcash"))
	strict := 0
	points := smallOrder(t)
	for _, key := range points {
		for _, r := range points {
			sig := p2p.Signature(slices.Concat(r, make([]byte, 32)))
			alone, together := p2p.Verify(p2p.PeerID(key), d, sig), batch(p2p.PeerID(key), d, sig)
			if !alone || !together {
				t.Errorf("key %x, R %x: alone %v, in a batch %v, want true", key, r, alone, together)
			}
			if !stded25519.Verify(key, d[:], sig[:]) {
				strict++
			}
		}
	}
	if strict == 0 {
		t.Error("other rules accept all of these: they show nothing")
	}
}

// A signature whose scalar is too large by the group's order is refused, or
// every signature would have a second form.
func TestMalleability(t *testing.T) {
	id := p2p.IdentityFromSeed([32]byte{3})
	d := p2p.Sum("pinfi/test/1")
	sig := id.Sign(d)
	// RFC 8032, section 5.1: L = 2^252 + 27742317777372353535851937790883648493
	tail, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	order := tail.Add(tail, new(big.Int).Lsh(big.NewInt(1), 252))
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	copy(sig[32:], sum)
	if p2p.Verify(id.PeerID(), d, sig) || batch(id.PeerID(), d, sig) {
		t.Error("a signature has a second form")
	}
}
