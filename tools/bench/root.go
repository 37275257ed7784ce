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
	paid  int // accounts that have paid a second time
}

// rootName returns the i-th account.
func rootName(i int) ledger.Account {
	return ledger.Account(p2p.SumContent(binary.BigEndian.AppendUint64(nil, uint64(i))))
}

// newRootCase makes a chain: each account claims what the one before it paid, and
// pays the next, so that each has a lane and a last operation.
func newRootCase(accounts int) (*rootCase, error) {
	g := &ledger.Genesis{
		Name: "bench", SlotMillis: 1000, EpochMillis: 1000,
		Alloc:     []ledger.Alloc{{Account: rootName(0), Amount: ledger.Amount(accounts) + 1}},
		Witnesses: []ledger.Witness{{Account: rootName(accounts + 1), Stake: 1}},
	}
	s, err := ledger.New(network(), g, nil)
	if err != nil {
		return nil, err
	}
	for i := range accounts {
		op := &ledger.Op{
			Chain: s.Chain(), Kind: ledger.KindTransfer, Account: rootName(i), Seq: 1,
			Body: ledger.Transfer{To: rootName(i + 1), Amount: ledger.Amount(accounts - i)}.Encode(),
		}
		if i > 0 {
			op.Claims = []ledger.Claim{{From: rootName(i - 1), Upto: 1}}
		}
		if res := s.Apply(op); res != ledger.OK {
			return nil, fmt.Errorf("operation of account %d: %v", i, res)
		}
	}
	return &rootCase{state: s, root: s.Root()}, nil
}

// pay has the next accounts pay the atom that is left to them, as many as pay in a
// round of the other figures.
func (c *rootCase) pay() error {
	for i := c.paid; i < c.paid+roundOps; i++ {
		account := rootName(i)
		seq, head := c.state.Head(account, 0)
		op := &ledger.Op{
			Chain: c.state.Chain(), Kind: ledger.KindTransfer, Account: account, Seq: seq + 1, Prev: head,
			Body: ledger.Transfer{To: rootName(i / 2), Amount: 1}.Encode(),
		}
		if res := c.state.Apply(op); res != ledger.OK {
			return fmt.Errorf("second operation of account %d: %v", i, res)
		}
	}
	c.paid += roundOps
	return nil
}

// runRoot computes the root of the whole state after one more round.
func (b *bench) runRoot(context.Context) (sample, error) {
	if b.roots == nil {
		c, err := newRootCase(b.o.accounts)
		if err != nil {
			return sample{}, err
		}
		b.roots = c
	}
	if err := b.roots.pay(); err != nil {
		return sample{}, err
	}
	return timed(func() (float64, error) {
		root := b.roots.state.Root()
		if root == b.roots.root {
			return 0, fmt.Errorf("root %v did not change with the state", root)
		}
		b.roots.root = root
		return float64(b.o.accounts) / 1e6, nil
	})
}
