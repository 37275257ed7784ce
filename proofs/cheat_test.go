package proofs

import (
	"math"
	"slices"
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// skipper returns a Multiply that leaves out every tile for which skip says so, as
// a device does that claims more rounds than it can compute.
func skipper(skip func(round, tile int) bool) Multiply {
	round := -1
	return func(c []int32, a, b []int8, m, n, k int) {
		round++
		naive(c, a, b, m, n, k)
		for tile := range m / Tile * (n / Tile) {
			if !skip(round, tile) {
				continue
			}
			for i := range Tile {
				at := (tile/(n/Tile)*Tile+i)*n + tile%(n/Tile)*Tile
				clear(c[at : at+Tile])
			}
		}
	}
}

// [PRF-13] A device that computes all but a share f of the tiles is caught with
// chance 1-(1-f)^k: measured over many beats, within four standard deviations.
func TestCheatSkipsTiles(t *testing.T) {
	p := newParams()
	p.M, p.N = 64, 64 // 16 tiles a round
	const rounds, trials = 2, 1500
	for _, c := range []struct {
		skipped int // of 32
		samples uint8
	}{{1, 4}, {1, 16}, {4, 4}, {16, 2}, {32, 1}} {
		p.Samples = c.samples
		f := newProof(p, p2p.Sum("test"), rounds, skipper(func(round, tile int) bool {
			return (round*16+tile)*7%32 < c.skipped
		}))
		caught := 0
		for i := range uint32(trials) {
			f.open(p2p.Sum("test/sample", le32(i)))
			switch got := f.verify(); got {
			case WrongTile:
				caught++
			case NoFault:
			default:
				t.Fatalf("skipped tiles are a %v", got)
			}
		}
		want := 1 - math.Pow(1-float64(c.skipped)/32, float64(c.samples))
		slack := 4 * math.Sqrt(want*(1-want)/trials)
		if got := float64(caught) / trials; math.Abs(got-want) > slack {
			t.Errorf("%d of 32 tiles skipped, %d samples: caught %.4f, want %.4f ± %.4f",
				c.skipped, c.samples, got, want, slack)
		}
	}
}

// One sum that is off by one is a wrong tile, when it is sampled.
func TestCheatWrongSum(t *testing.T) {
	p := newParams()
	p.Samples = 64 // surely all four tiles
	for entry := range 32 * 32 {
		f := newProof(p, p2p.Sum("test"), 1, func(c []int32, a, b []int8, m, n, k int) {
			naive(c, a, b, m, n, k)
			c[entry]++
		})
		if got := f.verify(); got != WrongTile {
			t.Fatalf("entry %d off by one: %v", entry, got)
		}
	}
}

// [PRF-14] Rounds that were computed before the storm, from a seed of the device's
// own choosing, are a broken chain, were it by a single link and whichever tiles
// are sampled.
func TestCheatPrecomputes(t *testing.T) {
	p := newParams()
	for link := 1; link < 6; link++ {
		honest := newProof(p, p2p.Sum("test"), link, naive)
		before := newProof(p, p2p.Sum("chosen before"), 6-link, naive)
		forged := &proof{p: p, seed: honest.seed}
		roots := slices.Concat(honest.t.prover.roots, before.t.prover.roots)
		forged.commit = &Commit{Rounds: 6, Last: before.t.Last}
		// The tree holds the seeds of the device's choice, as they should be.
		forged.commit.Root = transcriptRoot(honest.seed, roots)
		for i := range uint32(100) {
			forged.samples = Samples(p, p2p.Sum("test", le32(i)), ledger.OpID{1}, 6)
			forged.reveal = &Reveal{Roots: roots}
			for _, g := range groups(forged.samples) {
				src, round := honest, g.Round
				if g.Round >= uint32(link) {
					src, round = before, g.Round-uint32(link)
				}
				var picked []Sample
				for _, tile := range g.Tiles {
					picked = append(picked, Sample{Round: round, Tile: tile.Number})
				}
				o := src.t.Open(picked).Opened[0]
				o.Round = g.Round
				forged.reveal.Opened = append(forged.reveal.Opened, o)
			}
			if got := forged.verify(); got != BrokenChain {
				t.Fatalf("broken after round %d: %v", link, got)
			}
		}
	}
}

// [PRF-15] An answer to another challenge is refused: another device's, another
// storm's, one of other rules.
func TestCheatForeign(t *testing.T) {
	p := newParams()
	output := p2p.Sum("storm")
	honest := newProof(p, p.Seed(p2p.Network{}, output, ledger.Account{1}, "cpu"), 3, naive)
	if honest.verify() != NoFault {
		t.Fatal("the honest device is refused")
	}
	for what, seed := range map[string]p2p.Digest{
		"another device": p.Seed(p2p.Network{}, output, ledger.Account{2}, "cpu"),
		"another storm":  p.Seed(p2p.Network{}, p2p.Sum("later"), ledger.Account{1}, "cpu"),
		"another class":  p.Seed(p2p.Network{}, output, ledger.Account{1}, "gpu"),
	} {
		thief := *honest
		thief.seed = seed
		if got := thief.verify(); got != BrokenChain {
			t.Errorf("answer replayed for %s: %v", what, got)
		}
		thief.id = ledger.OpID{9} // filed under an operation of its own
		thief.open(p2p.Sum("test/sample"))
		if got := thief.verify(); got != BrokenChain {
			t.Errorf("answer filed again for %s: %v", what, got)
		}
	}
}

// A commit that lies about its work is found out whatever its reveal says.
func TestCheatLies(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*proof)
		want   Fault
	}{
		"claims a round more": {func(f *proof) { f.commit.Rounds++ }, BadLength},
		"claims a round more and pads": {func(f *proof) {
			f.commit.Rounds++
			f.reveal.Roots = append(f.reveal.Roots[:3:3], f.reveal.Roots[2])
		}, BrokenChain},
		"claims a round less": {func(f *proof) {
			f.commit.Rounds--
			f.reveal.Roots = f.reveal.Roots[:2]
			f.samples = Samples(f.p, p2p.Sum("x"), f.id, 2)
			f.reveal.Opened = f.t.Open(f.samples).Opened
		}, BrokenChain},
		"claims none": {func(f *proof) { f.commit.Rounds, f.reveal.Roots = 0, nil }, BadLength},
		"claims too many": {func(f *proof) { // and did them, by rules of its own
			f.p.MaxRounds = 20
			*f = *newProof(f.p, f.seed, 9, naive)
			f.p.MaxRounds = 8
		}, BadLength},
		"another root":      {func(f *proof) { f.commit.Root[0]++ }, BrokenChain},
		"another last seed": {func(f *proof) { f.commit.Last[31]++ }, BrokenChain},
		"opens other tiles": {func(f *proof) { f.reveal = f.t.Open([]Sample{{0, 0}}) }, WrongSample},
		"opens another beat's": {func(f *proof) {
			picked := f.samples
			f.open(p2p.Sum("a beat it likes"))
			f.samples = picked
		}, WrongSample},
		"opens nothing":    {func(f *proof) { f.reveal.Opened = nil }, WrongSample},
		"opens twice":      {func(f *proof) { f.reveal.Opened = append(f.reveal.Opened, f.reveal.Opened[0]) }, WrongSample},
		"a path too long":  {func(f *proof) { o := &f.reveal.Opened[0]; o.Path = append(o.Path, p2p.Digest{}) }, BadLength},
		"a path too short": {func(f *proof) { o := &f.reveal.Opened[0]; o.Path = o.Path[:len(o.Path)-1] }, BadLength},
		"another path":     {func(f *proof) { f.reveal.Opened[0].Path[0][5]++ }, BrokenPath},
	} {
		f := newProof(newParams(), p2p.Sum("test"), 3, naive)
		c.change(f)
		if got := f.verify(); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

// Verify and DecodeReveal answer whatever a peer sends, and pass nothing but the
// honest reveal.
func FuzzReveal(f *testing.F) {
	honest := newProof(newParams(), p2p.Sum("test"), 3, naive)
	w := wire.NewWriter(0)
	EncodeReveal(w, honest.reveal)
	good := w.Bytes()
	f.Add(good, uint16(0), byte(0), uint16(0))
	f.Add(good, uint16(3), byte(0x80), uint16(40))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, uint16(0), byte(1), uint16(1))
	f.Add([]byte{0, 0, 0, 0}, uint16(0), byte(0), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip byte, cut uint16) {
		b = slices.Clone(b)
		if len(b) > 0 {
			b[int(at)%len(b)] ^= flip
			from := int(cut) % len(b)
			b = append(b[:from:from], b[min(from+int(flip), len(b)):]...)
		}
		r := wire.NewReader(b)
		got, err := DecodeReveal(r)
		if err != nil {
			return
		}
		again := wire.NewWriter(0)
		EncodeReveal(again, got)
		if !slices.Equal(again.Bytes(), b[:r.Offset()]) {
			t.Fatalf("%x encodes to %x", b[:r.Offset()], again.Bytes())
		}
		fault := Verify(honest.p, honest.seed, honest.commit, honest.samples, got)
		if (fault == NoFault) != slices.Equal(again.Bytes(), good) {
			t.Fatalf("%v for %x", fault, b)
		}
	})
}

// Bodies of operations have one encoding.
func FuzzBodies(f *testing.F) {
	c := &Commit{Class: "cpu.small", Beat: ledger.Beat{Slot: 7, Witness: 2}, Rounds: 3}
	v := &Verdict{Commit: ledger.OpID{1}, Fault: WrongTile}
	f.Add(c.Encode())
	f.Add(v.Encode())
	f.Add([]byte{0})
	f.Add(append(v.Encode(), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := DecodeCommit(b); err == nil && (!slices.Equal(c.Encode(), b) || c.Class == "") {
			t.Fatalf("commit %x encodes to %x", b, c.Encode())
		}
		if v, err := DecodeVerdict(b); err == nil && (!slices.Equal(v.Encode(), b) || !v.Fault.Valid()) {
			t.Fatalf("verdict %x encodes to %x", b, v.Encode())
		}
	})
}
