package proofs

import (
	"fmt"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs/merkle"
)

// A Multiply sets c to the product of a and b, exactly: c[i*n+j] is the sum over x
// of a[i*k+x] * b[j*k+x]. So a holds m rows of k entries, b the n columns of the
// second matrix, one after the other. It keeps none of the slices. Package
// gpu/kernel has some; all must agree to the bit.
type Multiply func(c []int32, a, b []int8, m, n, k int)

// keepBytes is how much memory a transcript uses to remember the leaves of its
// rounds. Rounds beyond are computed again when they are opened.
const keepBytes = 64 << 20

// A Prover computes the rounds of one challenge. Whoever drives it calls Round
// until the window closes, then Finish. It holds both matrices and their product.
type Prover struct {
	p     Params
	mul   Multiply
	first p2p.Digest // seed of round 0
	seed  p2p.Digest // seed of the next round
	roots []p2p.Digest
	kept  [][]p2p.Digest // leaves of the first rounds, as many as keepBytes holds
	a, b  []int8
	c     []int32
}

// NewProver returns a prover of the challenge with the given seed. The parameters
// must be valid and are copied.
func NewProver(p *Params, seed p2p.Digest, mul Multiply) *Prover {
	return &Prover{
		p: *p, mul: mul, first: seed, seed: seed,
		a: make([]int8, p.M*p.K), b: make([]int8, p.N*p.K), c: make([]int32, p.M*p.N),
	}
}

// Rounds returns the number of rounds computed.
func (pr *Prover) Rounds() uint32 { return uint32(len(pr.roots)) }

// Round computes one round and reports whether another one would count.
func (pr *Prover) Round() bool {
	if pr.Rounds() >= pr.p.MaxRounds {
		return false
	}
	leaves := pr.leaves(pr.seed)
	root := merkle.New(leaves).Root()
	if (len(pr.kept)+1)*len(leaves)*len(root) <= keepBytes {
		pr.kept = append(pr.kept, leaves)
	}
	pr.seed = nextSeed(pr.seed, pr.Rounds(), root)
	pr.roots = append(pr.roots, root)
	return pr.Rounds() < pr.p.MaxRounds
}

// leaves computes the round of a seed and returns the hashes of its tiles, in the
// order of their numbers: from left to right, then down.
func (pr *Prover) leaves(seed p2p.Digest) []p2p.Digest {
	m, n, k := int(pr.p.M), int(pr.p.N), int(pr.p.K)
	s := newStream(seed)
	for i := range m {
		s.row(pr.a[i*k:(i+1)*k], domainA, uint32(i))
	}
	for j := range n {
		s.row(pr.b[j*k:(j+1)*k], domainB, uint32(j))
	}
	pr.mul(pr.c, pr.a, pr.b, m, n, k)
	leaves := make([]p2p.Digest, pr.p.Tiles())
	var buf tileBuffer
	across := n / Tile
	for i := range leaves {
		at := i/across*Tile*n + i%across*Tile
		leaves[i] = buf.leaf(uint32(i), pr.c[at:], n)
	}
	return leaves
}

// Finish ends the computation. The prover must not be used afterwards; the
// transcript takes its memory over.
func (pr *Prover) Finish() *Transcript {
	return &Transcript{
		Rounds: pr.Rounds(), Root: transcriptRoot(pr.first, pr.roots), Last: pr.seed, prover: pr,
	}
}

// transcriptRoot returns the root of the tree over the rounds that follow from the
// first seed.
func transcriptRoot(seed p2p.Digest, roots []p2p.Digest) p2p.Digest {
	leaves := make([]p2p.Digest, len(roots))
	for t, root := range roots {
		leaves[t] = roundLeaf(seed, uint32(t), root)
		seed = nextSeed(seed, uint32(t), root)
	}
	return merkle.New(leaves).Root()
}

// A Transcript is what a prover computed and can open. It need not outlive a
// process: a prover of the same seed that computes as many rounds makes it again.
type Transcript struct {
	Rounds uint32
	Root   p2p.Digest // of the tree over all rounds
	Last   p2p.Digest // seed of the round that would come next
	prover *Prover
}

// Open returns the reveal of the sampled tiles. It computes rounds again whose
// leaves it did not keep, each once, which takes as long as it did the first time;
// so one goroutine calls it at a time. The reveal shares memory with the transcript.
// It panics on samples that are not of this transcript: Samples makes none.
func (t *Transcript) Open(samples []Sample) *Reveal {
	pr := t.prover
	r := &Reveal{Roots: pr.roots}
	seed := pr.first
	next := uint32(0)
	for _, g := range groups(samples) {
		if g.Round >= t.Rounds {
			panic(fmt.Sprintf("proofs: open round %d of %d", g.Round, t.Rounds))
		}
		for ; next < g.Round; next++ {
			seed = nextSeed(seed, next, pr.roots[next])
		}
		var leaves []p2p.Digest
		if int(g.Round) < len(pr.kept) {
			leaves = pr.kept[g.Round]
		} else {
			leaves = pr.leaves(seed)
		}
		g.Path = merkle.New(leaves).Open(g.numbers())
		for i := range g.Tiles {
			g.Tiles[i].Leaf = leaves[g.Tiles[i].Number]
		}
		r.Opened = append(r.Opened, g)
	}
	return r
}
