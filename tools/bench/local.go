package main

import (
	"context"
	"fmt"

	"github.com/pinfi/pinfi/ledger/store"
)

// runMemory has one node take everything, and keep it in memory only.
func runMemory(ctx context.Context, w *workload, witnesses int) (sample, error) {
	return runLocal(ctx, w, witnesses, nil)
}

// runPersisted has one node take everything and make each round durable.
func (b *bench) runPersisted(ctx context.Context, w *workload, witnesses int) (s sample, err error) {
	disk, err := store.Open(b.folder(), network(), nil)
	if err != nil {
		return sample{}, err
	}
	defer func() {
		if e := disk.Close(); err == nil {
			err = e
		}
	}()
	return runLocal(ctx, w, witnesses, func(batch []store.Record) error { return disk.Write(ctx, batch) })
}

// runLocal decodes, verifies, certifies, applies and saves all rounds.
func runLocal(ctx context.Context, w *workload, witnesses int, save func([]store.Record) error) (sample, error) {
	w.vote(witnesses)
	var rounds [][]message
	for i := range w.rounds {
		rounds = append(rounds, w.messages(i, witnesses))
	}
	n, err := newNode(w, witnesses, save)
	if err != nil {
		return sample{}, err
	}
	return timed(func() (float64, error) {
		for _, messages := range rounds {
			if err := n.round(messages); err != nil {
				return 0, err
			}
			if err := ctx.Err(); err != nil {
				return 0, err
			}
		}
		if n.applied != w.ops() {
			return 0, fmt.Errorf("%d of %d operations were applied", n.applied, w.ops())
		}
		return float64(n.applied), nil
	})
}

// round takes all messages of a round and makes them durable.
func (n *node) round(messages []message) error {
	for _, m := range messages {
		if err := n.take(m.data); err != nil {
			return err
		}
	}
	return n.flush()
}
