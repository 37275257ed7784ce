package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// A rootCase is a state with many accounts. Nobody signs in it: a state does not
// verify signatures.
type rootCase struct {
	state *ledger.State
	root  p2p.Digest
}

// newRootCase makes a chain: each account claims what the one before it paid, and
// pays the next, so that each has a lane and a last operation.
func newRootCase(accounts int) (*rootCase, error) {
	name := func(i int) ledger.Account {
		return ledger.Account(p2p.SumContent(binary.BigEndian.AppendUint64(nil, uint64(i))))
	}
	g := &ledger.Genesis{
		Name: "bench", SlotMillis: 1000, EpochMillis: 1000,
		Alloc:     []ledger.Alloc{{Account: name(0), Amount: ledger.Amount(accounts) + 1}},
		Witnesses: []ledger.Witness{{Account: name(accounts + 1), Stake: 1}},
	}
	s, err := ledger.New(network(), g, nil)
	if err != nil {
		return nil, err
	}
	for i := range accounts {
		op := &ledger.Op{
			Chain: s.Chain(), Kind: ledger.KindTransfer, Account: name(i), Seq: 1,
			Body: ledger.Transfer{To: name(i + 1), Amount: ledger.Amount(accounts - i)}.Encode(),
		}
		if i > 0 {
			op.Claims = []ledger.Claim{{From: name(i - 1), Upto: 1}}
		}
		if res := s.Apply(op); res != ledger.OK {
			return nil, fmt.Errorf("operation of account %d: %v", i, res)
		}
	}
	return &rootCase{state: s, root: s.Root()}, nil
}

// runRoot computes the root of the whole state.
func (b *bench) runRoot(context.Context) (sample, error) {
	if b.roots == nil {
		c, err := newRootCase(b.o.accounts)
		if err != nil {
			return sample{}, err
		}
		b.roots = c
	}
	return timed(func() (float64, error) {
		if root := b.roots.state.Root(); root != b.roots.root {
			return 0, fmt.Errorf("two roots of one state: %v and %v", root, b.roots.root)
		}
		return float64(b.o.accounts) / 1e6, nil
	})
}
