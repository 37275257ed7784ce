//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/node/machine"
)

// scriptPayments writes a file of payments of 0.5 tokens to the account of a folder.
func scriptPayments(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "payments FILE DIR NUMBER")
	id, err := readIdentity(filepath.Join(ts.MkAbs(args[1]), identityName))
	must(ts, err)
	n := 0
	_, err = fmt.Sscan(args[2], &n)
	must(ts, err)
	text := strings.Repeat(fmt.Sprintf("%v,0.5\n", id.PeerID()), n)
	must(ts, os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// scriptForge raises the fee of an operation in the store of a stopped node: its
// checksum is right, its signature is not. It sets a variable to its record's name.
func scriptForge(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "forge VARIABLE DIR")
	dir := ts.MkAbs(args[1])
	g, err := readGenesis(filepath.Join(dir, genesisName))
	must(ts, err)
	s, err := store.Open(filepath.Join(dir, "ledger"), g.Network(), nil)
	must(ts, err)
	records, err := s.Load(context.Background())
	must(ts, err)
	i := slices.IndexFunc(records, func(r store.Record) bool { return r.Kind == uint8(machine.RecordOp) })
	op, err := ledger.DecodeOp(records[i].Value)
	must(ts, err)
	op.Fee++
	id := op.ID()
	must(ts, s.Write(context.Background(), []store.Record{
		{Kind: records[i].Kind, Key: records[i].Key}, {Kind: records[i].Kind, Key: id[:], Value: op.Encode()},
	}))
	must(ts, s.Close())
	ts.Setenv(args[0], fmt.Sprintf("record %d/%x", records[i].Kind, id[:]))
}

// Amounts are typed as tokens with at most 9 decimals, and as nothing else.
func TestParseTokens(t *testing.T) {
	for text, want := range map[string]ledger.Amount{
		"0": 0, "1": ledger.Token, "1.5": 1_500_000_000, "0.000000001": 1, "007": 7 * ledger.Token, "0.10": 100_000_000,
		"21000000": ledger.MaxSupply,
	} {
		if got, err := parseTokens(text); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "0.0000000001", "21000000.000000001", "99999999999999999999", "x",
		"1.x",
	} {
		if got, err := parseTokens(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
