// Package node is the shell of a node: it hosts node/machine in real time over a
// real transport and a real disk.
//
// It decides nothing. It feeds the machine with what arrives, carries out the
// effects that the machine returns, in order, and tells whoever listens what the
// machine notes. Which transport, which folder and which identity a node has is
// said in Config; the command line opens them.
//
// The calls you need are New and Run. The invariants: one goroutine, the loop,
// touches the machine; a Save is on disk before any later effect of its step
// starts; and a node that cannot save stops.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/node/blob"
	"github.com/pinfi/pinfi/node/exec"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

// A Network is what a node needs of a transport: messages, and streams of bytes.
type Network interface {
	transport.Transport
	transport.Streams
}

// Config says what a node is.
type Config struct {
	Genesis  *machine.Genesis
	Identity *p2p.Identity
	Dir      string // where the node keeps its ledger, files and work; made when missing
	Join     func(transport.Handler) (Network, error)
	Sell     *machine.Sell // nil: a light node
	Timing   machine.Timing
	Child    []string // command that runs a job: the executable, then its arguments
	Log      *slog.Logger
	OnNote   func(machine.Note) // told of every fact, on the loop; must not block; may be nil
}

// A Node hosts one machine.
type Node struct {
	cfg     Config
	network p2p.Network
	machine *machine.Machine
	store   *store.Store
	blobs   *blob.Store
	runner  *exec.Runner
	net     Network
	prover  *prover
	verify  func([]p2p.Signed) []bool // of any goroutine

	inbox  chan machine.Event // from the network; full means dropped
	inner  chan machine.Event // from this node's own workers; never dropped
	asks   chan func(*machine.Machine)
	orders chan order

	jobs    map[ledger.OpID]context.CancelFunc // running jobs by lease; touched by the loop alone
	workers sync.WaitGroup
	counts  counters
}

// Queue sizes. The inbox drops what does not fit: the protocol repeats itself.
const (
	inboxSize = 4096
	innerSize = 256
)

// New opens a node's folder, restores its machine, and joins the network. The
// node does nothing until Run. It fails when the folder is in use, the store is
// corrupt, or the transport cannot be opened.
func New(cfg Config) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	n := &Node{
		cfg: cfg, network: cfg.Genesis.Network(),
		inbox: make(chan machine.Event, inboxSize), inner: make(chan machine.Event, innerSize),
		asks: make(chan func(*machine.Machine)), orders: make(chan order),
		jobs: make(map[ledger.OpID]context.CancelFunc),
	}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *Node) open() (err error) {
	if err := os.MkdirAll(n.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if n.store, err = store.Open(filepath.Join(n.cfg.Dir, "ledger"), n.network, n.cfg.Log); err != nil {
		return err
	}
	if n.blobs, err = blob.Open(filepath.Join(n.cfg.Dir, "blobs")); err != nil {
		return err
	}
	if n.runner, err = n.openRunner(); err != nil {
		return err
	}
	if n.prover, err = newProver(&n.cfg.Genesis.Proofs); err != nil {
		return err
	}
	saved, err := n.restore()
	if err != nil {
		return err
	}
	crypto := n.cfg.Identity.Crypto()
	n.verify = crypto.VerifyBatch
	n.machine, err = machine.New(machine.Config{
		Self: n.cfg.Identity.PeerID(), Genesis: n.cfg.Genesis, Crypto: crypto,
		Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), Sell: n.cfg.Sell, Timing: n.cfg.Timing,
	}, saved)
	if err != nil {
		return fmt.Errorf("restore %s: %w", n.cfg.Dir, err)
	}
	net, err := n.cfg.Join(n.handler())
	if err != nil {
		return err // and net may be a nil pointer in an interface
	}
	n.net = net
	n.net.HandleStream(n.network.Protocol(p2p.Blob), n.serveBlob)
	return nil
}

// restore returns the records of the node's former life.
func (n *Node) restore() (machine.Snapshot, error) {
	records, err := n.store.Load(context.Background())
	if err != nil {
		return nil, err
	}
	saved := make(machine.Snapshot, 0, len(records))
	for _, rec := range records {
		saved = append(saved, machine.Record{Kind: machine.RecordKind(rec.Kind), Key: rec.Key, Value: rec.Value})
	}
	return saved, nil
}

// handler is what the node tells its transport.
func (n *Node) handler() transport.Handler {
	topics := []p2p.Topic{
		n.network.Topic(p2p.Ops), n.network.Topic(p2p.Frames), n.network.Topic(p2p.Beats),
		n.network.Topic(p2p.Accusations),
	}
	for _, c := range n.cfg.Genesis.Market.Classes {
		topics = append(topics, n.network.Offers(string(c.Name), n.region()))
	}
	protocols := make([]p2p.Protocol, 0, 4)
	for _, name := range [...]string{p2p.Quote, p2p.Lease, p2p.Proof, p2p.Sync} {
		protocols = append(protocols, n.network.Protocol(name))
	}
	return transport.Handler{
		Topics: topics, Messages: protocols, Streams: []p2p.Protocol{n.network.Protocol(p2p.Blob)},
		Deliver: func(in transport.Inbound) bool {
			if in.Topic != "" {
				return n.offerEvent(machine.Gossiped{Data: in.Data})
			}
			return n.offerEvent(machine.Received{From: in.From, Data: in.Data})
		},
		Validate: func(topic p2p.Topic, data []byte) bool { return machine.Plausible(n.network, topic, data) },
		PeerUp:   func(id p2p.PeerID) { n.tell(machine.PeerUp{Peer: id}) },
		PeerDown: func(id p2p.PeerID) { n.tell(machine.PeerDown{Peer: id}) },
	}
}

