package ledger

import (
	"errors"
	"fmt"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Proof shows what a state with a known root holds under a key, or that it holds
// nothing: it is the way through the tree to the only leaf that the key could have.
// Make one with State.Prove.
type Proof struct {
	Key   Key    // of the leaf; another one than was asked for shows that that has none
	Value []byte // of the leaf
	Steps []Step // from the root to the leaf
}

// A Step is a node on the way to a leaf.
type Step struct {
	Bit  uint8      // in which the paths below the node part, ascending
	Away p2p.Digest // hash of the side that the way does not take
}

const (
	proofVersion = 1
	maxSteps     = 256 // bits of a path
	stepSize     = 1 + 32
)

// MaxProof is the size of the largest encoded proof in bytes.
const MaxProof = 1 + 4 + MaxKey + 4 + MaxValue + 2 + maxSteps*stepSize

// Why a proof does not hold; Verify wraps them.
var (
	ErrProofRoot = errors.New("leads to another root")
	ErrProofPath = errors.New("does not lead to where the key belongs")
)

// Prove returns the proof of what the state holds under a key. It costs as much as
// Root, and a little more.
func (s *State) Prove(k Key) Proof {
	s.Root()
	path := pathOf([]byte(k))
	var steps []Step
	at := s.tree.root
	for !at.isLeaf() {
		n := &s.tree.nodes.at[at.number()]
		side := turn(&path, n.bit)
		steps = append(steps, Step{Bit: n.bit, Away: *s.tree.digest(n.kids[1-side])})
		at = n.kids[side]
	}
	owner := s.tree.leaves.at[at.number()].owner
	value, _ := owner.appendValue(s, nil)
	return Proof{Key: Key(owner.appendKey(nil)), Value: value, Steps: steps}
}

// Verify returns what the state with the root holds under a key, and false for
// nothing. Its errors wrap ErrProofRoot and ErrProofPath; whoever made the proof is
// then wrong or lies, and it shows nothing.
func (p *Proof) Verify(root p2p.Digest, k Key) (value []byte, present bool, err error) {
	path, own := pathOf([]byte(k)), pathOf([]byte(p.Key))
	hash := leafHash([]byte(p.Key), p.Value)
	for i := len(p.Steps) - 1; i >= 0; i-- {
		step := &p.Steps[i]
		side := turn(&own, step.Bit)
		if side != turn(&path, step.Bit) {
			return nil, false, fmt.Errorf("proof of %s, step %d at bit %d: %w", k, i, step.Bit, ErrProofPath)
		}
		if side == 0 {
			hash = nodeHash(step.Bit, &hash, &step.Away)
		} else {
			hash = nodeHash(step.Bit, &step.Away, &hash)
		}
	}
	if hash != root {
		return nil, false, fmt.Errorf("proof of %s: root %s, want %s: %w", k, hash.Short(), root.Short(), ErrProofRoot)
	}
	if p.Key != k {
		return nil, false, nil
	}
	return p.Value, true, nil
}

// Encode returns the canonical bytes, at most MaxProof.
func (p *Proof) Encode() []byte {
	w := wire.NewWriter(1 + 4 + len(p.Key) + 4 + len(p.Value) + 2 + stepSize*len(p.Steps))
	w.U8(proofVersion)
	w.Blob([]byte(p.Key))
	w.Blob(p.Value)
	w.Count(len(p.Steps))
	for i := range p.Steps {
		w.U8(p.Steps[i].Bit)
		w.Fixed(p.Steps[i].Away[:])
	}
	return w.Bytes()
}

// DecodeProof reads what Encode writes and nothing else. Its errors wrap those of
// package wire. The proof does not alias b, and shows nothing before Verify.
func DecodeProof(b []byte) (*Proof, error) {
	r := wire.NewReader(b)
	if v := r.U8(); v != proofVersion {
		r.Fail(fmt.Errorf("%w: version %d, want %d", wire.ErrValue, v, proofVersion))
	}
	p := &Proof{Key: Key(r.Blob(MaxKey))}
	p.Value = append(p.Value, r.Blob(MaxValue)...)
	if n := r.Count(maxSteps, stepSize); n > 0 {
		p.Steps = make([]Step, n)
	}
	for i := range p.Steps {
		step := &p.Steps[i]
		step.Bit = r.U8()
		r.Into(step.Away[:])
		if i > 0 && step.Bit <= p.Steps[i-1].Bit {
			r.Fail(fmt.Errorf("%w: steps out of order", wire.ErrValue))
		}
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	return p, nil
}
