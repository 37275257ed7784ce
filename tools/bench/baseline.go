package main

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	crdt "github.com/ipfs/go-ds-crdt"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfi/pinfi/p2p"
)

// The baseline is go-ds-crdt, which replicates keys and values between two
// replicas over gossipsub and bitswap. It signs and certifies nothing and here
// keeps everything in memory: it has less to do than a node of ours.

// crdtValue is the size of a value in bytes, about that of a transfer.
const crdtValue = 240

// A crdtReplica is one of the two.
type crdtReplica struct {
	host  host.Host
	swap  *bitswap.Bitswap
	store *crdt.Datastore
	got   atomic.Int64  // keys that it holds
	news  chan struct{} // got has changed
}

// sessions lets go-ds-crdt fetch several nodes of its graph in one session.
type sessions struct{ ipld.DAGService }

// Session implements crdt.SessionDAGService.
func (s sessions) Session(ctx context.Context) ipld.NodeGetter {
	return merkledag.NewSession(ctx, s.DAGService)
}

// newCRDTReplica starts one, with the library's own settings but for more workers.
func newCRDTReplica(ctx context.Context) (*crdtReplica, error) {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		return nil, fmt.Errorf("start a libp2p host: %w", err)
	}
	r := &crdtReplica{host: h, news: make(chan struct{}, 1)}
	gossip, err := pubsub.NewGossipSub(ctx, h)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), h.Close())
	}
	disk := dssync.MutexWrap(ds.NewMapDatastore())
	blocks := blockstore.NewBlockstore(disk)
	net := bsnet.NewFromIpfsHost(h)
	r.swap = bitswap.New(ctx, net, nil, blocks)
	net.Start(r.swap)
	dag := sessions{merkledag.NewDAGService(blockservice.New(blocks, r.swap))}
	o := crdt.DefaultOptions()
	o.RebroadcastInterval = 5 * time.Second
	o.NumWorkers = 16
	o.PutHook = func(ds.Key, []byte) {
		r.got.Add(1)
		select {
		case r.news <- struct{}{}:
		default: // somebody is told already
		}
	}
	cast, err := crdt.NewPubSubBroadcaster(ctx, gossip, "bench")
	if err == nil {
		r.store, err = crdt.New(disk, ds.NewKey("/crdt"), dag, cast, o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start go-ds-crdt: %w", err), r.swap.Close(), h.Close())
	}
	return r, nil
}

func (r *crdtReplica) close() error {
	return errors.Join(r.store.Close(), r.swap.Close(), r.host.Close())
}

// await waits until the replica holds so many keys.
func (r *crdtReplica) await(ctx context.Context, n int) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for r.got.Load() < int64(n) {
		timer.Reset(patience)
		select {
		case <-r.news:
		case <-timer.C:
			return fmt.Errorf("go-ds-crdt: %d of %d keys arrived, then none for %v", r.got.Load(), n, patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// put writes keys from..from+n-1, so many in a batch; in a batch of one by Put.
func (r *crdtReplica) put(ctx context.Context, from, n, batch int) error {
	value := make([]byte, crdtValue)
	for i := from; i < from+n; i += batch {
		if batch == 1 {
			if err := r.store.Put(ctx, crdtKey(i), value); err != nil {
				return fmt.Errorf("go-ds-crdt: put: %w", err)
			}
			continue
		}
		b, err := r.store.Batch(ctx)
		if err != nil {
			return fmt.Errorf("go-ds-crdt: begin a batch: %w", err)
		}
		for k := i; k < min(i+batch, from+n); k++ {
			if err := b.Put(ctx, crdtKey(k), value); err != nil {
				return fmt.Errorf("go-ds-crdt: put: %w", err)
			}
		}
		if err := b.Commit(ctx); err != nil {
			return fmt.Errorf("go-ds-crdt: commit: %w", err)
		}
	}
	return nil
}

// crdtKey returns a key as long as the name of an operation.
func crdtKey(i int) ds.Key {
	id := p2p.SumContent(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return ds.RawKey("/o/" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(id[:]))
}

// runCRDT puts keys into one replica and waits until the other holds them too.
func runCRDT(ctx context.Context, puts, batch int) (s sample, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var both []*crdtReplica
	defer func() {
		for _, r := range slices.Backward(both) {
			err = errors.Join(err, r.close())
		}
	}()
	for range 2 {
		r, err := newCRDTReplica(ctx)
		if err != nil {
			return sample{}, err
		}
		both = append(both, r)
	}
	a, b := both[0], both[1]
	if err := a.host.Connect(ctx, peer.AddrInfo{ID: b.host.ID(), Addrs: b.host.Addrs()}); err != nil {
		return sample{}, fmt.Errorf("connect: %w", err)
	}
	// One key first: subscriptions take a moment to be known, and go-ds-crdt says
	// every five seconds what it has.
	if err := errors.Join(a.put(ctx, -1, 1, 1), b.await(ctx, 1)); err != nil {
		return sample{}, err
	}
	return timed(func() (float64, error) {
		if err := a.put(ctx, 0, puts, batch); err != nil {
			return 0, err
		}
		return float64(puts), b.await(ctx, puts+1)
	})
}
