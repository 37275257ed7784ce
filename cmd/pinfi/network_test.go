//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// A crowd is a network of witnesses with equal stake, each a process, but the last:
// that one is hostile, and the test speaks for it.
type crowd struct {
	t       *testing.T
	chance  *rand.Rand
	g       *machine.Genesis
	ids     []*p2p.Identity // the hostile one is the last
	dirs    []string        // of the honest
	running []*running      // by place in dirs; nil: does not run
	orders  [][]api.Payment // by place in dirs
}

// running is a process of a node.
type running struct {
	cmd   *osexec.Cmd
	ended chan error // its end
}

// TestScriptNetwork is TestScriptLongNetwork in short.
// [CLI-33] Nodes that are killed while they pay one another, beside a witness that lies, make every payment once.
func TestScriptNetwork(t *testing.T) { networkOf(t, 5, 600) }

// TestScriptLongNetwork runs seven witnesses. Six pay one another 10 000 times, two of
// them are killed on the way and once more, and the seventh lies with its stake.
// [CLI-33] Nodes that are killed while they pay one another, beside a witness that lies, make every payment once.
func TestScriptLongNetwork(t *testing.T) {
	long(t)
	networkOf(t, 7, 10_000)
}

// networkOf has the honest of n witnesses make that many payments.
func networkOf(t *testing.T, n, payments int) {
	c := newCrowd(t, n, payments)
	for i := range c.dirs {
		c.start(i)
	}
	ctx, calm := context.WithCancel(t.Context())
	defer calm()
	var harm errgroup.Group
	liar := newHostile(t, c.g, c.ids[n-1], c.dirs...)
	harm.Go(func() error { liar.run(ctx, c.dirs); return nil })
	crony, topics := newStranger(t, c.dirs...) // without stake: nodes break with it, and the liar has to go on
	harm.Go(func() error {
		for ctx.Err() == nil {
			crony.harass(ledger.OpID{1})
			crony.gossip(topics)
		}
		return nil
	})

	begun := time.Now()
	var work errgroup.Group
	for i := range c.dirs {
		work.Go(func() error { return c.pay(ctx, i) })
	}
	for _, at := range []int{payments / 4, payments/2 + c.chance.IntN(payments/4)} {
		c.killTwoAfter(uint64(at))
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begun)
	calm()
	_ = liar.host.Close()
	_ = crony.host.Close()
	_ = harm.Wait()
	t.Logf("%d payments certified at their payers in %v, %d a second; %d rounds of lies", payments,
		took.Round(time.Millisecond), int(float64(payments)/took.Seconds()), liar.rounds)
	c.audit()
}

