//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/p2p"
)

// A field is a place in a JSON value: names and numbers between dots, "len" for the
// length of a list.
type field string

func (f field) in(v any) (any, error) {
	for name := range strings.SplitSeq(string(f), ".") {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[name]
			if !ok {
				return nil, fmt.Errorf("there is no %s on the way to %s", name, f)
			}
			v = next
		case []any:
			i, err := strconv.Atoi(name)
			switch {
			case name == "len":
				v = json.Number(strconv.Itoa(len(at)))
			case err != nil || i < 0 || i >= len(at):
				return nil, fmt.Errorf("%s: want a number below %d for %q", f, len(at), name)
			default:
				v = at[i]
			}
		default:
			return nil, fmt.Errorf("%s: nothing is below %v", f, v)
		}
	}
	return v, nil
}

// holds reports whether the field of a JSON value stands so to what is wanted, as
// an error. Two whole numbers are compared as such, all else as texts.
func (f field) holds(v any, op, want string) error {
	v, err := f.in(v)
	if err != nil {
		return err
	}
	got := fmt.Sprint(v)
	order := strings.Compare(got, want)
	if a, ok := new(big.Float).SetString(got); ok {
		if b, ok := new(big.Float).SetString(want); ok {
			order = a.Cmp(b)
		}
	}
	ok, known := map[string]bool{
		"==": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0,
	}[op]
	if !known {
		return fmt.Errorf("no comparison is called %s", op)
	}
	if !ok {
		return fmt.Errorf("%s is %s, want %s %s", f, got, op, want)
	}
	return nil
}

// parse reads exactly one JSON value, numbers as they stand.
func parse(text string) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w: %q", err, text)
	}
	if d.More() {
		return nil, fmt.Errorf("more than one JSON value: %q", text)
	}
	return v, nil
}

// scriptJSON compares a field of the one JSON object in a file or in stdout, or
// sets a variable to it.
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 4, "json FILE FIELD ==|!=|<|<=|>|>=|to VALUE|VARIABLE")
	v, err := parse(ts.ReadFile(args[0]))
	must(ts, err)
	if args[2] == "to" {
		v, err = field(args[1]).in(v)
		must(ts, err)
		ts.Setenv(args[3], fmt.Sprint(v))
		return
	}
	must(ts, field(args[1]).holds(v, args[2], args[3]))
}

// answer returns what a node answers: its status, or a job of the id, as JSON.
func answer(ctx context.Context, dir, what string) (any, error) {
	c, err := dialNode(dir)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var out any
	switch what {
	case "status":
		out, err = c.Status(ctx)
	case "devices":
		out, err = c.Devices(ctx)
	case "jobs":
		out, err = c.Jobs(ctx)
	default:
		var id p2p.Digest
		if order, ok := strings.CutPrefix(what, "payments/"); ok {
			if err := id.UnmarshalText([]byte(order)); err != nil {
				return nil, err
			}
			out, err = c.Payments(ctx, id, true)
			break
		}
		if err := id.UnmarshalText([]byte(what)); err != nil {
			return nil, err
		}
		out, err = c.Job(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return parse(string(b))
}

// scriptAwait waits until a field of what a node answers is as wanted.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 5, "await DIR status|devices|jobs|ID FIELD OP VALUE")
	must(ts, until(patience, func() error {
		v, err := answer(context.Background(), ts.MkAbs(args[0]), args[1])
		if err != nil {
			return err
		}
		return field(args[2]).holds(v, args[3], args[4])
	}))
}

// scriptSame waits until a field of the status of all nodes is the same.
func scriptSame(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, -3, "same FIELD DIR...")
	must(ts, until(patience, func() error {
		var first any
		for i, dir := range args[1:] {
			v, err := answer(context.Background(), ts.MkAbs(dir), "status")
			if err != nil {
				return err
			}
			if v, err = field(args[0]).in(v); err != nil {
				return err
			}
			if i == 0 {
				first = v
			}
			if v != first {
				return fmt.Errorf("%s of %s is %v, of %s %v, want the same", args[0], args[1], first, dir, v)
			}
		}
		return nil
	}))
}

