package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

func walletCommand(env environment) *cobra.Command {
	cmd := &cobra.Command{Use: "wallet", Short: "Show, send and follow the money of the node of a folder"}
	v := viewer{env: env}
	show := &cobra.Command{
		Use: "show", Short: "Tell what the node's account has", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.account(cmd.Context(), p2p.PeerID{}) },
	}
	v.bind(show)
	h := viewer{env: env}
	history := &cobra.Command{
		Use: "history", Short: "List what the node's account has paid and got, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return h.with(func(c *api.Client) error {
				s, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				return h.history(cmd.Context(), c, s.Self)
			})
		},
	}
	h.bind(history)
	h.bindLimit(history)
	cmd.AddCommand(show, sendCommand(env), history)
	return cmd
}

// A sender pays other accounts from that of a node.
type sender struct {
	viewer
	to, amount, file, id, wait string
}

func sendCommand(env environment) *cobra.Command {
	s := &sender{viewer: viewer{env: env}}
	cmd := &cobra.Command{
		Use:   "send (--to ACCOUNT --amount TOKENS | --file PAYMENTS.csv)",
		Short: "Pay other accounts, each payment exactly once",
		Long: "send hands the node an order to pay, which it keeps: what is interrupted, the node included,\n" +
			"goes on. The same command with the --id that it printed pays nothing twice. A file has a line\n" +
			"\"account,tokens\" for each payment.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.send(cmd.Context()) },
	}
	s.bind(cmd)
	flags := cmd.Flags()
	flags.StringVar(&s.to, "to", "", "account to pay: 64 hexadecimal digits")
	flags.StringVar(&s.amount, "amount", "", "tokens, with up to 9 decimals")
	flags.StringVar(&s.file, "file", "", "CSV file of payments: account,tokens in each line")
	flags.StringVar(&s.id, "id", "", "id of the order, 64 hexadecimal digits (default: a random one)")
	flags.StringVar(&s.wait, "wait", "certified", "what to wait for: certified, final, or none")
	return cmd
}

func (s *sender) send(ctx context.Context) error {
	order, err := s.order()
	if err != nil {
		return err
	}
	return s.with(func(c *api.Client) error {
		ticket, err := c.Pay(ctx, order)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.env.stderr, "order %v: %d payments\n", ticket.ID, len(order.Payments))
		if s.wait != "none" {
			if err := s.follow(ctx, c, ticket.ID); err != nil {
				return fmt.Errorf("%w; the order is not lost, the node goes on with it when it runs: repeat the command with "+
					"--id %v", err, ticket.ID)
			}
		}
		return s.told(ctx, c, ticket.ID)
	})
}

// order reads what is to be paid.
func (s *sender) order() (o api.PayOrder, err error) {
	if s.wait != "certified" && s.wait != "final" && s.wait != "none" {
		return o, exit(exitUsage, fmt.Errorf("--wait %q: want certified, final or none", s.wait))
	}
	if s.id != "" {
		if err := o.ID.UnmarshalText([]byte(s.id)); err != nil {
			return o, exit(exitUsage, fmt.Errorf("--id: %w", err))
		}
	}
	single := s.to != "" || s.amount != ""
	if single == (s.file != "") {
		return o, exit(exitUsage, errors.New("want --to ACCOUNT --amount TOKENS, or --file PAYMENTS.csv"))
	}
	if single {
		p, err := paymentOf(s.to, s.amount)
		o.Payments = []api.Payment{p}
		return o, exit(exitUsage, err)
	}
	f, err := os.Open(s.file)
	if err != nil {
		return o, exit(exitNoInput, fmt.Errorf("payments: %w", err))
	}
	defer f.Close()
	if o.Payments, err = readPayments(f); err != nil {
		return o, exit(exitData, fmt.Errorf("payments %s: %w", s.file, err))
	}
	return o, nil
}

