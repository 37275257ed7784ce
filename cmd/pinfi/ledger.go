package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/p2p"
)

func ledgerCommand(env environment) *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "Look into the ledger: of a node that runs, or on a stopped node's disk"}
	v := viewer{env: env}
	show := &cobra.Command{
		Use: "show [ACCOUNT]", Short: "Tell how the ledger of a node stands, or what an account has",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			account, err := accountArg(args)
			switch {
			case err != nil:
				return err
			case account.IsZero():
				return v.ledger(cmd.Context())
			}
			return v.account(cmd.Context(), account)
		},
	}
	v.bind(show)
	h := viewer{env: env}
	history := &cobra.Command{
		Use: "history [ACCOUNT]", Short: "List the operations of an account, or of all, the newest first",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			account, err := accountArg(args)
			if err != nil {
				return err
			}
			return h.with(func(c *api.Client) error { return h.history(cmd.Context(), c, account) })
		},
	}
	h.bind(history)
	h.bindLimit(history)
	cmd.AddCommand(show, history, verifyCommand(env), exportCommand(env), proveCommand(env))
	return cmd
}

// accountArg reads the account that a command line may name.
func accountArg(args []string) (id p2p.PeerID, err error) {
	if len(args) == 0 {
		return id, nil
	}
	if id, err = p2p.ParsePeerID(args[0]); err != nil {
		return id, exit(exitUsage, fmt.Errorf("account %q: want 64 hexadecimal digits of an account", args[0]))
	}
	return id, nil
}

// A viewer shows what the node of a folder answers.
type viewer struct {
	env   environment
	dir   string
	json  bool
	limit int
}

func (v *viewer) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&v.dir, "data", dataDir(v.env), "folder of the node")
	cmd.Flags().BoolVar(&v.json, "json", false, "print one JSON object on standard output")
}

func (v *viewer) bindLimit(cmd *cobra.Command) {
	cmd.Flags().IntVar(&v.limit, "limit", 100, "most operations to list, 1 to 10000")
}

// with calls f with a client of the node.
func (v *viewer) with(f func(*api.Client) error) error {
	c, err := dialNode(v.dir)
	if err != nil {
		return exit(exitUnavailable, fmt.Errorf("no node runs in %s: %w; start one with pinfi provide, pinfi light "+
			"or pinfi devnet up", v.dir, err))
	}
	defer c.Close()
	if err := f(c); err != nil {
		return fmt.Errorf("node in %s: %w", v.dir, err)
	}
	return nil
}

// ledger shows how the ledger stands.
func (v *viewer) ledger(ctx context.Context) error {
	return v.with(func(c *api.Client) error {
		l, err := c.Ledger(ctx, p2p.PeerID{})
		if err != nil {
			return err
		}
		if v.json {
			return json.NewEncoder(v.env.stdout).Encode(l)
		}
		v.line("ledger", "%d operations, %d without a certificate, root %v", l.Applied, l.Pending, l.Root)
		v.supply(&l.Supply, l.SupplyOK)
		v.line("evidence", "%d offences", l.Evidence)
		for _, w := range l.Witnesses {
			v.line("witness", "%v, stake %s tokens, %d frames", w.Account, tokens(w.Stake), w.Frames)
		}
		return nil
	})
}

func (v *viewer) line(name, format string, args ...any) {
	fmt.Fprintf(v.env.stdout, "%-9s %s\n", name, fmt.Sprintf(format, args...))
}

// supply shows where all money is.
func (v *viewer) supply(s *api.Supply, ok bool) {
	word := "as much as at genesis"
	if !ok {
		word = "NOT CONSERVED"
	}
	v.line("supply", "%s tokens: %s", tokens(s.Total), word)
	v.line("", "lanes %s, credits %s, escrowed %s, pots %s, bonded %s, burned %s", tokens(s.Lanes), tokens(s.Credits),
		tokens(s.Escrowed), tokens(s.Pots), tokens(s.Bonded), tokens(s.Burned))
}

// account shows what an account has: the node's own when it is zero.
func (v *viewer) account(ctx context.Context, id p2p.PeerID) error {
	return v.with(func(c *api.Client) error {
		if id.IsZero() {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			id = s.Self
		}
		l, err := c.Ledger(ctx, id)
		if err != nil {
			return err
		}
		a := l.Account
		if v.json {
			return json.NewEncoder(v.env.stdout).Encode(a)
		}
		v.line("account", "%v", a.ID)
		v.line("balance", "%s tokens, %s of them unclaimed", tokens(a.Balance), tokens(a.Unclaimed))
		v.line("bonded", "%s tokens", tokens(a.Bond))
		v.line("escrowed", "%s tokens", tokens(a.Escrowed))
		for _, l := range a.Lanes {
			v.line("lane", "%d: %s tokens, %d operations", l.Lane, tokens(l.Balance), l.Seq)
		}
		for _, d := range a.Devices {
			v.line("device", "%s: %d mCU declared, %d proven", d.Class, d.Declared, d.Proven)
		}
		for _, l := range a.Leases {
			v.line("lease", "%s: %s, %s to %s, %s tokens", l.ID.Short(), l.State, l.Client.Short(), l.Provider.Short(),
				tokens(l.Escrow))
		}
		return nil
	})
}

// history lists operations.
func (v *viewer) history(ctx context.Context, c *api.Client, account p2p.PeerID) error {
	if v.limit < 1 || v.limit > 10000 {
		return exit(exitUsage, fmt.Errorf("--limit %d: want 1 to 10000", v.limit))
	}
	entries, err := c.History(ctx, account, v.limit)
	if err != nil {
		return err
	}
	if v.json {
		return json.NewEncoder(v.env.stdout).Encode(api.History{Entries: entries})
	}
	for _, e := range entries {
		sign := "  "
		switch {
		case account.IsZero():
		case e.Account == account && e.To != account && e.Amount > 0:
			sign = "- "
		case e.To == account && e.Account != account && e.Amount > 0:
			sign = "+ "
		}
		to := "        "
		if !e.To.IsZero() {
			to = e.To.Short()
		}
		fmt.Fprintf(v.env.stdout, "%s  %-15s  %s -> %s  %s%s, fee %s  %s\n", e.ID.Short(), e.Kind, e.Account.Short(), to,
			sign, tokens(e.Amount), tokens(e.Fee), e.State)
	}
	return nil
}
