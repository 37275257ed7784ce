package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pinfi/pinfi/gpu/kernel"
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/proofs"
)

// transcriptsKept is how many storms can be opened: as many as the machine may
// have under way before it asks for another.
const transcriptsKept = 8

// A prover does the arithmetic of proofs for the machine, one piece of work at a
// time: it must not take the cores from the jobs that pay for them.
type prover struct {
	params *proofs.Params
	mul    proofs.Multiply

	mu   sync.Mutex // held while it computes
	kept map[ledger.Slot]*proofs.Transcript
}

// newProver picks the fastest kernel that gives the known answers.
func newProver(p *proofs.Params) (*prover, error) {
	k, _, err := kernel.Select()
	if err != nil {
		return nil, err
	}
	return &prover{params: p, mul: k.Multiply, kept: make(map[ledger.Slot]*proofs.Transcript)}, nil
}

// prove computes rounds until the deadline. It returns nil when there was no time
// for one.
func (p *prover) prove(ctx context.Context, fx machine.Prove) machine.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	pr := proofs.NewProver(p.params, fx.Seed, p.mul)
	for ctx.Err() == nil && time.Now().Before(fx.Deadline) {
		if !pr.Round() {
			break
		}
	}
	if pr.Rounds() == 0 {
		return nil
	}
	t := pr.Finish()
	p.kept[fx.Storm] = t
	for len(p.kept) > transcriptsKept {
		slots := make([]ledger.Slot, 0, len(p.kept))
		for s := range p.kept { // order-free: a minimum
			slots = append(slots, s)
		}
		delete(p.kept, slices.Min(slots))
	}
	return machine.Proved{Storm: fx.Storm, Rounds: t.Rounds, Root: t.Root, Last: t.Last}
}

// open returns nil when the storm is no longer kept.
func (p *prover) open(fx machine.Open) machine.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.kept[fx.Storm]
	if t == nil {
		return nil
	}
	delete(p.kept, fx.Storm)
	return machine.Opened{Commit: fx.Commit, Reveal: t.Open(fx.Samples)}
}

func (p *prover) check(fx machine.Check) machine.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return machine.Checked{Commit: fx.ID, Fault: proofs.Verify(p.params, fx.Seed, &fx.Commit, fx.Samples, fx.Reveal)}
}