// readPayments reads a file of payments.
func readPayments(r io.Reader) (out []api.Payment, err error) {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord, rows.TrimLeadingSpace, rows.Comment = 2, true, '#'
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: want account,tokens", err)
		}
		line, _ := rows.FieldPos(0)
		p, err := paymentOf(row[0], row[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if out = append(out, p); len(out) > machine.MaxPayments {
			return nil, fmt.Errorf("line %d: more than %d payments: split the file", line, machine.MaxPayments)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("it has no payment: want account,tokens in each line")
	}
	return out, nil
}

func paymentOf(to, amount string) (p api.Payment, err error) {
	if p.To, err = p2p.ParsePeerID(strings.TrimSpace(to)); err != nil {
		return p, fmt.Errorf("account %q: want 64 hexadecimal digits of an account", to)
	}
	if p.Amount, err = parseTokens(strings.TrimSpace(amount)); err != nil {
		return p, err
	}
	if p.Amount == 0 {
		return p, fmt.Errorf("amount %q: want more than nothing", amount)
	}
	return p, nil
}

// parseTokens reads an amount of tokens with up to 9 decimals.
func parseTokens(s string) (ledger.Amount, error) {
	whole, part, dot := strings.Cut(s, ".")
	if whole == "" || dot && part == "" || len(part) > 9 {
		return 0, fmt.Errorf("amount %q: want tokens with up to 9 decimals, such as 1.5", s)
	}
	atoms := strings.TrimLeft(whole+part+strings.Repeat("0", 9-len(part)), "0")
	if atoms == "" {
		return 0, nil
	}
	a, err := ledger.ParseAmount(atoms)
	if err != nil || a > ledger.MaxSupply {
		return 0, fmt.Errorf("amount %q: want tokens with up to 9 decimals, such as 1.5, and at most %s", s,
			tokens(ledger.MaxSupply))
	}
	return a, nil
}

// followPoll is how often an order is looked at.
const followPoll = 100 * time.Millisecond

// follow waits until every payment of an order is at its end, and tells how far it
// has got.
func (s *sender) follow(ctx context.Context, c *api.Client, id p2p.Digest) error {
	tick := time.NewTicker(followPoll)
	defer tick.Stop()
	for shown := 0; ; {
		p, err := c.Payments(ctx, id, true)
		if err != nil {
			return err
		}
		done, all := p.Certified+p.Refused, p.Certified+p.Refused+p.Open()
		if done > shown && (p.Open() == 0 || done >= shown+max(1, all/10)) {
			shown = done
			fmt.Fprintf(s.env.stderr, "%d of %d payments are certified%s\n", p.Certified, all, refused(p.Refused))
			if p.Open() == 0 && s.wait == "final" && p.Final < p.Certified {
				fmt.Fprintln(s.env.stderr, "waiting until all of them are final")
			}
		}
		if p.Open() == 0 && (s.wait != "final" || p.Final == p.Certified) {
			return nil
		}
		select {
		case <-ctx.Done():
			return exit(exitLater, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// refused says how many payments were refused, if any were.
func refused(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d refused", n)
}

// toldMax is how many refused payments are named one by one.
const toldMax = 20

// told prints how an order stands, and fails when a payment was refused.
func (s *sender) told(ctx context.Context, c *api.Client, id p2p.Digest) error {
	p, err := c.Payments(ctx, id, false)
	if err != nil {
		return err
	}
	if s.json {
		err = json.NewEncoder(s.env.stdout).Encode(p)
	} else {
		fmt.Fprintf(s.env.stdout, "paid %s tokens in %d payments, and %s in fees; %d under way, %d refused\n",
			tokens(p.Paid), p.Certified, tokens(p.Fees), p.Open(), p.Refused)
	}
	named := 0
	for i, v := range p.Payments {
		if v.Result == "" {
			continue
		}
		if named++; named > toldMax {
			fmt.Fprintf(s.env.stderr, "and %d more, which --json names\n", p.Refused-toldMax)
			break
		}
		fmt.Fprintf(s.env.stderr, "payment %d, %s tokens to %s: %s\n", i+1, tokens(v.Amount), v.To.Short(), v.Result)
	}
	if err == nil && p.Refused > 0 {
		err = exit(exitPolicy, fmt.Errorf("%d of %d payments were refused", p.Refused, len(p.Payments)))
	}
	return err
}
