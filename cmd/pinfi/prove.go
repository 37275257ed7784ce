package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/p2p"
)

func proveCommand(env environment) *cobra.Command {
	v := viewer{env: env}
	var lane uint8
	var check, root string
	cmd := &cobra.Command{
		Use:   "prove (ACCOUNT [--lane N] | --check FILE [--root ROOT])",
		Short: "Prove what a lane of an account holds, or check such a proof without any node",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			account, err := accountArg(args)
			switch {
			case err != nil:
				return err
			case account.IsZero() == (check == ""):
				return exit(exitUsage, errors.New("want an ACCOUNT, or --check FILE"))
			case check != "":
				return v.check(check, root)
			}
			return v.prove(cmd.Context(), account, lane)
		},
	}
	v.bind(cmd)
	cmd.Flags().Uint8Var(&lane, "lane", 0, "lane of the account")
	cmd.Flags().StringVar(&check, "check", "", "file that prove --json has written: check it")
	cmd.Flags().StringVar(&root, "root", "", "root to check against, of a node that you trust (default: the file's own)")
	return cmd
}

// prove asks a node for a proof, and checks it.
func (v *viewer) prove(ctx context.Context, account p2p.PeerID, lane uint8) error {
	return v.with(func(c *api.Client) error {
		p, err := c.Prove(ctx, account, lane)
		if err == nil {
			err = p.Check()
		}
		if err != nil {
			return err
		}
		return v.proof(&p)
	})
}

// check checks the proof in a file.
func (v *viewer) check(path, root string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return exit(exitNoInput, fmt.Errorf("proof: %w", err))
	}
	var p api.LaneProof
	if err := json.Unmarshal(b, &p); err != nil {
		return exit(exitData, fmt.Errorf("proof %s: %w", path, err))
	}
	if root != "" {
		if err := p.Root.UnmarshalText([]byte(root)); err != nil {
			return exit(exitUsage, fmt.Errorf("--root: %w", err))
		}
	}
	if err := p.Check(); err != nil {
		return exit(exitData, fmt.Errorf("proof %s: %w", path, err))
	}
	return v.proof(&p)
}

// proof prints what a proof shows.
func (v *viewer) proof(p *api.LaneProof) error {
	if v.json {
		return json.NewEncoder(v.env.stdout).Encode(p)
	}
	v.line("root", "%v", p.Root)
	v.line("account", "%v, lane %d", p.Account, p.Lane)
	if p.Present {
		v.line("holds", "%s tokens after %d operations", tokens(p.Balance), p.Seq)
	} else {
		v.line("holds", "nothing: the state has no such lane")
	}
	return nil
}
