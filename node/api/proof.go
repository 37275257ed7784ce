package api

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A LaneProof proves what a lane of an account holds in the state with a root. Who
// trusts the root need not trust who made the proof.
type LaneProof struct {
	Root    p2p.Digest    `json:"root"`
	Account p2p.PeerID    `json:"account"`
	Lane    ledger.Lane   `json:"lane"`
	Present bool          `json:"present" doc:"false: the state has no such lane"`
	Balance ledger.Amount `json:"balance"`
	Seq     uint64        `json:"seq" doc:"operations applied"`
	Head    ledger.OpID   `json:"head,omitzero" doc:"the last of them"`
	Proof   string        `json:"proof" doc:"the canonical bytes, in hexadecimal digits"`
}

// ErrProof says that a proof does not show what it should.
var ErrProof = errors.New("the proof does not hold")

// Check verifies the proof, and that the figures beside it are those that it shows.
// Its errors wrap ErrProof.
func (p *LaneProof) Check() error {
	b, err := hex.DecodeString(p.Proof)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	proof, err := ledger.DecodeProof(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	shown := LaneProof{Root: p.Root, Account: p.Account, Lane: p.Lane, Proof: p.Proof}
	if err := shown.read(proof); err != nil {
		return err
	}
	if shown != *p {
		return fmt.Errorf("%w: it shows %v atoms, %d operations and head %v, not what is said", ErrProof, shown.Balance,
			shown.Seq, shown.Head)
	}
	return nil
}

// read fills in what a proof shows of the lane.
func (p *LaneProof) read(proof *ledger.Proof) error {
	value, present, err := proof.Verify(p.Root, ledger.LaneKey(p.Account, p.Lane))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	if p.Present = present; !present {
		return nil
	}
	r := wire.NewReader(value)
	p.Balance, p.Seq = ledger.Amount(r.U64()), r.U64()
	r.Into(p.Head[:])
	if err := r.Close(); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// A proofQuery names a lane.
type proofQuery struct {
	Account p2p.PeerID `query:"account" required:"true" pattern:"^[0-9a-f]{64}$"`
	Lane    uint8      `query:"lane" doc:"default 0"`
}

func (s *Server) prove(ctx context.Context, in *proofQuery) (*reply[LaneProof], error) {
	out := LaneProof{Account: in.Account, Lane: ledger.Lane(in.Lane)}
	var proof ledger.Proof
	err := s.ask(ctx, func(m *machine.Machine) {
		st := m.Replica().State()
		out.Root, proof = st.Root(), st.Prove(ledger.LaneKey(out.Account, out.Lane))
	})
	if err != nil {
		return nil, err
	}
	out.Proof = hex.EncodeToString(proof.Encode())
	if err := out.read(&proof); err != nil {
		return nil, problem(500, CodeInternal, "%v", err)
	}
	return &reply[LaneProof]{out}, nil
}