// scriptServing sets a variable to the folder of a provider that runs a task of a
// job now.
func scriptServing(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "serving VARIABLE NETWORK ID")
	must(ts, until(patience, func() error {
		name, err := serving(context.Background(), ts.MkAbs(args[1]), args[2])
		if err == nil {
			ts.Setenv(args[0], filepath.Join(args[1], name))
			ts.Logf("%s serves\n", name)
		}
		return err
	}))
}

// serving returns the folder of a provider in whose work folder a task of the job
// runs.
func serving(ctx context.Context, network, job string) (string, error) {
	v, err := answer(ctx, filepath.Join(network, clientName), job)
	if err != nil {
		return "", err
	}
	if err := field("state").holds(v, "==", "running"); err != nil {
		return "", err
	}
	dirs, err := devnetDirs(network)
	if err != nil {
		return "", err
	}
	for _, dir := range dirs {
		if tasks, err := filepath.Glob(filepath.Join(dir, "work", "job-*")); err != nil || len(tasks) > 0 {
			return filepath.Base(dir), err
		}
	}
	return "", fmt.Errorf("no provider runs a task of %s", job)
}

// scriptBooks waits until all jobs of a network's client are settled and all its
// ledgers agree, and then adds everything up.
func scriptBooks(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "books NETWORK")
	must(ts, until(patience, func() error { return balanced(context.Background(), ts.MkAbs(args[0])) }))
}

// balanced reports, as an error, why the books of a network that layNetwork made
// do not balance: a lease is open, money is in escrow, two roots differ, or what
// the leases say is not, to the atom, what the accounts hold.
func balanced(ctx context.Context, network string) error {
	dirs, err := devnetDirs(network)
	if err != nil {
		return err
	}
	var all []api.Status
	for _, dir := range dirs {
		s, err := statusOf(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(dir), err)
		}
		l := &s.Ledger
		switch {
		case !l.SupplyOK:
			return fmt.Errorf("%s: the supply is %v, as at genesis would be right", filepath.Base(dir), l.Supply.Total)
		case l.Supply.Escrowed != 0:
			return fmt.Errorf("%s: %v atoms are in escrow, want none", filepath.Base(dir), l.Supply.Escrowed)
		case len(all) > 0 && l.Root != all[0].Ledger.Root:
			return fmt.Errorf("%s: its root is %v, that of %s %v", filepath.Base(dir), l.Root, filepath.Base(dirs[0]),
				all[0].Ledger.Root)
		}
		all = append(all, s)
	}
	sums, err := leasesOf(ctx, dirs[len(dirs)-1])
	if err != nil {
		return err
	}
	return sums.compare(all)
}

func statusOf(ctx context.Context, dir string) (api.Status, error) {
	c, err := dialNode(dir)
	if err != nil {
		return api.Status{}, err
	}
	defer c.Close()
	return c.Status(ctx)
}

// sums are what the leases of a client say.
type sums struct {
	leases, paid, burned, stakers ledger.Amount
	served                        map[p2p.PeerID]ledger.Amount
}

// leasesOf adds up the leases of a client, and checks each by itself.
func leasesOf(ctx context.Context, dir string) (*sums, error) {
	c, err := dialNode(dir)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	s := &sums{served: map[p2p.PeerID]ledger.Amount{}}
	for _, summary := range jobs {
		job, err := c.Job(ctx, summary.ID)
		if err != nil {
			return nil, err
		}
		if !job.Settled {
			return nil, fmt.Errorf("job %v, which is %s, is not settled", job.ID.Short(), job.State)
		}
		for _, l := range job.Leases {
			if err := checkLease(&l); err != nil {
				return nil, fmt.Errorf("lease %v: %w", l.ID.Short(), err)
			}
			s.leases++
			s.paid += l.Paid.Total
			s.burned += l.Paid.Burn
			s.stakers += l.Paid.Stakers
			s.served[l.Provider] += l.Paid.Serve
		}
	}
	return s, nil
}

func checkLease(l *api.Lease) error {
	charge, err := l.Recomputed()
	switch p := l.Paid; {
	case err != nil:
		return err
	case l.State != "closed":
		return fmt.Errorf("it is %s, want closed", l.State)
	case charge != l.Charge:
		return fmt.Errorf("its charge is %v, the curve says %v", l.Charge, charge)
	case p.Total != p.Burn+p.Serve+p.Stakers:
		return fmt.Errorf("%v were paid, and its parts are %v, %v and %v", p.Total, p.Burn, p.Serve, p.Stakers)
	case l.Escrow != p.Total+l.Refund:
		return fmt.Errorf("%v were set aside, %v paid and %v given back", l.Escrow, p.Total, l.Refund)
	}
	return nil
}

