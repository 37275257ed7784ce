package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pinfi/pinfi/p2p"
)

// A table is a story of operations in testdata/tables, which an accountant can read:
// one line for each operation, then "|", the result's number and words, and what
// both parties have afterwards. Run with -update to rewrite what is right of "|".
//
//	transfer FROM TO ATOMS       lane-move FROM TOLANE ATOMS    burn FROM ATOMS
//	register FROM CLASS MCU      retire FROM CLASS              kind FROM NUMBER
//	bond FROM witness KEY ATOMS  bond FROM CLASS ATOMS
//	lock FROM TO ATOMS WORD      claim FROM NAME WORD
//	lease-open FROM ATOMS        lease-close FROM NAME (see vault)
//	show [ACCOUNT...]            reset
//
// FROM is a letter, or a letter and a lane as in a/1. A lock is opened by its WORD.
// Options: fee=, seq=, prev=, chain=, epoch=, junk=BYTES, claim=SOURCE@UPTO (more than
// once), expiry= and as=NAME, which names the operation.
//
// "+" before an operation signs it after those of its lane before it that have a
// "+", and says what CheckAfter says; "apply FROM" applies the lane's.
type table struct {
	s     *State
	codes map[Result]bool
	names map[string]OpID
	queue map[Key][]*Item
}

func newTable(t testing.TB) *table {
	return &table{newState(t), map[Result]bool{}, map[string]OpID{}, map[Key][]*Item{}}
}

// tabled are the results that the tables must show: all that the ledger gives
// without a contract, but TooLate, for which there must be a second epoch.
var tabled = []Result{
	OK, BadChain, BadEpoch, BadSeq, BadPrev, BadBody, BadLane, BadClaim, UnknownKind, FeeTooLow, InsufficientBalance,
	Overflow, TooLarge, UnknownDevice, NotYours, AlreadyDone, Full, UnknownLock, BadPreimage,
}

// [LED-4] Every operation gets the result code that the tables show, and a refused one changes nothing.
// [LED-40] HashLock moves its amount into an escrow, and HashClaim moves that into the claimant's lane 0, once.
// [LED-7] A credit is spendable only after an operation of lane 0 claims it, and is claimed once.
func TestTables(t *testing.T) {
	files, err := filepath.Glob("testdata/tables/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("tables %v, %v", files, err)
	}
	shown, ran := map[Result]bool{}, 0
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			ran++
			tab := newTable(t)
			got := tab.run(string(b))
			wantAudit(t, tab.s)
			maps.Copy(shown, tab.codes)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			wanted := strings.Split(string(b), "\n")
			for i, line := range strings.Split(got, "\n") {
				if line != wanted[i] {
					t.Errorf("line %d:\n got %s\nwant %s", i+1, line, wanted[i])
				}
			}
		})
	}
	for _, r := range tabled {
		if ran == len(files) && !shown[r] {
			t.Errorf("no table shows %d %v", r, r)
		}
	}
}

// run returns the text with every output as it is.
func (tab *table) run(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "|")
		if command == "" || command[0] == '#' {
			out.WriteString(line)
			continue
		}
		command = strings.TrimSpace(command)
		fmt.Fprintf(&out, "%-40s | %s\n", command, tab.command(strings.Fields(command)))
	}
	return out.String()
}

// command carries out one line and returns its output.
func (tab *table) command(words []string) string {
	switch words[0] {
	case "reset":
		tab.s.Reset()
		return "ok"
	case "show":
		return tab.show(words[1:])
	case "apply":
		return tab.applyQueue(words[1])
	case "+":
		return tab.follow(tab.build(words[1:]))
	default:
		return tab.apply(words, tab.build(words))
	}
}

// body returns the kind and body that the words say.
func (tab *table) body(words []string) (Kind, []byte) {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	n := func(i int) uint64 { v, _ := strconv.ParseUint(arg(i), 10, 64); return v }
	word := func(i int) (out [32]byte) { copy(out[:], arg(i)); return out }
	switch words[0] {
	case "transfer":
		return KindTransfer, Transfer{who(arg(2)[0]), Amount(n(3))}.Encode()
	case "lane-move":
		return KindLaneMove, LaneMove{Lane(n(2)), Amount(n(3))}.Encode()
	case "burn":
		return KindBurn, Burn{Amount(n(2))}.Encode()
	case "register":
		return KindDeviceRegister, DeviceRegister{Class(arg(2)), n(3)}.Encode()
	case "retire":
		return KindDeviceRetire, DeviceRetire{Class(arg(2))}.Encode()
	case "lock":
		word := word(4)
		return KindHashLock, HashLock{To: who(arg(2)[0]), Amount: Amount(n(3)), Hash: sha256.Sum256(word[:])}.Encode()
	case "claim":
		return KindHashClaim, HashClaim{tab.named(arg(2)), word(3)}.Encode()
	case "bond":
		if arg(2) == "witness" {
			return KindStakeBond, StakeBond{Role: RoleWitness, VRF: p2p.VRFKey{byte(n(3))}, Amount: Amount(n(4))}.Encode()
		}
		return KindStakeBond, StakeBond{Role: RoleProvider, Class: Class(arg(2)), Amount: Amount(n(3))}.Encode()
	case "lease-open":
		return KindLeaseOpen, binary.BigEndian.AppendUint64(nil, n(2))
	case "lease-close":
		id := tab.named(arg(2))
		return KindLeaseClose, id[:]
	case "kind":
		return Kind(n(2)), nil
	default:
		panic("unknown command " + words[0])
	}
}

