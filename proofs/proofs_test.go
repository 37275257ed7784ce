package proofs

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs/merkle"
)

// naive is the definition of Multiply.
func naive(c []int32, a, b []int8, m, n, k int) {
	for i := range m {
		for j := range n {
			var sum int32
			for x := range k {
				sum += int32(a[i*k+x]) * int32(b[j*k+x])
			}
			c[i*n+j] = sum
		}
	}
}

// newParams returns the smallest parameters of any use.
func newParams() *Params {
	return &Params{
		M: 32, N: 32, K: 64, MaxRounds: 8, Samples: 4, Window: 1, Delta: 1, Sample: 1,
		StormPer: 2, Admission: 3, Reference: 1_000_000,
	}
}

// A proof is a challenge and an honest answer to it.
type proof struct {
	p       *Params
	seed    p2p.Digest
	commit  *Commit
	id      ledger.OpID
	t       *Transcript
	samples []Sample
	reveal  *Reveal
}

// newProof answers a challenge in some rounds.
func newProof(p *Params, seed p2p.Digest, rounds int, mul Multiply) *proof {
	pr := NewProver(p, seed, mul)
	for range rounds {
		pr.Round()
	}
	f := &proof{p: p, seed: seed, t: pr.Finish()}
	f.commit = &Commit{Class: "cpu", Params: p.Hash(), Rounds: f.t.Rounds, Root: f.t.Root, Last: f.t.Last}
	f.id = ledger.OpID(p2p.SumContent(f.commit.Encode()))
	f.open(p2p.Sum("test/sample"))
	return f
}

// open lets a beat pick the tiles.
func (f *proof) open(output p2p.Digest) {
	f.samples = Samples(f.p, output, f.id, f.commit.Rounds)
	f.reveal = f.t.Open(f.samples)
}

func (f *proof) verify() Fault { return Verify(f.p, f.seed, f.commit, f.samples, f.reveal) }

// [PRF-6] An honest reveal is sound, for all parameters, rounds and samples, and
// whether leaves were kept or computed again.
func TestHonest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newParams()
		p.M = 16 << rapid.IntRange(0, 2).Draw(t, "m")
		p.N = 16 << rapid.IntRange(0, 2).Draw(t, "n")
		p.K = 64 * rapid.Uint32Range(1, 18).Draw(t, "k")
		p.Samples = rapid.Uint8Range(1, 40).Draw(t, "samples")
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		rounds := rapid.IntRange(1, int(p.MaxRounds)).Draw(t, "rounds")
		f := newProof(p, p2p.Sum("test"), rounds, naive)
		if got := f.verify(); got != NoFault {
			t.Fatalf("honest reveal: %v", got)
		}
		w := wire.NewWriter(0)
		EncodeReveal(w, f.reveal)
		if most := p.revealMax(); len(w.Bytes())+messageRoom > most {
			t.Fatalf("reveal of %d bytes, at most %d are reckoned with", len(w.Bytes()), most)
		}
		kept := f.reveal
		f.t.prover.kept = f.t.prover.kept[:rapid.IntRange(0, rounds).Draw(t, "kept")]
		f.open(p2p.Sum("test/sample"))
		again := wire.NewWriter(0)
		EncodeReveal(again, f.reveal)
		if !slices.Equal(w.Bytes(), again.Bytes()) {
			t.Fatalf("computed again it differs: %+v, %+v", kept, f.reveal)
		}
	})
}