// compare holds the sums against the ledger as every node shows it. The client
// pays the fee of each lease, and fees are burned.
func (s *sums) compare(all []api.Status) error {
	client := &all[len(all)-1]
	fees := s.leases * client.Network.MinFee
	var errs []error
	want := func(what string, got, want ledger.Amount) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s: %v atoms, the leases say %v", what, got, want))
		}
	}
	want("client", client.Balance, clientTokens-s.paid-fees)
	supply := &client.Ledger.Supply
	want("burned", supply.Burned, s.burned+fees)
	want("pots", supply.Pots, s.stakers)
	for i := range all[:len(all)-1] {
		want(providerName(i), all[i].Balance, s.served[all[i].Self])
		want("bond of "+providerName(i), all[i].Bond, localStake)
	}
	return errors.Join(errs...)
}

// scriptPicture wants a PNG of more than one colour.
func scriptPicture(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "picture FILE")
	f, err := os.Open(ts.MkAbs(args[0]))
	must(ts, err)
	defer f.Close()
	img, err := png.Decode(f)
	must(ts, err)
	b := img.Bounds()
	colours := map[any]bool{}
	for x := b.Min.X; x < b.Max.X; x++ {
		colours[img.At(x, b.Min.Y+b.Dy()/2)] = true
	}
	if b.Dx() < 16 || b.Dy() < 16 || len(colours) < 2 {
		ts.Fatalf("%v with %d colours in its middle row, want a picture", b, len(colours))
	}
}

// A process is one of pinfi.
type process struct {
	pid  int
	args []string
	cwd  string
}

// below reports whether a process works in a folder or was told its name.
func (p *process) below(dir string) bool {
	inside := func(path string) bool { return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator)) }
	return inside(p.cwd) || slices.ContainsFunc(p.args, inside)
}

// processes returns the processes of pinfi that are below a folder. Only Linux has
// a list of them; scripts that need it say so.
func processes(dir string) []process {
	entries, _ := os.ReadDir("/proc")
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		at := filepath.Join("/proc", e.Name())
		line, err := os.ReadFile(filepath.Join(at, "cmdline"))
		if err != nil || len(line) == 0 {
			continue // it has ended, or waits to be forgotten
		}
		p := process{pid: pid, args: strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")}
		p.cwd, _ = os.Readlink(filepath.Join(at, "cwd"))
		for i, arg := range p.args { // nodes of a relative folder
			if i > 0 && p.args[i-1] == "--data" && !filepath.IsAbs(arg) {
				p.args[i] = filepath.Join(p.cwd, arg)
			}
		}
		if filepath.Base(p.args[0]) == "pinfi" && p.below(dir) {
			out = append(out, p)
		}
	}
	return out
}

// killBelow ends whatever a script has left running.
func killBelow(dir string) {
	for _, p := range processes(dir) {
		_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may have ended by itself
	}
}

func signalOf(name string) syscall.Signal {
	return map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[name]
}

// scriptCrash kills the node of a folder with SIGKILL and waits until it is gone.
func scriptCrash(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "crash DIR")
	must(ts, crash(ts.MkAbs(args[0])))
}

func crash(dir string) error {
	killed := false
	for _, p := range processes(dir) {
		if slices.Contains(p.args, dir) && slices.Contains([]string{"provide", "light"}, p.args[1]) {
			killed = true
			if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
				return fmt.Errorf("kill %d: %w", p.pid, err)
			}
		}
	}
	if !killed {
		return fmt.Errorf("no node runs in %s", dir)
	}
	return gone(dir)
}

// scriptGone wants no process of pinfi below a folder, soon.
func scriptGone(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "gone DIR")
	must(ts, gone(ts.MkAbs(args[0])))
}

func gone(dir string) error {
	return until(patience/9, func() error {
		if left := processes(dir); len(left) > 0 {
			return fmt.Errorf("%d processes are left below %s, the first is %v", len(left), dir, left[0])
		}
		return nil
	})
}
