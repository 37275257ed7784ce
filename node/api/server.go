// Package api is the local control API of a running node, and the Go client for
// it: HTTP with JSON on a unix socket or on this machine's loopback. The command
// line uses nothing else.
//
// It decides nothing about markets and money: it shows what the machine knows,
// hands it orders, moves files in and out, and streams what the node notes. It is
// not for other machines.
//
// The calls you need are Listen and Server.Run in the process of the node, whose
// functions Config takes, and Dial in any other. The invariant: no request does
// anything, or learns anything, unless it names this machine as its host, comes
// from no foreign web page, and carries the token of the node's data folder.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// A Node is what the server needs of a node. Package node has it.
type Node interface {
	Self() p2p.PeerID
	Genesis() *machine.Genesis
	// Ask runs f with the machine to itself.
	Ask(ctx context.Context, f func(*machine.Machine)) error
	// Submit hands the machine a job. An error of another kind than the context's
	// says what is wrong with the job.
	Submit(ctx context.Context, j machine.Job) error
	// Pay hands the machine an order to pay, and returns once it is on disk, or dropped.
	Pay(ctx context.Context, p machine.Pay) error
}

// Files is what the server needs of a node's files. Package node/blob has it.
type Files interface {
	Put(ctx context.Context, r io.Reader, limit int64) (p2p.Digest, int64, error)
	Has(d p2p.Digest) bool
	// Verified opens a file all of whose bytes have been hashed.
	Verified(ctx context.Context, d p2p.Digest) (file *os.File, size int64, err error)
}

// Config says what a server shows, and where. Socket or TCP, Token, Node, Files,
// Manifest, Hub and Stop must be set.
type Config struct {
	Socket string // path of the unix socket; empty: none
	TCP    string // address on the loopback, 127.0.0.1:0 say; empty: none
	Token  Token

	Node     Node
	Files    Files
	Manifest func(ctx context.Context, d p2p.Digest) ([]File, error) // reads the manifest of an output
	Hub      *Hub                                                    // where the node's notes go
	Stop     func()                                                  // asks the process to end; must not block

	Sell    *machine.Sell   // what the node sells; nil: nothing
	Region  string          // where orders look that name no region
	Version string          // of the program
	Counts  func() Counts   // nil: all zero
	Peers   func() []Peer   // nil: the transport does not tell
	Addrs   func() []string // nil: the transport does not tell
	Log     *slog.Logger    // nil discards

	Limits Limits
}

// Limits bound what clients can make the server hold. Every zero field means its
// default.
type Limits struct {
	Blob        int64 // bytes of a file; 1 GiB. Smaller: large inputs are refused. Larger: one upload may fill the disk.
	Subscribers int   // streams of events at once; 32
	Backlog     int   // events that wait for one subscriber before it is cut off; 1024

	Answer time.Duration // for the node to answer; 10 s. Shorter: a busy node seems to be gone.
}

func (l Limits) withDefaults() Limits {
	if l.Blob == 0 {
		l.Blob = 1 << 30
	}
	if l.Subscribers == 0 {
		l.Subscribers = 32
	}
	if l.Backlog == 0 {
		l.Backlog = 1024
	}
	if l.Answer == 0 {
		l.Answer = 10 * time.Second
	}
	return l
}

func (c *Config) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("api config: %s is not set", what))
		}
	}
	need(c.Socket != "" || c.TCP != "", "neither Socket nor TCP")
	need(c.Node != nil, "Node")
	need(c.Files != nil, "Files")
	need(c.Manifest != nil, "Manifest")
	need(c.Hub != nil, "Hub")
	need(c.Stop != nil, "Stop")
	if err := c.Token.validate(); err != nil {
		errs = append(errs, fmt.Errorf("api config: %w", err))
	}
	if l := c.Limits; l.Blob < 0 || l.Subscribers < 0 || l.Backlog < 0 || l.Answer < 0 {
		errs = append(errs, fmt.Errorf("api config: limits %+v: none may be negative", l))
	}
	return errors.Join(errs...)
}

