package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pinfi/pinfi/node"
	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p/transport"
)

// A member is a node of a network that this program has started.
type member struct {
	name   string
	dir    string
	client *api.Client
	stop   func()       // asks it to end
	ended  <-chan error // its end
}

// A launcher starts the nodes of a network on this machine: as processes, or all
// in this one.
type launcher struct {
	env       environment
	inProcess bool
	hub       *transport.Hub // in one process
	peers     []string       // addresses of the first node, for the others
	detach    bool           // processes outlive this one
}

// startTimeout is how long a node may take until its API answers.
const startTimeout = 30 * time.Second

// start starts a node whose folder holds its genesis and its identity, and waits
// until its API answers.
func (l *launcher) start(ctx context.Context, name, dir string, sell *machine.Sell) (*member, error) {
	m := &member{name: name, dir: dir}
	var err error
	if l.inProcess {
		err = l.startHere(m, sell)
	} else {
		err = l.startProcess(m, sell)
	}
	if err == nil {
		err = l.connect(ctx, m)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, m.end()))
	}
	l.learn(dir)
	return m, nil
}

// learn takes the addresses of a running node as those of the first peer of nodes
// that start later, unless there are some.
func (l *launcher) learn(dir string) {
	if len(l.peers) > 0 || l.inProcess {
		return
	}
	if b, err := os.ReadFile(filepath.Join(dir, addrsName)); err == nil { // it wrote them before it answered
		l.peers = strings.Fields(string(b))
	}
}

// startHere runs the node in this process, over a transport of memory.
func (l *launcher) startHere(m *member, sell *machine.Sell) error {
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	h, err := openHost(ctx, hostOptions{dir: m.dir, sell: sell, hub: l.hub}, log, cancel)
	if err != nil {
		cancel()
		return err
	}
	ended := make(chan error, 1)
	m.stop, m.ended = cancel, ended
	go func() { ended <- h.run(ctx) }()
	return nil
}

// startProcess runs the node as a process of its own, whose words go to a file in
// its folder.
func (l *launcher) startProcess(m *member, sell *machine.Sell) error {
	args := []string{"light"}
	if sell != nil {
		args = []string{
			"provide", "--class", string(sell.Class),
			"--units", fmt.Sprint(sell.Units), "--reserve", sell.Reserve.String(),
		}
	}
	args = append(args, "--data", m.dir, "--mdns=false",
		"--listen", "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1")
	for _, p := range l.peers {
		args = append(args, "--peer", p)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	words, err := os.OpenFile(filepath.Join(m.dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := osexec.Command(self, args...)
	cmd.Stderr = words
	cmd.SysProcAttr = processAttributes(l.detach)
	err = cmd.Start()
	_ = words.Close() // the process has its own
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	m.ended = ended
	m.stop = func() { _ = cmd.Process.Signal(syscall.SIGTERM) } // an error: it has ended
	go func() { ended <- cmd.Wait() }()
	return nil
}

// logName is the file of a started node's words.
const logName = "node.log"

// connect waits until the node's API answers, or the node ends.
func (l *launcher) connect(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := dialNode(m.dir); err == nil {
			if _, err := c.Status(ctx); err == nil {
				m.client = c
				return nil
			}
			c.Close()
		}
		select {
		case err := <-m.ended:
			m.ended = nil
			return fmt.Errorf("it ended at once (%w); its last words: %s", err, lastWords(m.dir))
		case <-ctx.Done():
			return fmt.Errorf("its API does not answer: %w; its last words: %s", ctx.Err(), lastWords(m.dir))
		case <-tick.C:
		}
	}
}

// end stops a node and waits for it.
func (m *member) end() error {
	if m.client != nil {
		m.client.Close()
	}
	if m.ended == nil {
		return nil
	}
	m.stop()
	select {
	case err := <-m.ended:
		m.ended = nil
		return err
	case <-time.After(startTimeout):
		return fmt.Errorf("%s does not stop", m.name)
	}
}

// lastWords returns the error with which a node ended, else the last line that it
// wrote.
func lastWords(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		return "none"
	}
	words := "\n" + strings.TrimSpace(string(b))
	last := strings.LastIndex(words, "\npinfi: ")
	if last < 0 {
		last = strings.LastIndex(words, "\n")
	}
	return words[last+1:]
}

// dialNode returns a client of the node whose folder is dir. It does not ask
// whether the node runs.
func dialNode(dir string) (*api.Client, error) {
	token, err := api.ReadToken(dir)
	if err != nil {
		return nil, err
	}
	return api.Dial(filepath.Join(dir, socketName), token)
}

// newSell returns what each provider of a local network sells.
func newSell() *machine.Sell {
	return &machine.Sell{Class: localClass, Region: node.Region, Units: localUnits}
}
