package proofs

import (
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Commit is the body of a ledger.KindProofCommit operation, by which a device answers
// a storm. Nothing in it is free to choose but the work itself.
type Commit struct {
	Class  ledger.Class // the device is the operation's account, in this class
	Beat   ledger.Beat  // that called the storm
	Params p2p.Digest   // Params.Hash
	Rounds uint32
	Root   p2p.Digest // Transcript.Root
	Last   p2p.Digest // Transcript.Last
}

// Storm returns the slot of the storm.
func (c *Commit) Storm() ledger.Slot { return c.Beat.Slot }

// Encode returns the canonical bytes of the commit.
func (c *Commit) Encode() []byte {
	w := wire.NewWriter(256)
	w.Text(string(c.Class))
	c.Beat.AppendTo(w)
	w.Fixed(c.Params[:])
	w.U32(c.Rounds)
	w.Fixed(c.Root[:])
	w.Fixed(c.Last[:])
	return w.Bytes()
}

// DecodeCommit reads what Encode returns and nothing else.
func DecodeCommit(body []byte) (*Commit, error) {
	r := wire.NewReader(body)
	c := Commit{Class: ledger.Class(r.Text(ledger.MaxClass)), Beat: ledger.ReadBeat(r)}
	r.Into(c.Params[:])
	c.Rounds = r.U32()
	r.Into(c.Root[:])
	r.Into(c.Last[:])
	if c.Class == "" {
		r.Fail(fmt.Errorf("%w: no class", wire.ErrValue))
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("proof commit: %w", err)
	}
	return &c, nil
}

// A Verdict is the body of a ledger.KindProofVerdict operation: what one witness found
// when it checked a commit.
type Verdict struct {
	Commit ledger.OpID // the ProofCommit operation
	Beat   ledger.Beat // that picked the tiles
	Fault  Fault       // NoFault when all was well
}

// Encode returns the canonical bytes of the verdict.
func (v *Verdict) Encode() []byte {
	w := wire.NewWriter(128)
	w.Fixed(v.Commit[:])
	v.Beat.AppendTo(w)
	w.U8(uint8(v.Fault))
	return w.Bytes()
}

// DecodeVerdict reads what Encode returns and nothing else.
func DecodeVerdict(body []byte) (*Verdict, error) {
	r := wire.NewReader(body)
	var v Verdict
	r.Into(v.Commit[:])
	v.Beat = ledger.ReadBeat(r)
	v.Fault = Fault(r.U8())
	if !v.Fault.Valid() {
		r.Fail(fmt.Errorf("%w: fault %d", wire.ErrValue, uint8(v.Fault)))
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("proof verdict: %w", err)
	}
	return &v, nil
}