// Times that the server allows. A stream of events has no end of its own.
const (
	headerTimeout = 5 * time.Second  // for the head of a request
	moveTimeout   = 30 * time.Second // for the next bytes of a body, in either direction
	idleTimeout   = time.Minute      // between two requests on one connection
	stopTimeout   = 5 * time.Second  // for requests under way when the server ends
	headerMax     = 16 << 10         // bytes in the head of a request
)

// A Server serves the API of one node.
type Server struct {
	cfg       Config
	mux       *http.ServeMux
	openapi   []byte
	listeners []net.Listener
	tcp       string // the address that is listened on
	requests  requests

	// asking ends with the server: the node may be gone by then, and nobody must
	// wait for its answer.
	asking     context.Context
	stopAsking context.CancelFunc
}

// Listen opens the socket and the port. Nothing is answered before Run. The error
// wraps ErrInUse when a live process has one of them, ErrUnsafe when others could
// reach it.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Counts == nil {
		cfg.Counts = func() Counts { return Counts{} }
	}
	if cfg.Peers == nil {
		cfg.Peers = func() []Peer { return nil }
	}
	if cfg.Addrs == nil {
		cfg.Addrs = func() []string { return nil }
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.asking, s.stopAsking = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.routes(); err != nil {
		return nil, err
	}
	if cfg.Socket != "" {
		l, err := listenUnix(ctx, cfg.Socket)
		if err != nil {
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	if cfg.TCP != "" {
		l, err := listenTCP(ctx, cfg.TCP)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.listeners = append(s.listeners, l)
		s.tcp = l.Addr().String()
	}
	return s, nil
}

// TCP returns the address of the loopback on which the server listens, or "".
func (s *Server) TCP() string { return s.tcp }

// Close gives up a server that was never run.
func (s *Server) Close() error {
	s.stopAsking()
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Run answers requests until ctx is done, gives those under way a few seconds to
// end, and returns when all have. It returns nil when ctx ended it. Call it once.
func (s *Server) Run(ctx context.Context) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           s.guard(http.HandlerFunc(s.route)),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerMax,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(s.listeners))
	var serving sync.WaitGroup
	for _, l := range s.listeners {
		serving.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("api on %s: %w", l.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.stopAsking()
	grace, done := context.WithTimeout(base, stopTimeout)
	defer done()
	if late := srv.Shutdown(grace); late != nil {
		s.cfg.Log.Debug("api requests broken off", "error", late)
	}
	cancel()
	err = errors.Join(err, srv.Close())
	serving.Wait()
	s.requests.close()
	return err
}

// requests counts the requests under way, so that Run can wait for them even when
// it broke their connections.
type requests struct {
	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup
}

// enter counts a request until leave. It reports false when the server has ended.
func (r *requests) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.wait.Add(1)
	return true
}

func (r *requests) leave() { r.wait.Done() }

// close keeps new requests out and waits for those under way.
func (r *requests) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wait.Wait()
}

// ask runs f with the machine to itself. When it returns an error f may still
// run, so what f writes must not be looked at.
func (s *Server) ask(ctx context.Context, f func(*machine.Machine)) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Answer)
	defer cancel()
	defer context.AfterFunc(s.asking, cancel)()
	if err := s.cfg.Node.Ask(ctx, f); err != nil {
		return problem(http.StatusServiceUnavailable, CodeUnavailable,
			"the node does not answer: %v; it is starting, stopping or overloaded", err)
	}
	return nil
}

// role says what the node does for others.
func (s *Server) role() Role {
	_, witness := s.cfg.Node.Genesis().Ledger.WitnessOf(s.cfg.Node.Self())
	if s.cfg.Sell != nil || witness {
		return RoleFull
	}
	return RoleLight
}
