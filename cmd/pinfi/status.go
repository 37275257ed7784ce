package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/node/api"
)

func statusCommand(env environment) *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how the node of a folder stands",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := dialNode(dir)
			if err != nil {
				return exit(exitUnavailable, fmt.Errorf("no node runs in %s: %w; start one with pinfi provide, pinfi light "+
					"or pinfi devnet up", dir, err))
			}
			defer c.Close()
			s, err := c.Status(cmd.Context())
			if err != nil {
				return exit(exitUnavailable, fmt.Errorf("node in %s: %w", dir, err))
			}
			if asJSON {
				return json.NewEncoder(env.stdout).Encode(s)
			}
			printStatus(env, &s)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data", dataDir(env), "folder of the node")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	return cmd
}

func printStatus(env environment, s *api.Status) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(env.stdout, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("node", "%s (%s), pinfi %s", s.Self, s.Role, s.Version)
	line("network", "%s %s, slot %d", s.Network.Name, s.Network.Digest.Short(), s.Slot)
	line("peers", "%d in reach", s.Reached)
	for _, a := range s.Listen {
		line("", "%s", a)
	}
	line("ledger", "%d operations, root %s", s.Ledger.Applied, s.Ledger.Root.Short())
	if s.Ledger.SupplyOK {
		line("supply", "%s tokens, %s burned: as much as at genesis",
			tokens(s.Ledger.Supply.Total), tokens(s.Ledger.Supply.Burned))
	} else {
		line("supply", "NOT CONSERVED: %s tokens", tokens(s.Ledger.Supply.Total))
	}
	line("balance", "%s tokens, %s bonded", tokens(s.Balance), tokens(s.Bond))
	for _, d := range s.Devices {
		line("device", "%s: %d mCU declared, %d proven in %d storms, %d sold of %d; price %s atoms per CU-hour",
			d.Class, d.Declared, d.Proven, d.Passed, d.Taken, d.Capacity, d.Price)
	}
	line("market", "%d offers known, %d leases served, %d jobs ordered", s.Offers, s.Sales, s.Jobs)
}