// build returns the operation that the words say, next in its lane or, when
// others of the lane are queued, after them.
func (tab *table) build(words []string) *Op {
	account, lane := source(words[1])
	kind, body := tab.body(words)
	op := draft(tab.s, account, lane, kind, body)
	if q := tab.queue[LaneKey(account, lane)]; len(q) > 0 {
		op.Seq, op.Prev = q[len(q)-1].Op.Seq+1, q[len(q)-1].ID
	}
	as := ""
	for _, w := range words[2:] {
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
		case "as":
			as = value
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
	tab.names[as] = op.ID()
	return op
}

// named returns the operation of a name, or one that there is not.
func (tab *table) named(name string) OpID {
	if id, ok := tab.names[name]; ok {
		return id
	}
	return OpID{0xff}
}

// apply applies an operation, and tells what those have whom the words name.
func (tab *table) apply(words []string, op *Op) string {
	before := tab.s.Root()
	r := tab.s.Check(op)
	if tab.s.Root() != before {
		return "check changed the state"
	}
	if again := tab.s.Apply(op); again != r {
		return fmt.Sprintf("check says %v, apply says %v", r, again)
	}
	if (tab.s.Root() != before) != (r == OK) {
		return fmt.Sprintf("%v, and the root says otherwise", r)
	}
	tab.codes[r] = true
	out := fmt.Sprintf("%d %v", r, r)
	if r != OK {
		return out
	}
	sep := " | "
	for i, w := range words[1:min(3, len(words))] {
		if l, ok := tab.s.Lock(tab.named(w)); ok {
			w = string(l.Owner[:1]) // the other party
		}
		if i == 0 || len(w) == 1 && w != words[1][:1] && w[0] >= 'a' {
			out += sep + tab.has(w[0])
			sep = ", "
		}
	}
	return out
}

// follow queues an operation if CheckAfter allows it.
func (tab *table) follow(op *Op) string {
	it, r := tab.s.Prepare(op)
	key := LaneKey(op.Account, op.Lane)
	if r == OK {
		r = tab.s.CheckAfter(it, tab.queue[key])
	}
	if r == OK {
		tab.queue[key] = append(tab.queue[key], it)
	}
	tab.codes[r] = true
	return fmt.Sprintf("%d %v", r, r)
}

// applyQueue applies the queued operations of a lane.
func (tab *table) applyQueue(from string) string {
	account, lane := source(from)
	key := LaneKey(account, lane)
	for i, it := range tab.queue[key] {
		if r := tab.s.ApplyItem(it); r != OK {
			return fmt.Sprintf("number %d: %v", i+1, r)
		}
	}
	out := fmt.Sprintf("%d applied | %s", len(tab.queue[key]), tab.has(from[0]))
	delete(tab.queue, key)
	return out
}

// source reads a letter, or a letter and a lane.
func source(s string) (Account, Lane) {
	name, lane, _ := strings.Cut(s, "/")
	l, _ := strconv.ParseUint(lane, 10, 8)
	return who(name[0]), Lane(l)
}

// has returns what an account has: money, bonds and devices.
func (tab *table) has(name byte) string {
	account := who(name)
	out := fmt.Sprintf("%c has %v", name, tab.s.Balance(account))
	if a := tab.s.BondOf(account); a > 0 {
		out += fmt.Sprintf(" witness %v", a)
	}
	for _, class := range []Class{"cpu", "gpu"} {
		if a := tab.s.ProviderBondOf(account, class); a > 0 {
			out += fmt.Sprintf(" provider of %s %v", class, a)
		}
		if d, ok := tab.s.Device(account, class); ok {
			out += fmt.Sprintf(" %s %d mCU", class, d.Declared)
		}
	}
	return out
}

// show returns where the money of accounts is, or all money.
func (tab *table) show(accounts []string) string {
	if len(accounts) == 0 {
		return fmt.Sprintf("%+v", tab.s.Supply())
	}
	var out []string
	for _, a := range accounts {
		line := tab.has(a[0]) + ":"
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
	return strings.Join(out, "; ")
}