// [PRF-7] A reveal with any one bit flipped does not decode or is not sound.
func TestEveryBitCounts(t *testing.T) {
	f := newProof(newParams(), p2p.Sum("test"), 3, naive)
	w := wire.NewWriter(0)
	EncodeReveal(w, f.reveal)
	b := w.Bytes()
	faults := make(map[Fault]int)
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		r := wire.NewReader(b)
		got, err := DecodeReveal(r)
		if err == nil {
			err = r.Close()
		}
		if err == nil {
			fault := Verify(f.p, f.seed, f.commit, f.samples, got)
			if fault == NoFault {
				t.Fatalf("sound with bit %d flipped", bit)
			}
			faults[fault]++
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for _, want := range []Fault{BrokenPath, BrokenChain, WrongSample} {
		if faults[want] == 0 {
			t.Errorf("no flipped bit is a %v: %v", want, faults)
		}
	}
}

// [PRF-5] Samples are equally likely tiles, drawn with rejection, that depend on
// the beat's output and the commit.
func TestSamplesAreUniform(t *testing.T) {
	p := newParams()
	p.Samples = 255
	const rounds, draws = 3, 400
	counts := make(map[Sample]int)
	for i := range draws {
		for _, s := range Samples(p, p2p.Sum("test", le32(uint32(i))), ledger.OpID{1}, rounds) {
			counts[s]++
		}
	}
	want := float64(draws*255) / (rounds * 4)
	for round := range uint32(rounds) {
		for tile := range uint32(4) {
			got := float64(counts[Sample{Round: round, Tile: tile}])
			if got < want*0.95 || got > want*1.05 { // five standard deviations are 5 %
				t.Errorf("round %d tile %d came %v times, want about %v", round, tile, got, want)
			}
		}
	}
	if len(counts) != rounds*4 {
		t.Errorf("%d different samples, want %d", len(counts), rounds*4)
	}
	a := Samples(p, p2p.Sum("a"), ledger.OpID{1}, 8)
	if slices.Equal(a, Samples(p, p2p.Sum("b"), ledger.OpID{1}, 8)) {
		t.Error("another beat picks the same tiles")
	}
	if slices.Equal(a, Samples(p, p2p.Sum("a"), ledger.OpID{2}, 8)) {
		t.Error("another commit has the same tiles picked")
	}
}

// The generator of samples skips the words that would favour small numbers.
func TestBelowRejects(t *testing.T) {
	d := drawer{at: 0}
	d.words = [16]uint32{0, 1<<30 - 1, 1<<30 + 5} // 2^32 mod 3*2^30 = 2^30
	if got := d.below(3 << 30); got != 1<<30+5 || d.at != 3 {
		t.Errorf("below = %d after %d words, want %d after 3", got, d.at, 1<<30+5)
	}
}

// [PRF-3] A tile's leaf is SHA-256 over 0x00, its number and its 256 sums row by
// row, little end first; rounds chain by their roots.
func TestRoundByDefinition(t *testing.T) {
	p := newParams()
	p.M, p.N, p.K = 32, 64, 192
	seed := p2p.Sum("test")
	s := newStream(seed)
	rows := func(domain uint32, n int) []int8 {
		var all []int8
		for i := range n {
			row := make([]int8, p.K)
			s.row(row, domain, uint32(i))
			all = append(all, row...)
		}
		return all
	}
	c := make([]int32, 32*64)
	naive(c, rows(domainA, 32), rows(domainB, 64), 32, 64, 192)
	var leaves []p2p.Digest
	for tile := range 8 {
		b := binary.LittleEndian.AppendUint64([]byte{0}, uint64(tile))
		for i := range 16 {
			for j := range 16 {
				b = binary.LittleEndian.AppendUint32(b, uint32(c[(tile/4*16+i)*64+tile%4*16+j]))
			}
		}
		leaves = append(leaves, sha256.Sum256(b))
	}
	root := merkle.New(leaves).Root()
	next := p2p.Sum("pinfi/pocps/next/1", seed[:], []byte{0, 0, 0, 0}, root[:])
	f := newProof(p, seed, 1, naive)
	if f.t.Last != next {
		t.Errorf("next seed = %v, want %v", f.t.Last, next)
	}
	if want := p2p.Sum("pinfi/pocps/round/1", []byte{0, 0, 0, 0}, seed[:], root[:]); f.t.Root != want {
		t.Errorf("root of one round = %v, want %v", f.t.Root, want)
	}
}

// The seed binds each of its parts.
func TestSeed(t *testing.T) {
	p, other := newParams(), newParams()
	other.Samples++
	seeds := map[p2p.Digest]string{}
	add := func(what string, seed p2p.Digest) {
		if seeds[seed] != "" {
			t.Errorf("%s has the seed of %s", what, seeds[seed])
		}
		seeds[seed] = what
	}
	one := p2p.Digest{1}
	add("the challenge", p.Seed(p2p.Network{1}, one, ledger.Account{1}, "cpu"))
	add("other rules", other.Seed(p2p.Network{1}, one, ledger.Account{1}, "cpu"))
	add("another network", p.Seed(p2p.Network{2}, one, ledger.Account{1}, "cpu"))
	add("another beat", p.Seed(p2p.Network{1}, p2p.Digest{2}, ledger.Account{1}, "cpu"))
	add("another device", p.Seed(p2p.Network{1}, one, ledger.Account{2}, "cpu"))
	add("another class", p.Seed(p2p.Network{1}, one, ledger.Account{1}, "gpu"))
}

// [PRF-10] A beat is a storm with chance 1/StormPer.
func TestIsStorm(t *testing.T) {
	p := newParams()
	for _, per := range []uint32{1, 2, 10} {
		p.StormPer = per
		storms := 0
		for i := range uint32(10000) {
			if IsStorm(p, p2p.Sum("test", le32(i))) {
				storms++
			}
		}
		if want := 10000 / int(per); storms < want*9/10 || storms > want*11/10 {
			t.Errorf("%d storms in 10000 beats with StormPer %d", storms, per)
		}
	}
}

// A prover stops at MaxRounds, whatever its driver does.
func TestMaxRounds(t *testing.T) {
	p := newParams()
	pr := NewProver(p, p2p.Sum("test"), naive)
	n := 1
	for pr.Round() {
		n++
	}
	if pr.Round() || n != int(p.MaxRounds) || pr.Rounds() != p.MaxRounds {
		t.Errorf("%d rounds, prover says %d, want %d", n, pr.Rounds(), p.MaxRounds)
	}
}

// Every parameter out of bounds is refused by name.
func TestValidate(t *testing.T) {
	if err := newParams().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Params){
		"M = 0":           func(p *Params) { p.M = 0 },
		"M = 24":          func(p *Params) { p.M = 24 },
		"M = 65536":       func(p *Params) { p.M = 1 << 16 },
		"M/16 * N/16 = 6": func(p *Params) { p.M = 48 },
		"N = 4294967295":  func(p *Params) { p.N = 1<<32 - 1 },
		"K = 100":         func(p *Params) { p.K = 100 },
		"K = 65536":       func(p *Params) { p.K = 1 << 16 },
		"MaxRounds = 0":   func(p *Params) { p.MaxRounds = 0 },
		"MaxRounds = 409": func(p *Params) { p.MaxRounds = 4097 },
		"Samples = 0":     func(p *Params) { p.Samples = 0 },
		"Window = 0":      func(p *Params) { p.Window = 0 },
		"Delta = 429":     func(p *Params) { p.Delta = 1<<32 - 1 },
		"Sample = 0":      func(p *Params) { p.Sample = 0 },
		"StormPer = 0":    func(p *Params) { p.StormPer = 0 },
		"Admission = 0":   func(p *Params) { p.Admission = 0 },
		"Reference = 0":   func(p *Params) { p.Reference = 0 },
		"reveals of":      func(p *Params) { p.M, p.N, p.Samples, p.MaxRounds = 1<<15, 1<<15, 255, 4096 },
	} {
		p := newParams()
		change(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("validate with %s: %v", name, err)
		}
	}
}

