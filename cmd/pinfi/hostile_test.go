//go:build unix

package main

import (
	"context"
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A hostile witness has a key with stake and money, and no node: the test speaks for
// it. It tells each half of its peers another story.
type hostile struct {
	*stranger
	topics map[p2p.Topic]*pubsub.Topic
	id     *p2p.Identity
	g      *machine.Genesis
	place  uint16 // among the witnesses
	tips   [2]*replica.Frame
	owns   [2]*ledger.Op // last operation of its account in each story
	rounds int
}

func newHostile(t *testing.T, g *machine.Genesis, id *p2p.Identity, dirs ...string) *hostile {
	t.Helper()
	h := &hostile{id: id, g: g}
	for i, w := range g.Ledger.Witnesses {
		if w.Account == id.PeerID() {
			h.place = uint16(i)
		}
	}
	h.stranger, h.topics = newStrangerAs(t, id, dirs...)
	return h
}

// run does harm until the context is done.
func (h *hostile) run(ctx context.Context, dirs []string) {
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		h.round()
		if h.rounds%8 == 1 {
			h.reach(ctx, dirs)
			h.gossip(h.topics)
			h.oversize()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// reach connects with nodes that have started again since.
func (h *hostile) reach(ctx context.Context, dirs []string) {
	for _, dir := range dirs {
		if st, err := statusOf(ctx, dir); err == nil && len(st.Listen) > 0 { // else it is dead just now
			if info, err := peer.AddrInfoFromString(st.Listen[0]); err == nil {
				_ = h.host.Connect(ctx, *info) // nor need it want to
			}
		}
	}
}

// round pays the same money twice, votes for both, and tells each half of the peers
// one side of a frame that forks.
func (h *hostile) round() {
	h.rounds++
	for side := range h.tips {
		op := h.pay(side)
		votes := []ledger.OpID{op.ID()}
		if h.rounds%4 == 0 { // for both rivals in one frame, and for what nobody has
			votes = append(votes, h.owns[1-side].ID(), ledger.OpID(h.noise(32)))
		}
		f := h.frame(side, votes)
		h.tips[side], h.owns[side] = f, op
		items := framed(wire.Seal(wire.KindItems, func(w *wire.Writer) {
			w.Count(1)
			w.Blob(op.Encode())
			w.Count(0)
			w.Count(1)
			w.Blob(f.Encode())
		}))
		for i, p := range h.host.Network().Peers() {
			if i%len(h.tips) == side {
				h.write(p, protocol.ID(h.net.Protocol(p2p.Sync)), items)
			}
		}
	}
	if h.rounds%4 == 0 { // and both sides to everybody
		for _, f := range h.tips {
			_ = h.topics[h.net.Topic(p2p.Frames)].Publish(h.t.Context(),
				wire.Seal(wire.KindFrame, func(w *wire.Writer) { w.Fixed(f.Encode()) }))
		}
	}
}

// pay returns the next operation of one story: every side has one for each place.
func (h *hostile) pay(side int) *ledger.Op {
	op := &ledger.Op{
		Chain: ledger.ChainOf(h.net), Kind: ledger.KindTransfer, Account: h.id.PeerID(), Seq: 1,
		Fee:  h.g.Ledger.MinFee,
		Body: ledger.Transfer{To: p2p.PeerID{byte(side + 1)}, Amount: 1}.Encode(),
	}
	if last := h.owns[side]; last != nil {
		op.Seq, op.Prev = last.Seq+1, last.ID()
	}
	op.Sig = h.id.Sign(op.SigningDigest())
	return op
}

// frame returns the next frame of one story.
func (h *hostile) frame(side int, votes []ledger.OpID) *replica.Frame {
	f := &replica.Frame{
		Chain: ledger.ChainOf(h.net), Witness: h.place, Seq: 1, Slot: h.g.SlotAt(time.Now()), Votes: sorted(votes),
	}
	if last := h.tips[side]; last != nil {
		f.Seq, f.Prev, f.Slot = last.Seq+1, last.ID(), max(f.Slot, last.Slot)
	}
	f.Sig = h.id.Sign(f.SigningDigest())
	return f
}

// oversize gossips bundles and frames that are larger than they may be.
func (h *hostile) oversize() {
	op := h.pay(0).Encode()
	for _, n := range []int{replica.MaxBundleOps + 1, 1<<16 - 1} {
		_ = h.topics[h.net.Topic(p2p.Ops)].Publish(h.t.Context(), wire.Seal(wire.KindBundle, func(w *wire.Writer) {
			w.U16(uint16(n))
			for range min(n, replica.MaxBundleOps+1) {
				w.Blob(op)
			}
		}))
	}
	_ = h.topics[h.net.Topic(p2p.Frames)].Publish(h.t.Context(), wire.Seal(wire.KindFrame, func(w *wire.Writer) {
		w.Fixed(h.noise(replica.MaxFrame + 1))
	}))
}

// sorted returns ids as a frame wants them.
func sorted(ids []ledger.OpID) []ledger.OpID {
	slices.SortFunc(ids, ledger.OpID.Compare)
	return slices.Compact(ids)
}
