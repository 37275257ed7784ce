package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
)

// genesisFile is a genesis as its TOML file says it. Amounts are strings of atoms,
// keys and accounts are hexadecimal.
type genesisFile struct {
	Name        string        `toml:"name"`
	StartMillis int64         `toml:"start_unix_ms"`
	SlotMillis  uint32        `toml:"slot_ms"`
	EpochMillis uint32        `toml:"epoch_ms"`
	MinFee      ledger.Amount `toml:"min_fee_atoms"`
	Witnesses   []witnessFile `toml:"witness"`
	Alloc       []allocFile   `toml:"alloc"`
	Market      marketFile    `toml:"market"`
	Proofs      proofsFile    `toml:"proofs"`
}

type witnessFile struct {
	Account p2p.PeerID    `toml:"account"`
	VRF     p2p.Digest    `toml:"vrf_key"`
	Stake   ledger.Amount `toml:"stake_atoms"`
}

type allocFile struct {
	Account p2p.PeerID    `toml:"account"`
	Amount  ledger.Amount `toml:"amount_atoms"`
}

type marketFile struct {
	AlphaQuarters uint8       `toml:"alpha_quarters"`
	BetaBps       uint16      `toml:"beta_bps"`
	SigmaBps      uint16      `toml:"sigma_bps"`
	FloorPPM      uint32      `toml:"floor_ppm"`
	WindowSeconds uint32      `toml:"window_s"`
	Classes       []classFile `toml:"class"`
}

type classFile struct {
	Name      string        `toml:"name"`
	P0        ledger.Amount `toml:"p0_atoms_per_cu_hour"`
	Demand    uint64        `toml:"demand_mcu"`
	Capacity  uint64        `toml:"capacity_mcu"`
	Probation uint64        `toml:"probation_mcu"`
}

type proofsFile struct {
	M         uint32 `toml:"m"`
	N         uint32 `toml:"n"`
	K         uint32 `toml:"k"`
	MaxRounds uint32 `toml:"max_rounds"`
	Samples   uint8  `toml:"samples"`
	Window    uint32 `toml:"window_slots"`
	Delta     uint32 `toml:"delta_slots"`
	Sample    uint32 `toml:"sample_slots"`
	StormPer  uint32 `toml:"storm_per"`
	Admission uint8  `toml:"admission_storms"`
	Reference uint64 `toml:"reference_ops_per_s"`
}

// readGenesis reads a genesis file. Unknown keys and impossible numbers are
// refused with all that is wrong.
func readGenesis(path string) (*machine.Genesis, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	var f genesisFile
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
			err = errors.New("unknown keys:\n" + strict.String())
		} else if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ := bad.Position()
			err = fmt.Errorf("line %d, key %q: %w\n%s", line, strings.Join(bad.Key(), "."), err, bad.String())
		}
		return nil, exit(exitData, fmt.Errorf("genesis %s: %w", path, err))
	}
	g := f.genesis()
	if err := g.Validate(); err != nil {
		return nil, exit(exitData, fmt.Errorf("genesis %s: %w", path, err))
	}
	return g, nil
}

func (f *genesisFile) genesis() *machine.Genesis {
	g := &machine.Genesis{
		Ledger: ledger.Genesis{
			Name: f.Name, Start: f.StartMillis, SlotMillis: f.SlotMillis, EpochMillis: f.EpochMillis, MinFee: f.MinFee,
		},
		Market: market.Params{
			Quarters: f.Market.AlphaQuarters, BetaBps: f.Market.BetaBps, SigmaBps: f.Market.SigmaBps,
			FloorPPM: f.Market.FloorPPM, Window: f.Market.WindowSeconds,
		},
		Proofs: proofs.Params(f.Proofs),
	}
	for _, w := range f.Witnesses {
		g.Ledger.Witnesses = append(g.Ledger.Witnesses,
			ledger.Witness{Account: w.Account, Stake: w.Stake, VRF: p2p.VRFKey(w.VRF)})
	}
	for _, a := range f.Alloc {
		g.Ledger.Alloc = append(g.Ledger.Alloc, ledger.Alloc(a))
	}
	for _, c := range f.Market.Classes {
		g.Market.Classes = append(g.Market.Classes, market.ClassParams{
			Name: ledger.Class(c.Name), P0: c.P0, Demand: c.Demand, Capacity: c.Capacity, Probation: c.Probation,
		})
	}
	return g
}

// writeGenesis writes a genesis file that readGenesis reads.
func writeGenesis(path string, g *machine.Genesis) error {
	l, m := &g.Ledger, &g.Market
	f := genesisFile{
		Name: l.Name, StartMillis: l.Start, SlotMillis: l.SlotMillis, EpochMillis: l.EpochMillis, MinFee: l.MinFee,
		Market: marketFile{
			AlphaQuarters: m.Quarters, BetaBps: m.BetaBps, SigmaBps: m.SigmaBps, FloorPPM: m.FloorPPM,
			WindowSeconds: m.Window,
		},
		Proofs: proofsFile(g.Proofs),
	}
	for _, w := range l.Witnesses {
		f.Witnesses = append(f.Witnesses, witnessFile{Account: w.Account, VRF: p2p.Digest(w.VRF), Stake: w.Stake})
	}
	for _, a := range l.Alloc {
		f.Alloc = append(f.Alloc, allocFile(a))
	}
	for _, c := range m.Classes {
		f.Market.Classes = append(f.Market.Classes, classFile{
			Name: string(c.Name), P0: c.P0, Demand: c.Demand, Capacity: c.Capacity, Probation: c.Probation,
		})
	}
	b, err := toml.Marshal(f)
	if err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	return nil
}

// readIdentity reads the secret of a node, or makes one where there is none.
func readIdentity(path string) (*p2p.Identity, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != 32 {
		return nil, exit(exitData, fmt.Errorf("identity %s: want 64 hexadecimal digits; restore it from a backup, "+
			"or move it away to start as somebody new", path))
	}
	return p2p.IdentityFromSeed([32]byte(seed)), nil
}

func newIdentity(path string) (*p2p.Identity, error) {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails: it ends the program instead
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	_, err = fmt.Fprintf(f, "%x\n", seed)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return p2p.IdentityFromSeed(seed), nil
}