// Region is the region in which nodes trade that name no other.
const Region = "local"

func (n *Node) region() string {
	if n.cfg.Sell != nil {
		return n.cfg.Sell.Region
	}
	return Region
}

// Self returns the node's id.
func (n *Node) Self() p2p.PeerID { return n.cfg.Identity.PeerID() }

// Net returns the node's transport.
func (n *Node) Net() Network { return n.net }

// Blobs returns the node's files.
func (n *Node) Blobs() *blob.Store { return n.blobs }

// Genesis returns the genesis of the node's network.
func (n *Node) Genesis() *machine.Genesis { return n.cfg.Genesis }

// Ask runs f on the loop, with the machine to itself. f must not keep what it is
// shown, and must not block.
func (n *Node) Ask(ctx context.Context, f func(*machine.Machine)) error {
	done := make(chan struct{})
	select {
	case n.asks <- func(m *machine.Machine) { f(m); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An order is what the user wants, on its way to the loop.
type order struct {
	event machine.Event
	taken chan<- struct{} // closed once the order is on disk
}

// Submit hands the machine a job and returns once the node will not forget it. The
// job's module and input must be among Blobs.
func (n *Node) Submit(ctx context.Context, j machine.Job) error {
	if err := j.Validate(&n.cfg.Genesis.Market); err != nil {
		return err
	}
	return n.order(ctx, machine.Submit{Job: j})
}

// Pay hands the machine an order to pay and returns once the node will not forget it,
// or has dropped it: Machine.CheckPay says why.
func (n *Node) Pay(ctx context.Context, p machine.Pay) error { return n.order(ctx, p) }

// order hands the machine an event and returns once its effects are carried out.
func (n *Node) order(ctx context.Context, ev machine.Event) error {
	taken := make(chan struct{})
	select {
	case n.orders <- order{event: ev, taken: taken}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-taken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run hosts the machine until ctx is done or the node cannot go on, then stops its
// jobs, leaves the network and closes the folder. It returns nil when ctx ended it.
func (n *Node) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(ctx)
	err := n.loop(work)
	cancel()
	closing := make(chan error, 1)
	go func() { closing <- n.leave() }()
	n.drain(closing)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return errors.Join(err, n.close())
}

// leave closes the transport and waits for all workers.
func (n *Node) leave() error {
	err := n.net.Close() // workers still call it, and are refused
	n.workers.Wait()
	return err
}

// drain throws away what workers still have to say, until they are gone.
func (n *Node) drain(closing <-chan error) {
	for {
		select {
		case <-n.inner:
		case f := <-n.asks:
			f(n.machine)
		case err := <-closing:
			if err != nil {
				n.cfg.Log.Warn("leave the network", "error", err)
			}
			return
		}
	}
}

// Close takes a node down that was never Run.
func (n *Node) Close() error { return n.close() }

func (n *Node) close() error {
	var errs []error
	if n.net != nil {
		errs = append(errs, n.net.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// offerEvent hands the loop what came from the network, if there is room.
func (n *Node) offerEvent(ev machine.Event) bool {
	select {
	case n.inbox <- ev:
		return true
	default:
		n.counts.dropped.Add(1)
		return false
	}
}

// tell hands the loop what happened on this node. It waits for room: such an event
// is told once.
func (n *Node) tell(ev machine.Event) { n.inner <- ev }

// loop is the only goroutine that touches the machine while the node runs.
func (n *Node) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var wake <-chan time.Time
		if next := n.machine.Deadline(); !next.IsZero() {
			timer.Reset(max(0, time.Until(next)))
			wake = timer.C
		}
		var ev machine.Event
		var o order
		select {
		case <-ctx.Done():
			return ctx.Err()
		case f := <-n.asks:
			f(n.machine)
			continue
		case <-wake:
			ev = machine.Tick{}
		case o = <-n.orders:
			ev = o.event
		case ev = <-n.inner:
		case ev = <-n.inbox:
		}
		if ctx.Err() != nil {
			return ctx.Err() // or a job that was killed just now would count as one that has ended
		}
		if done, ok := ev.(machine.JobDone); ok {
			delete(n.jobs, done.Lease)
		}
		n.counts.steps.Add(1)
		for _, fx := range n.machine.Step(time.Now(), ev) {
			if err := n.carryOut(ctx, fx); err != nil {
				return err
			}
		}
		if o.taken != nil {
			close(o.taken)
		}
	}
}
