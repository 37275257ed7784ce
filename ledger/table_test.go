package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A table is a story of operations in testdata/tables: a command line, "----",
// the expected output, an empty line. Run with -update to rewrite the output.
//
//	transfer FROM TO ATOMS   lane-move FROM TOLANE ATOMS   burn FROM ATOMS
//	device FROM CLASS MCU    show [ACCOUNT...]             reset
//
// FROM is a letter, or a letter and a lane as in a/1. Options: fee=, seq=, prev=,
// chain=, epoch=, claim=SOURCE@UPTO (more than once).
type table struct{ s *State }

// [LED-4] Every operation gets the result code that the tables show.
// [LED-7] A credit is spendable only after an operation of lane 0 claims it.
func TestTables(t *testing.T) {
	files, err := filepath.Glob("testdata/tables/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("tables %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tab := &table{newState(t)}
			got := tab.run(string(b))
			wantAudit(t, tab.s)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(b) {
				t.Errorf("results differ; got\n%s", got)
			}
		})
	}
}

// run returns the text with every output as it is.
func (tab *table) run(text string) string {
	var out strings.Builder
	skip := false // the old output
	for line := range strings.Lines(text) {
		switch {
		case line == "----\n":
			skip = true
		case line == "\n":
			skip = false
			out.WriteString(line)
		case skip:
		case strings.HasPrefix(line, "#"):
			out.WriteString(line)
		default:
			fmt.Fprintf(&out, "%s----\n%s\n", line, tab.command(strings.Fields(line)))
		}
	}
	return out.String()
}

// command carries out one line and returns its output.
func (tab *table) command(words []string) string {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	n := func(i int) uint64 { v, _ := strconv.ParseUint(arg(i), 10, 64); return v }
	switch words[0] {
	case "reset":
		tab.s.Reset()
		return "ok"
	case "show":
		return tab.show(words[1:])
	case "transfer":
		return tab.apply(words, KindTransfer, Transfer{who(arg(2)[0]), Amount(n(3))}.Encode())
	case "lane-move":
		return tab.apply(words, KindLaneMove, LaneMove{Lane(n(2)), Amount(n(3))}.Encode())
	case "burn":
		return tab.apply(words, KindBurn, Burn{Amount(n(2))}.Encode())
	case "device":
		return tab.apply(words, KindDeviceRegister, DeviceRegister{Class(arg(2)), n(3)}.Encode())
	case "kind":
		return tab.apply(words, Kind(n(2)), nil)
	default:
		return "unknown command"
	}
}

// apply applies an operation with the options among the words.
func (tab *table) apply(words []string, k Kind, body []byte) string {
	account, lane := source(words[1])
	op := draft(tab.s, account, lane, k, body)
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		n, _ := strconv.ParseUint(value, 10, 64)
		switch name {
		case "fee":
			op.Fee = Amount(n)
		case "seq":
			op.Seq = n
		case "prev":
			op.Prev = OpID{byte(n)}
		case "chain":
			op.Chain = uint32(n)
		case "epoch":
			op.Epoch = Epoch(n)
		case "junk":
			op.Body = append(op.Body, make([]byte, n)...)
		case "claim":
			from, upto, _ := strings.Cut(value, "@")
			c := Claim{}
			c.From, c.Lane = source(from)
			c.Upto, _ = strconv.ParseUint(upto, 10, 64)
			op.Claims = append(op.Claims, c)
		}
	}
	before := tab.s.Root()
	r := tab.s.Check(op)
	if tab.s.Root() != before {
		return "check changed the state"
	}
	if again := tab.s.Apply(op); again != r {
		return fmt.Sprintf("check says %v, apply says %v", r, again)
	}
	return fmt.Sprintf("%d %v", r, r)
}

// source reads a letter, or a letter and a lane.
func source(s string) (Account, Lane) {
	name, lane, _ := strings.Cut(s, "/")
	l, _ := strconv.ParseUint(lane, 10, 8)
	return who(name[0]), Lane(l)
}

// show returns the money of accounts, or of all kinds of bucket.
func (tab *table) show(accounts []string) string {
	if len(accounts) == 0 {
		return fmt.Sprintf("%+v", tab.s.Supply())
	}
	var out []string
	for _, a := range accounts {
		line := a + " " + tab.s.Balance(who(a[0])).String() + ":"
		for l := range 256 {
			if m := tab.s.Spendable(who(a[0]), Lane(l)); m > 0 {
				line += fmt.Sprintf(" lane %d %v", l, m)
			}
		}
		for _, c := range tab.s.Unclaimed(who(a[0])) {
			line += fmt.Sprintf(" %c/%d@%d %v", c.From[0], c.Lane, c.Seq, c.Amount)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
