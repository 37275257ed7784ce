package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/exec/jobs"
)

// admission is how many storms a device must pass before its capacity counts.
const admission = market.Admission

// tokens writes an amount in tokens, with all nine decimals.
func tokens(a ledger.Amount) string {
	return fmt.Sprintf("%d.%09d", a/ledger.Token, a%ledger.Token)
}

// receipt prints who served, what it cost, how to recompute it, and how the books
// stand.
func (d *demo) receipt() {
	r, out := &d.result, d.env.stdout
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(out)
	line("RECEIPT", "%d nodes, %d job, %d tasks, %d of them run twice; %.1f s",
		r.Nodes, r.Jobs, r.Tasks, r.Checked, r.Seconds)
	for _, l := range r.Leases {
		line("lease", "%s by %s: %d of %d s, paid %s of %s tokens (%s)",
			l.ID.Short(), l.Provider.Short(), l.Used, l.Seconds, tokens(l.Paid.Total), tokens(l.Escrow), l.Reason)
	}
	if len(r.Leases) > 0 {
		line("price", "every charge was recomputed; the last one by hand: %s", recompute(&r.Leases[len(r.Leases)-1]))
	}
	line("paid", "%s tokens by the client; %s came back", tokens(r.Paid), tokens(r.Refunded))
	line("of which", "%s burned, %s to the providers, %s to the stakers' pot",
		tokens(r.Burned), tokens(r.Served), tokens(r.Stakers))
	line("proofs", "%d storms passed by %d providers", r.ProofsPassed, r.Nodes-1)
	line("books", "%d operations; the ledger root is %s on all %d nodes; supply conserved to the atom",
		r.Operations, r.Root.Short(), r.Nodes)
	line("output", "%s", r.Output)
	if d.keep {
		line("folder", "%s", r.Folder)
	}
}

// recompute returns the command that computes the charge of a lease again.
func recompute(l *api.Lease) string {
	if l.Curve == nil {
		return "it was not accepted"
	}
	c := l.Curve
	args := []string{
		"pinfi curve cost", fmt.Sprintf("--p0 %d --alpha %d/4 --r %d", c.P0, c.Quarters, c.Capacity),
		fmt.Sprintf("--d0 %d --d1 %d --seconds %d --floor-demand %d", l.D0, l.D1, l.Seconds, c.Floor),
	}
	if c.Reserve > 0 {
		args = append(args, fmt.Sprintf("--reserve %d", c.Reserve))
	}
	return strings.Join(args, " ") + fmt.Sprintf(" = %v atoms", l.Charge)
}

// assemble makes a picture of the tiles that the tasks of the default job wrote.
func assemble(dir string, tasks uint32, png string) (err error) {
	var tiles []jobs.Tile
	for task := range tasks {
		some, err := jobs.ReadTiles(os.DirFS(filepath.Join(dir, taskName(task))))
		if err != nil {
			return err
		}
		tiles = append(tiles, some...)
	}
	f, err := os.Create(png)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return jobs.WritePNG(f, tiles)
}
