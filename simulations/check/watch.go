package check

import (
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// watched is what the oracles remember of the effects that were carried out.
type watched struct {
	read      map[p2p.Digest]bool     // published messages that were read already
	made      map[place][]ledger.OpID // operations that were published
	honest    map[ledger.OpID]bool    // of them, those that an honest node published
	contested []place                 // places with two of them, in the order found
	frames    map[numbered]p2p.Digest // frames that were published
	votes     map[vote]ledger.OpID    // what each witness voted for in each place
	slots     map[ledger.OpID]place   // where an operation stands
	bundles   map[replica.BundleID][]ledger.OpID
	blind     []blindVote            // votes for operations that were not published yet
	promised  map[ledger.OpID]uint64 // seconds of the largest voucher that was sent, by lease
	facts     map[machine.Fact]int   // notes, counted
}

// A numbered is one frame's place in the row of its witness.
type numbered struct {
	witness uint16
	seq     uint32
}

// A vote is a witness's say about a place.
type vote struct {
	witness uint16
	at      place
}

type blindVote struct {
	node    int
	witness uint16
	id      ledger.OpID
}

func newWatched() watched {
	return watched{
		read:     make(map[p2p.Digest]bool),
		made:     make(map[place][]ledger.OpID),
		honest:   make(map[ledger.OpID]bool),
		frames:   make(map[numbered]p2p.Digest),
		votes:    make(map[vote]ledger.OpID),
		slots:    make(map[ledger.OpID]place),
		bundles:  make(map[replica.BundleID][]ledger.OpID),
		promised: make(map[ledger.OpID]uint64),
		facts:    make(map[machine.Fact]int),
	}
}

// Facts returns how many notes of a fact were seen.
func (c *Checker) Facts(f machine.Fact) int { return c.watched.facts[f] }

// Watch sees the effects of one step of a node that were carried out.
func (c *Checker) Watch(at time.Duration, node int, fx []machine.Effect) {
	c.at = at
	for _, f := range fx {
		switch f := f.(type) {
		case machine.Publish:
			c.published(node, f.Data)
		case machine.Send:
			c.sent(f.Data)
		case machine.Note:
			c.noted(node, f)
		case machine.Save, machine.RunJob, machine.StopJob, machine.Fetch, machine.Prove, machine.Open, machine.Check,
			machine.Verify:
			// says nothing to others
		}
	}
}

// published reads operations, bundles and frames, each once however often it is repeated.
func (c *Checker) published(node int, data []byte) {
	kind, r, err := wire.Open(data)
	if err != nil {
		return
	}
	sum := p2p.SumContent(data)
	if c.watched.read[sum] {
		return
	}
	c.watched.read[sum] = true
	body := r.Fixed(r.Rest())
	switch kind {
	case wire.KindOp:
		if op, err := ledger.DecodeOp(body); err == nil {
			c.opMade(node, op)
		}
	case wire.KindBundle:
		if b, err := replica.DecodeBundle(body); err == nil {
			c.bundleMade(node, b)
		}
	case wire.KindFrame:
		if f, err := replica.DecodeFrame(body); err == nil {
			c.frameMade(node, f)
		}
	default: // says nothing for the ledger
	}
}

func (c *Checker) honest(node int) bool { return node >= 0 && !c.cfg.Outlaw[c.cfg.Nodes[node]] }

func (c *Checker) opMade(node int, op *ledger.Op) {
	w := &c.watched
	id, at := op.ID(), place{op.Account, op.Lane, op.Seq}
	if c.honest(node) {
		w.honest[id] = true
	}
	if slices.Contains(w.made[at], id) {
		return
	}
	w.made[at] = append(w.made[at], id)
	w.slots[id] = at
	if n := len(w.made[at]); n > 1 {
		if n == 2 {
			w.contested = append(w.contested, at)
		}
		other := func(o ledger.OpID) bool { return o != id && w.honest[o] } // the rest may be forged
		if c.honest(node) && slices.ContainsFunc(w.made[at], other) {
			c.fault(Memory, node, "two operations in lane %d at %d", at.lane, at.seq)
		}
	}
	late := slices.DeleteFunc(slices.Clone(w.blind), func(b blindVote) bool { return b.id != id })
	w.blind = slices.DeleteFunc(w.blind, func(b blindVote) bool { return b.id == id })
	for _, b := range late {
		c.voted(b.node, b.witness, id)
	}
}

func (c *Checker) bundleMade(node int, b *replica.Bundle) {
	ids := make([]ledger.OpID, len(b.Ops))
	for i, op := range b.Ops {
		c.opMade(node, op)
		ids[i] = op.ID()
	}
	c.watched.bundles[b.ID()] = ids
}

// frameMade takes a frame that its own witness published: what others show of it may be
// forged.
func (c *Checker) frameMade(node int, f *replica.Frame) {
	w := &c.watched
	if by, ok := c.cfg.Genesis.Ledger.WitnessOf(c.cfg.Nodes[node]); !ok || by != f.Witness {
		return
	}
	id, at := f.ID(), numbered{f.Witness, f.Seq}
	if before, ok := w.frames[at]; ok && before != id && c.honest(node) {
		c.fault(Memory, node, "two frames with number %d", f.Seq)
	}
	w.frames[at] = id
	for _, vote := range f.Votes {
		c.voted(node, f.Witness, vote)
	}
	for _, vote := range f.Bundles { // whoever votes for a bundle has heard it, and so have we
		for at, id := range w.bundles[vote.ID] {
			if _, out := slices.BinarySearch(vote.Rejects, uint16(at)); !out {
				c.voted(node, f.Witness, id)
			}
		}
	}
}

// voted remembers a vote. A vote may be seen before the operation, when the
// operation's author crashed before it was published and handed it out later.
func (c *Checker) voted(node int, witness uint16, id ledger.OpID) {
	w := &c.watched
	at, ok := w.slots[id]
	if !ok {
		w.blind = append(w.blind, blindVote{node, witness, id})
		return
	}
	v := vote{witness, at}
	if before, ok := w.votes[v]; ok && before != id && c.honest(node) {
		c.fault(Memory, node, "votes for two operations of %s in lane %d at %d", at.account.Short(), at.lane, at.seq)
	}
	w.votes[v] = id
}

// sent reads vouchers: what a client has promised.
func (c *Checker) sent(data []byte) {
	kind, r, err := wire.Open(data)
	if err != nil || kind != wire.KindPay {
		return
	}
	if v := market.TakeVoucher(r); r.Close() == nil {
		c.watched.promised[v.Lease] = max(c.watched.promised[v.Lease], v.Used)
	}
}

// noted listens to what honest nodes say.
func (c *Checker) noted(node int, n machine.Note) {
	if !c.honest(node) {
		return
	}
	c.watched.facts[n.Fact]++
	switch n.Fact {
	case machine.FactEvidence:
		if !c.cfg.Outlaw[n.Peer] {
			c.fault(Accused, node, "has evidence against %s: %s", n.Peer.Short(), n.Text)
		}
	case machine.FactMismatch:
		if !c.cfg.Outlaw[n.Peer] && len(c.cfg.Outlaw) == 0 {
			c.fault(Outputs, node, "job %s task %d: two runs gave two outputs", n.Job.Short(), n.Task)
		}
	default: // counted
	}
}
