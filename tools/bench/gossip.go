package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinfi/pinfi/ledger/store"
	"github.com/pinfi/pinfi/p2p/lp2p"
	"github.com/pinfi/pinfi/p2p/transport"
)

const (
	// window is how many messages, of up to 128 KiB, may be on their way. Gossip drops
	// without a word what does not fit its queues, and nothing repeats it here.
	window = 16
	// lull is how long a node without messages waits before it saves what it has.
	lull = 20 * time.Millisecond
	// patience is how long nothing may arrive before a run is given up.
	patience = 30 * time.Second
)

// errLost says that gossip lost a message, or that nobody applied it.
var errLost = errors.New("nothing arrived for too long: gossip has lost a message")

// A pair is two hosts that share this process and a connection.
type pair struct {
	from, to *lp2p.Host
	inbox    chan []byte // what the second host was sent
}

// runGossip has one node bundle and publish everything, and another take it over
// gossipsub, verify, certify, apply and save it.
func (b *bench) runGossip(ctx context.Context, w *workload, witnesses int) (s sample, err error) {
	w.vote(witnesses)
	disk, err := store.Open(b.folder(), network(), nil)
	if err != nil {
		return sample{}, err
	}
	n, err := newNode(w, witnesses, func(batch []store.Record) error { return disk.Write(ctx, batch) })
	if err != nil {
		return sample{}, errors.Join(err, disk.Close())
	}
	p, err := connect(ctx)
	if err != nil {
		return sample{}, errors.Join(err, disk.Close())
	}
	s, err = timed(func() (float64, error) { return p.carry(ctx, w, witnesses, n) })
	return s, errors.Join(err, p.from.Close(), p.to.Close(), disk.Close())
}

// connect starts two hosts and waits until what one publishes reaches the other.
func connect(ctx context.Context) (*pair, error) {
	p := &pair{inbox: make(chan []byte, 2*window)}
	handler := transport.Handler{Topics: topics(), Deliver: func(transport.Inbound) bool { return true }}
	host := func(i int, h transport.Handler) (*lp2p.Host, error) {
		return lp2p.New(ctx, lp2p.Config{
			Identity: identity("host", i), Network: network(), Handler: h,
			Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Seek: 1,
		})
	}
	var err error
	if p.from, err = host(0, handler); err != nil {
		return nil, err
	}
	handler.Deliver = func(in transport.Inbound) bool {
		select {
		case p.inbox <- in.Data:
			return true
		default:
			return false
		}
	}
	if p.to, err = host(1, handler); err != nil {
		return nil, errors.Join(err, p.from.Close())
	}
	if err = p.from.Connect(ctx, p.to.Addrs()[0]); err == nil {
		err = p.rehearse(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.from.Close(), p.to.Close())
	}
	return p, nil
}

// rehearse publishes on each topic until something arrives on it: subscriptions
// take a moment to be known.
func (p *pair) rehearse(ctx context.Context) error {
	again := time.NewTicker(lull)
	defer again.Stop()
	for _, t := range topics() {
		for try := byte(0); ; try++ {
			if err := p.from.Publish(ctx, t, probe(t, try)); err != nil {
				return err
			}
			select {
			case <-p.inbox:
			case <-ctx.Done():
				return ctx.Err()
			case <-again.C:
				continue
			}
			break
		}
	}
	// A second probe can be on its way: let it come before the first message does.
	for {
		select {
		case <-p.inbox:
		case <-again.C:
			return nil
		}
	}
}

// carry publishes all rounds and returns when the node has applied and saved them.
func (p *pair) carry(ctx context.Context, w *workload, witnesses int, n *node) (float64, error) {
	ctx, stop := context.WithCancel(ctx)
	room := make(chan struct{}, window)
	sent := make(chan error, 1)
	go func() { sent <- p.publish(ctx, w, witnesses, room) }()
	err := p.receive(ctx, n, w.ops(), roundOps/bundleOps+witnesses, room)
	stop()
	if e := <-sent; err == nil {
		err = e
	}
	return float64(n.applied), err
}

// publish sends each message when there is room for it.
func (p *pair) publish(ctx context.Context, w *workload, witnesses int, room chan<- struct{}) error {
	for round := range w.rounds {
		for _, m := range w.messages(round, witnesses) {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return fmt.Errorf("publish round %d: %w", round, ctx.Err())
			}
			if err := p.from.Publish(ctx, m.topic, m.data); err != nil {
				return err
			}
		}
	}
	return nil
}

// receive hands the node what arrives, until it has applied and saved so many
// operations. The node saves when it has so many records as a round makes, or when
// nothing comes for a while.
func (p *pair) receive(ctx context.Context, n *node, ops, round int, room <-chan struct{}) error {
	quiet := time.NewTimer(lull)
	defer quiet.Stop()
	last := time.Now()
	for n.applied < ops || len(n.records) > 0 {
		quiet.Reset(lull)
		select {
		case data := <-p.inbox:
			<-room
			last = time.Now()
			if err := n.take(data); err != nil {
				return err
			}
			if len(n.records) < round {
				continue
			}
		case <-quiet.C:
			if time.Since(last) > patience {
				return errLost
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := n.flush(); err != nil {
			return err
		}
	}
	return nil
}
