package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// A verdict is what ledger verify finds.
type verdict struct {
	Dir       string     `json:"dir"`
	Network   p2p.Digest `json:"network"`
	Records   int        `json:"records"`
	Frames    int        `json:"frames"`
	Certified uint64     `json:"certified"` // operations that count
	Accounts  int        `json:"accounts"`  // that hold, or held, anything
	Supply    api.Supply `json:"supply"`
	Evidence  []caught   `json:"evidence"`
	OK        bool       `json:"ok"`
	Ops       int        `json:"ops"` // that are there, certified or not
	Root      p2p.Digest `json:"root"`
	SupplyOK  bool       `json:"supply_ok"`
}

// A caught account has signed what contradicts itself.
type caught struct {
	Offence string     `json:"offence"`
	Account p2p.PeerID `json:"account"`
	Seq     uint64     `json:"seq"`
}

func verifyCommand(env environment) *cobra.Command {
	v := viewer{env: env}
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Compute the ledger of a stopped node again, from the genesis, every signature verified",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := verify(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return v.verdict(out)
		},
	}
	cmd.Flags().BoolVar(&v.json, "json", false, "print one JSON object on standard output")
	return cmd
}

// verify replays the ledger in a folder.
func verify(ctx context.Context, dir string) (*verdict, error) {
	r, err := openReplay(ctx, dir)
	if err != nil {
		return nil, err
	}
	accounts := map[p2p.PeerID]bool{}
	for _, a := range r.genesis.Ledger.Alloc {
		accounts[a.Account] = true
	}
	for _, w := range r.genesis.Ledger.Witnesses {
		accounts[w.Account] = true
	}
	r.applied = func(op *ledger.Op, _ ledger.Slot) {
		e := machine.Describe(r.replica.State(), r.leases, op)
		accounts[op.Account] = true
		if !e.To.IsZero() {
			accounts[e.To] = true
		}
	}
	if err := r.run(); err != nil {
		return nil, err
	}
	st := r.replica.State()
	out := &verdict{
		Dir: dir, Network: p2p.Digest(r.genesis.Network()), Records: r.count.records, Frames: r.count.frames,
		Certified: st.Applied(), Accounts: len(accounts), Supply: api.SupplyOf(st), Evidence: []caught{},
		Ops: r.count.ops, Root: st.Root(), SupplyOK: st.Conserved() && st.Audit() == nil,
	}
	out.OK = out.SupplyOK
	for _, ev := range r.replica.Evidence() {
		out.Evidence = append(out.Evidence, caught{ev.Offence.String(), ev.Account, ev.Seq})
	}
	return out, nil
}

// verdict prints what was found.
func (v *viewer) verdict(d *verdict) error {
	if v.json {
		if err := json.NewEncoder(v.env.stdout).Encode(d); err != nil {
			return err
		}
	} else {
		v.line("records", "%d: %d operations, %d of them certified, %d frames; every signature holds", d.Records, d.Ops,
			d.Certified, d.Frames)
		v.line("accounts", "%d", d.Accounts)
		v.supply(&d.Supply, d.SupplyOK)
		for _, c := range d.Evidence {
			v.line("caught", "%v: %s at %d", c.Account, c.Offence, c.Seq)
		}
		v.line("root", "%v", d.Root)
	}
	if !d.OK {
		return exit(exitData, errors.New("money was made or lost"))
	}
	return nil
}

// exportHead are the columns of an export, and the names of its fields.
var exportHead = []string{
	"slot", "time", "id", "kind", "account", "lane", "seq", "to", "amount", "refund", "fee", "lease",
}

// A row is one operation of an export.
type row struct {
	Slot uint64    `json:"slot"` // of the vote that certified it
	Time time.Time `json:"time"` // when that slot began
	api.Entry
}

func exportCommand(env environment) *cobra.Command {
	var dir, format string
	cmd := &cobra.Command{
		Use:   "export [DIR]",
		Short: "Write every operation that a stopped node has applied, as JSON lines or CSV",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				dir = args[0]
			}
			return export(cmd.Context(), env, dir, format)
		},
	}
	cmd.Flags().StringVar(&dir, "data", dataDir(env), "folder of the node")
	cmd.Flags().StringVar(&format, "format", "json", "json: one object a line; csv: with a line of names")
	return cmd
}

// export writes the operations of the ledger in a folder, in the order in which they
// were certified. Amounts are atoms.
func export(ctx context.Context, env environment, dir, format string) error {
	if format != "json" && format != "csv" {
		return exit(exitUsage, fmt.Errorf("--format %q: want json or csv", format))
	}
	r, err := openReplay(ctx, dir)
	if err != nil {
		return err
	}
	var rows []row
	r.applied = func(op *ledger.Op, slot ledger.Slot) {
		e := machine.Describe(r.replica.State(), r.leases, op)
		rows = append(rows, row{uint64(slot), r.genesis.SlotStart(slot).UTC(), api.EntryOf(&e)})
	}
	if err := r.run(); err != nil {
		return err
	}
	if format == "csv" {
		return writeCSV(env, rows)
	}
	enc := json.NewEncoder(env.stdout)
	for _, row := range rows {
		if err := enc.Encode(row); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}

func writeCSV(env environment, rows []row) error {
	w := csv.NewWriter(env.stdout)
	_ = w.Write(exportHead) // Error tells
	text := func(zero bool, v fmt.Stringer) string {
		if zero {
			return ""
		}
		return v.String()
	}
	for _, r := range rows {
		_ = w.Write([]string{
			strconv.FormatUint(r.Slot, 10), r.Time.Format(time.RFC3339), r.ID.String(), r.Kind, r.Account.String(),
			strconv.Itoa(int(r.Lane)), strconv.FormatUint(r.Seq, 10), text(r.To.IsZero(), r.To), r.Amount.String(),
			r.Refund.String(), r.Fee.String(), text(r.Lease.IsZero(), r.Lease),
		})
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}