// [PRF-11] A rate is operations over the time in which a commit is accepted, as a
// share of Reference, rounded down; the proven rate is the lower median of the
// latest 8 passed storms.
func TestRate(t *testing.T) {
	p := newParams() // a round is 2*32*32*64 = 131072 operations, 2 slots, 10^6 a second are one CU
	for _, c := range []struct {
		rounds, millis uint32
		want           uint64
	}{{0, 500, 0}, {1, 500, 131}, {8, 500, 1048}, {8, 1, 524288}, {1, 1 << 31, 0}} {
		if got := p.Rate(c.rounds, &ledger.Genesis{SlotMillis: c.millis}); got != c.want {
			t.Errorf("%d rounds in 2 slots of %d ms = %d mCU, want %d", c.rounds, c.millis, got, c.want)
		}
	}
	p.M, p.N, p.K, p.Reference = SideMax, SideMax, KMax, 1
	if got := p.Rate(RoundsMax, &ledger.Genesis{SlotMillis: 1}); got != 1<<64-1 {
		t.Errorf("a rate that does not fit = %d", got)
	}
	var rates []rate
	if medianRate(rates) != 0 {
		t.Error("no rates prove something")
	}
	for i, c := range []struct{ storm, mCU, want uint64 }{
		{5, 100, 100},
		{3, 50, 50},
		{4, 70, 70},
		{9, 60, 60},
		{6, 10, 60},
		{7, 10, 50},
		{8, 10, 50},
		{2, 10, 10},
		{1, 1000, 10},
		{10, 80, 50},
	} {
		rates = addRate(rates, rate{storm: ledger.Slot(c.storm), mCU: c.mCU})
		if got := medianRate(rates); got != c.want {
			t.Errorf("median after %d rates %v = %d, want %d", i+1, rates, got, c.want)
		}
	}
}

