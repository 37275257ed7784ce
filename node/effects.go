package node

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/node/machine"
)

// counters count what the node has done. They are read from any goroutine.
type counters struct {
	steps, dropped, unsent, refused atomic.Uint64
}

// Counts tells what a node has done since it started.
type Counts struct {
	Steps   uint64 `json:"steps"`   // events that the machine took
	Dropped uint64 `json:"dropped"` // messages for which there was no room
	Unsent  uint64 `json:"unsent"`  // messages that the transport did not take
	Refused uint64 `json:"refused"` // messages that the machine refused
}

// Counts returns what the node has done so far.
func (n *Node) Counts() Counts {
	return Counts{
		Steps: n.counts.steps.Load(), Dropped: n.counts.dropped.Load(), Unsent: n.counts.unsent.Load(),
		Refused: n.counts.refused.Load(),
	}
}

// carryOut does what the machine wants. Only a Save can fail the node: one that
// cannot remember must stop.
func (n *Node) carryOut(ctx context.Context, fx machine.Effect) error {
	switch fx := fx.(type) {
	case machine.Save:
		return n.save(ctx, fx.Batch)
	case machine.Publish:
		n.sent(n.net.Publish(ctx, fx.Topic, fx.Data))
	case machine.Send:
		n.sent(n.net.Send(ctx, fx.To, fx.Protocol, fx.Data))
	case machine.RunJob:
		n.runJob(ctx, fx)
	case machine.StopJob:
		n.stopJob(fx)
	case machine.Fetch:
		n.work(func() { n.fetch(ctx, fx) })
	case machine.Prove:
		n.work(func() { n.tellUnlessDone(ctx, n.prover.prove(ctx, fx)) })
	case machine.Open:
		n.work(func() { n.tellUnlessDone(ctx, n.prover.open(fx)) })
	case machine.Check:
		n.work(func() { n.tellUnlessDone(ctx, n.prover.check(fx)) })
	case machine.Verify:
		n.work(func() { n.tellUnlessDone(ctx, machine.Verified{ID: fx.ID, OK: n.verify(fx.Batch)}) })
	case machine.Note:
		n.note(fx)
	default:
		panic(fmt.Sprintf("node: unknown effect %T", fx))
	}
	return nil
}

func (n *Node) save(ctx context.Context, batch []machine.Record) error {
	records := make([]store.Record, len(batch))
	for i, r := range batch {
		records[i] = store.Record{Kind: uint8(r.Kind), Key: r.Key, Value: r.Value}
	}
	if err := n.store.Write(ctx, records); err != nil {
		return fmt.Errorf("a node that cannot save must stop: %w", err)
	}
	return nil
}

// sent counts a message that the transport did not take. The machine repeats what
// matters.
func (n *Node) sent(err error) {
	if err != nil {
		n.counts.unsent.Add(1)
		n.cfg.Log.Debug("message not sent", "error", err)
	}
}

// work runs f beside the loop. Run waits for it.
func (n *Node) work(f func()) { n.workers.Go(f) }

// tellUnlessDone tells the loop a worker's result, if there is one and anybody to
// hear it.
func (n *Node) tellUnlessDone(ctx context.Context, ev machine.Event) {
	if ev == nil || ctx.Err() != nil {
		return
	}
	n.tell(ev)
}

// note logs a fact and passes it on.
func (n *Node) note(f machine.Note) {
	if n.cfg.OnNote != nil {
		n.cfg.OnNote(f)
	}
	if f.Fact == machine.FactRefused {
		n.counts.refused.Add(1)
	}
	if f.Fact == machine.FactApplied {
		n.cfg.Log.Debug(f.Fact.String(), "account", f.Peer.Short(), "operation", f.Lease.Short(), "kind", f.Text)
		return
	}
	args := make([]any, 0, 12)
	add := func(set bool, key string, value any) {
		if set {
			args = append(args, key, value)
		}
	}
	add(!f.Peer.IsZero(), "peer", f.Peer.Short())
	add(!f.Lease.IsZero(), "lease", f.Lease.Short())
	add(!f.Job.IsZero(), "job", f.Job.Short())
	add(!f.Job.IsZero(), "task", f.Task)
	add(f.Amount > 0, "amount", f.Amount.String())
	add(f.Text != "", "text", f.Text)
	switch f.Fact {
	case machine.FactRefused, machine.FactProved, machine.FactJudged, machine.FactPassed:
		n.cfg.Log.Debug(f.Fact.String(), args...)
	case machine.FactEvidence, machine.FactMismatch, machine.FactDropped, machine.FactAbandoned:
		n.cfg.Log.Warn(f.Fact.String(), args...)
	default:
		n.cfg.Log.Info(f.Fact.String(), args...)
	}
}
