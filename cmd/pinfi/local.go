package main

import (
	"fmt"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
)

// The networks that demo and devnet make. Their rules are those of any network,
// with short times: docs/spec/cli.md lists them.
const (
	localClass   = "cpu.small"
	localUnits   = 2000 // mCU that a provider sells: two tasks at once
	taskUnits    = 1000 // mCU of a task
	localStake   = 10_000 * ledger.Token
	clientTokens = 1_000 * ledger.Token
)

// localRules are what demo and devnet differ in.
type localRules struct {
	name     string
	slot     time.Duration
	epoch    time.Duration
	stormPer uint32 // one beat in so many is a storm
}

// localGenesis returns the genesis of a network on this machine: every provider is
// a witness with equal stake, and the client starts with money.
func localGenesis(rules localRules, providers []*p2p.Identity, client p2p.PeerID) *machine.Genesis {
	n := uint64(len(providers))
	g := &machine.Genesis{
		Ledger: ledger.Genesis{
			Name: rules.name, Start: time.Now().UnixMilli(), MinFee: 1_000,
			SlotMillis: uint32(rules.slot.Milliseconds()), EpochMillis: uint32(rules.epoch.Milliseconds()),
			Alloc: []ledger.Alloc{{Account: client, Amount: clientTokens}},
		},
		Market: market.Params{
			Quarters: 3, BetaBps: 2_000, SigmaBps: 9_000, FloorPPM: 50_000, Window: 600,
			Classes: []market.ClassParams{{
				Name: localClass, P0: 2 * ledger.Token,
				Demand: n * localUnits / 4, Capacity: n * localUnits, Probation: localUnits,
			}},
		},
		Proofs: proofs.Params{
			M: 128, N: 128, K: 1024, MaxRounds: 512, Samples: 16, Window: 1, Delta: 2, Sample: 1, StormPer: rules.stormPer,
			Admission: market.Admission, Reference: 50_000_000,
		},
	}
	for _, id := range providers {
		g.Ledger.Witnesses = append(g.Ledger.Witnesses, ledger.Witness{
			Account: id.PeerID(), Stake: localStake, VRF: id.VRFKey(),
		})
	}
	return g
}

// providerName returns the name of the i-th provider's folder, from 0.
func providerName(i int) string { return fmt.Sprintf("provider-%d", i+1) }

// clientName is the name of the client's folder.
const clientName = "client"