// [PRF-12] The golden vectors: another implementation must get the same bytes.
func TestVectors(t *testing.T) {
	p := newParams()
	p.K, p.Samples = 1088, 6 // a whole chunk and a part of one
	output := p2p.Sum("vector/beat")
	seed := p.Seed(p2p.Network{1}, output, ledger.Account{2}, "cpu")
	row := make([]int8, p.K)
	newStream(seed).row(row, domainA, 0)
	f := newProof(p, seed, 3, naive)
	f.id = ledger.OpID(p2p.SumContent(f.commit.Encode()))
	f.open(p2p.Sum("vector/sample"))
	var out strings.Builder
	put := func(key string, b []byte) { fmt.Fprintf(&out, "%s = %x\n", key, b) }
	fmt.Fprintf(&out, "# M=32 N=32 K=1088 3 rounds 6 samples, network 01 00.., device 02 00.., class cpu\n")
	put("params hash", f.commit.Params[:])
	put("seed", seed[:])
	put("row 0 of A", asBytes(row))
	put("leaf of tile 0", f.t.prover.kept[0][0][:])
	put("root of round 0", f.t.prover.roots[0][:])
	next := nextSeed(seed, 0, f.t.prover.roots[0])
	put("seed of round 1", next[:])
	put("root of transcript", f.t.Root[:])
	put("last seed", f.t.Last[:])
	put("commit id", f.id[:])
	fmt.Fprintf(&out, "samples = %v\n", f.samples)
	w := wire.NewWriter(0)
	EncodeReveal(w, f.reveal)
	reveal := p2p.SumContent(w.Bytes())
	put("sha256 of reveal", reveal[:])
	want, err := os.ReadFile("testdata/k1.txt")
	if err != nil || string(want) != out.String() {
		t.Errorf("testdata/k1.txt: %v; computed:\n%s", err, out.String())
	}
}

func TestFaultText(t *testing.T) {
	for f := range Fault(12) {
		text, err := f.MarshalText()
		if err != nil || strings.HasPrefix(string(text), "fault(") == f.Valid() {
			t.Errorf("text of fault %d: %q, %v", uint8(f), text, err)
		}
	}
}