func newCrowd(t *testing.T, n, payments int) *crowd {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("PINFI_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PINFI_E2E=%s PINFI_SEED=%d go test ./cmd/pinfi -run %s", os.Getenv("PINFI_E2E"), seed, t.Name())
	c := &crowd{t: t, chance: rand.New(rand.NewPCG(seed, 0)), running: make([]*running, n-1)}
	root := shortDir(t)
	for i := range n {
		dir := filepath.Join(root, fmt.Sprint("n", i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		id, err := readIdentity(filepath.Join(dir, identityName))
		if err != nil {
			t.Fatal(err)
		}
		c.ids, c.dirs = append(c.ids, id), append(c.dirs, dir)
	}
	c.dirs = c.dirs[:n-1]
	rules := devnetRules()
	rules.stormPer = 1 << 20 // nobody sells
	c.g = localGenesis(rules, c.ids, c.ids[0].PeerID())
	c.g.Ledger.Alloc = nil
	for _, id := range c.ids {
		c.g.Ledger.Alloc = append(c.g.Ledger.Alloc, ledger.Alloc{Account: id.PeerID(), Amount: clientTokens})
	}
	for _, dir := range c.dirs {
		if err := writeGenesis(filepath.Join(dir, genesisName), c.g); err != nil {
			t.Fatal(err)
		}
	}
	c.order(payments)
	return c
}

// order draws who pays whom how much, and writes each payer's file.
func (c *crowd) order(payments int) {
	c.orders = make([][]api.Payment, len(c.dirs))
	files := make([]bytes.Buffer, len(c.dirs))
	for n := range payments {
		from := n % len(c.dirs)
		to := (from + 1 + c.chance.IntN(len(c.dirs)-1)) % len(c.dirs)
		p := api.Payment{To: c.ids[to].PeerID(), Amount: ledger.Amount(1 + c.chance.IntN(1_000_000))}
		c.orders[from] = append(c.orders[from], p)
		fmt.Fprintf(&files[from], "%v,%s\n", p.To, tokens(p.Amount))
	}
	for i, dir := range c.dirs {
		if err := os.WriteFile(filepath.Join(dir, "pay.csv"), files[i].Bytes(), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

// start starts a node, with the addresses of those that run, and waits until it answers.
func (c *crowd) start(i int) {
	c.t.Helper()
	dir := c.dirs[i]
	args := []string{"light", "--data", dir, "--mdns=false", "--listen", "/ip4/127.0.0.1/tcp/0"}
	for k, other := range c.running {
		if b, err := os.ReadFile(filepath.Join(c.dirs[k], addrsName)); other != nil && err == nil {
			args = append(args, "--peer", strings.Fields(string(b))[0])
		}
	}
	words, err := os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer words.Close()
	cmd := osexec.Command("pinfi", args...)
	cmd.Stderr = words
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	p := &running{cmd, make(chan error, 1)}
	go func() { p.ended <- cmd.Wait() }()
	err = until(patience, func() error {
		_, err := statusOf(c.t.Context(), dir)
		if len(p.ended) > 0 {
			c.t.Fatalf("node %d ends at once; its last words: %s", i, lastWords(dir))
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.running[i] = p
}

// killTwoAfter waits until a node has applied that many operations, kills two others
// at once, and starts them again.
func (c *crowd) killTwoAfter(applied uint64) {
	c.t.Helper()
	who := c.chance.Perm(len(c.dirs))
	err := until(patience, func() error {
		st, err := statusOf(c.t.Context(), c.dirs[who[0]])
		if err == nil && st.Ledger.Applied < applied {
			err = fmt.Errorf("%d operations are applied, want %d", st.Ledger.Applied, applied)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, i := range who[1:3] {
		if err := c.running[i].cmd.Process.Kill(); err != nil {
			c.t.Fatal(err)
		}
		<-c.running[i].ended
		c.running[i] = nil
	}
	for _, i := range who[1:3] {
		begun := time.Now()
		c.start(i)
		c.t.Logf("node %d was killed after about %d operations, and answers again in %v", i, applied,
			time.Since(begun).Round(time.Millisecond))
	}
}

// pay gives a node its order, again when the node was killed meanwhile, until every
// payment is certified.
func (c *crowd) pay(ctx context.Context, i int) error {
	id := p2p.Sum("test/order", []byte{byte(i)})
	args := []string{
		"wallet", "send", "--data", c.dirs[i], "--file", filepath.Join(c.dirs[i], "pay.csv"), "--id", id.String(), "--json",
	}
	var out string
	err := until(2*patience, func() error {
		code, said, words := call(ctx, args...)
		if code != 0 {
			return fmt.Errorf("node %d: wallet send ends with %d: %s", i, code, words)
		}
		out = said
		return nil
	})
	if err != nil {
		return err
	}
	var got api.Payments
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return fmt.Errorf("node %d: %w: %s", i, err, out)
	}
	ops := map[ledger.OpID]bool{}
	for _, p := range got.Payments {
		ops[p.Op] = true
	}
	if n := len(c.orders[i]); got.Certified != n || got.Refused != 0 || len(ops) != n {
		return fmt.Errorf("node %d: %d certified, %d refused, %d operations, want %d payments", i, got.Certified, got.Refused,
			len(ops), n)
	}
	return nil
}

// audit waits until all honest nodes agree, stops them, and computes each one's ledger
// again from its folder. What the liar has paid may come to count between the two, and
// its rivals may not have come to all; then they go on once more.
func (c *crowd) audit() {
	c.t.Helper()
	for round := 1; ; round++ {
		root, begun := p2p.Digest{}, time.Now()
		if err := until(patience, func() (err error) { root, err = c.agreed(); return err }); err != nil {
			c.t.Fatal(err)
		}
		c.t.Logf("all roots are equal %v later", time.Since(begun).Round(time.Millisecond))
		for i := range c.dirs {
			c.stop(i)
		}
		same := true
		for i := range c.dirs {
			err := c.verify(i, root)
			if err != nil && round == 3 {
				c.t.Fatal(err)
			}
			same = same && err == nil
		}
		if same {
			break
		}
		for i := range c.dirs {
			c.start(i)
		}
	}
	c.paidOnce(pinfi(c.t, 0, "ledger", "export", c.dirs[0]))
}

// stop asks a node to end and waits until it has.
func (c *crowd) stop(i int) {
	c.t.Helper()
	if err := stopNode(c.t.Context(), c.dirs[i]); err != nil {
		c.t.Fatal(err)
	}
	if err := <-c.running[i].ended; err != nil {
		c.t.Errorf("node %d ends with %v, want 0", i, err)
	}
	c.running[i] = nil
}

// verify reports, as an error, why a stopped node's folder does not have the root, or
// does not name the liar, and nobody else, for what it did.
func (c *crowd) verify(i int, root p2p.Digest) error {
	c.t.Helper()
	var v verdict
	if err := json.Unmarshal([]byte(pinfi(c.t, 0, "ledger", "verify", c.dirs[i], "--json")), &v); err != nil {
		c.t.Fatal(err)
	}
	liar := c.ids[len(c.ids)-1].PeerID()
	guilty := map[string]bool{}
	for _, e := range v.Evidence {
		guilty[e.Offence] = true
		if e.Account != liar {
			c.t.Errorf("node %d: honest %v is accused of %s", i, e.Account.Short(), e.Offence)
		}
	}
	if !v.OK || v.Root != root || !guilty["frame-fork"] || !guilty["vote-conflict"] {
		return fmt.Errorf("node %d: ok %v, root %v, want %v, evidence of %v, want frame-fork and vote-conflict", i, v.OK,
			v.Root.Short(), root.Short(), guilty)
	}
	return nil
}

// agreed returns the root of all honest nodes, which have applied every payment.
func (c *crowd) agreed() (root p2p.Digest, err error) {
	for i, dir := range c.dirs {
		st, err := statusOf(c.t.Context(), dir)
		if err != nil {
			return root, err
		}
		l := &st.Ledger
		switch {
		case !l.SupplyOK:
			return root, fmt.Errorf("node %d: money was made or lost", i)
		case l.Evidence == 0:
			return root, fmt.Errorf("node %d has caught nobody", i)
		case i > 0 && l.Root != root:
			return root, fmt.Errorf("node %d has applied %d operations, root %v, node 0 has %v", i, l.Applied,
				l.Root.Short(), root.Short())
		case st.Balance != c.due(i):
			return root, fmt.Errorf("node %d has %v atoms, want %v", i, st.Balance, c.due(i))
		}
		root = l.Root
	}
	return root, nil
}

// due returns what a node has when every payment is made once.
func (c *crowd) due(i int) ledger.Amount {
	has := clientTokens
	for from, order := range c.orders {
		for _, p := range order {
			if from == i {
				has -= p.Amount + c.g.Ledger.MinFee
			}
			if p.To == c.ids[i].PeerID() {
				has += p.Amount
			}
		}
	}
	return has
}

// paidOnce compares the payments of an export with the orders: the same, in the same
// order, payer by payer.
func (c *crowd) paidOnce(export string) {
	c.t.Helper()
	made := map[p2p.PeerID][]api.Payment{}
	for d := json.NewDecoder(strings.NewReader(export)); d.More(); {
		var r row
		if err := d.Decode(&r); err != nil {
			c.t.Fatal(err)
		}
		made[r.Account] = append(made[r.Account], api.Payment{To: r.To, Amount: r.Amount})
	}
	for i, order := range c.orders {
		if got := made[c.ids[i].PeerID()]; !slices.Equal(got, order) {
			c.t.Errorf("node %d has made %d payments, and they are not the %d that were ordered", i, len(got), len(order))
		}
	}
}
