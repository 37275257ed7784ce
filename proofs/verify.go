package proofs

import (
	"slices"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs/merkle"
)

// Verify returns what is wrong with the reveal of a commit, or NoFault. The seed
// is that of the challenge, computed by the verifier; so are the samples. It takes
// two hashes a round and 512 K operations a sampled tile, and never panics,
// whatever a peer sent.
func Verify(p *Params, seed p2p.Digest, c *Commit, samples []Sample, r *Reveal) Fault {
	if c.Rounds == 0 || c.Rounds > p.MaxRounds || uint64(len(r.Roots)) != uint64(c.Rounds) {
		return BadLength
	}
	want := groups(samples)
	if !sameTiles(want, r.Opened) {
		return WrongSample
	}
	seeds := make([]p2p.Digest, 0, len(r.Roots))
	at := seed
	for t, root := range r.Roots {
		seeds = append(seeds, at)
		at = nextSeed(at, uint32(t), root)
	}
	if at != c.Last || transcriptRoot(seed, r.Roots) != c.Root {
		return BrokenChain
	}
	depth := merkle.Depth(int(p.Tiles()))
	for i := range r.Opened {
		if f := verifyPath(depth, &r.Opened[i], r.Roots); f != NoFault {
			return f
		}
	}
	check := newChecker(p)
	for _, o := range r.Opened {
		check.load(seeds[o.Round])
		for _, t := range o.Tiles {
			if check.leaf(t.Number) != t.Leaf {
				return WrongTile
			}
		}
	}
	return NoFault
}

// sameTiles reports whether the reveal opens exactly the tiles that were picked.
func sameTiles(want, got []Opened) bool {
	return slices.EqualFunc(want, got, func(a, b Opened) bool {
		return a.Round == b.Round && slices.EqualFunc(a.Tiles, b.Tiles, func(x, y OpenTile) bool {
			return x.Number == y.Number
		})
	})
}

// verifyPath checks that the tiles' leaves lie under their round's root.
func verifyPath(depth int, o *Opened, roots []p2p.Digest) Fault {
	numbers := o.numbers()
	if uint64(o.Round) >= uint64(len(roots)) || len(o.Path) != merkle.PathLen(depth, numbers) {
		return BadLength
	}
	leaves := make([]p2p.Digest, len(o.Tiles))
	for i, t := range o.Tiles {
		leaves[i] = t.Leaf
	}
	if !merkle.Verify(roots[o.Round], depth, numbers, leaves, o.Path) {
		return BrokenPath
	}
	return NoFault
}

// A checker recomputes single tiles, with code of its own: a kernel that errs
// must not agree with itself.
type checker struct {
	s      *stream
	k      int
	across uint32  // tiles in a row of tiles
	a, b   []int8  // 16 rows each
	pairs  []int64 // two rows of a
	c      [Tile * Tile]int32
	buf    tileBuffer
}

func newChecker(p *Params) *checker {
	return &checker{
		k: int(p.K), across: p.N / Tile,
		a: make([]int8, Tile*p.K), b: make([]int8, Tile*p.K), pairs: make([]int64, p.K),
	}
}

// load turns the checker to the round of a seed.
func (ch *checker) load(seed p2p.Digest) { ch.s = newStream(seed) }

// leaf returns the true leaf of a tile of the loaded round.
func (ch *checker) leaf(number uint32) p2p.Digest {
	top, left := number/ch.across*Tile, number%ch.across*Tile
	for i := range Tile {
		ch.s.row(ch.a[i*ch.k:(i+1)*ch.k], domainA, top+uint32(i))
		ch.s.row(ch.b[i*ch.k:(i+1)*ch.k], domainB, left+uint32(i))
	}
	for i := 0; i < Tile; i += 2 {
		pair(ch.pairs, ch.a[i*ch.k:(i+1)*ch.k], ch.a[(i+1)*ch.k:(i+2)*ch.k])
		for j := 0; j < Tile; j += 4 {
			low, high := ch.c[i*Tile+j:][:4], ch.c[(i+1)*Tile+j:][:4]
			for x, sum := range dot4(ch.pairs, ch.b[j*ch.k:(j+4)*ch.k]) {
				low[x] = int32(sum)
				high[x] = int32((sum - int64(low[x])) >> 32)
			}
		}
	}
	return ch.buf.leaf(number, ch.c[:], Tile)
}

// pair packs two rows, 32 bits apart: one multiplication then makes two products.
// Their sums are at most 2^29 in size, so that neither reaches into the other.
func pair(dst []int64, low, high []int8) {
	low, high = low[:len(dst)], high[:len(dst)]
	for i := range dst {
		dst[i] = int64(low[i]) + int64(high[i])<<32
	}
}

// dot4 returns the products of a pair of rows with four columns that stand one
// after the other in b.
func dot4(pairs []int64, b []int8) [4]int64 {
	k := len(pairs)
	b0, b1, b2, b3 := b[:k], b[k:2*k], b[2*k:3*k], b[3*k:4*k]
	var s0, s1, s2, s3 int64
	for i, x := range pairs {
		s0 += x * int64(b0[i])
		s1 += x * int64(b1[i])
		s2 += x * int64(b2[i])
		s3 += x * int64(b3[i])
	}
	return [4]int64{s0, s1, s2, s3}
}
