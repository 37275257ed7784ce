package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// Made tells the oracles of an operation that somebody signed and nobody published.
func (c *Checker) Made(op *ledger.Op) { c.opMade(-1, op) }

// evidence looks at what a replica holds against anybody, when that has grown.
func (c *Checker) evidence(node int, m *machine.Machine) {
	if m.Replica().EvidenceLen() == c.weighed[node] {
		return
	}
	c.weighed[node] = m.Replica().EvidenceLen()
	for _, ev := range m.Replica().Evidence() {
		if !c.cfg.Outlaw[ev.Account] {
			c.fault(Accused, node, "holds %v against %s, which is honest", ev.Offence, ev.Account.Short())
		}
		if ev.Offence == replica.DoubleCertificate {
			c.fault(Rivals, node, "%s lane %d number %d: two certificates", ev.Account.Short(), ev.Lane, ev.Seq)
		}
	}
}

// Ledger asks what must hold of the ledgers alone in the end, whatever hostile accounts
// and witnesses did, and returns what does not hold yet: all nodes are up, have one root
// and hold the same proofs of guilt; what owes an operation has got it; what was ever
// applied stays so; and of two certificates there is proof against more than a third of
// the stake. Nil stands for a node that is down; owed are operations of honest accounts.
func (c *Checker) Ledger(at time.Duration, nodes []*machine.Machine, owed []*ledger.Op) []Violation {
	c.at = at
	var open []Violation
	say := func(o Oracle, node int, format string, args ...any) {
		if !slices.Contains(c.cfg.Ignore, o) {
			open = append(open, Violation{Oracle: o, At: at, Node: node, Text: fmt.Sprintf(format, args...)})
		}
	}
	if i := slices.Index(nodes, nil); i >= 0 {
		say(Running, i, "the node is down")
		return open
	}
	first := nodes[0].Replica()
	root, proofs := first.State().Root(), c.guilt(first)
	for i, m := range nodes {
		if r := m.Replica().State().Root(); r != root {
			say(Agreement, i, "root %s, node 0 has %s", r.Short(), root.Short())
		}
		if mine := c.guilt(m.Replica()); !slices.Equal(mine, proofs) {
			say(Guilt, i, "holds %d proofs of guilt, node 0 holds %d, or others", len(mine), len(proofs))
		}
		c.kept(i, m, owed, say)
		c.named(i, m, say)
	}
	return open
}

// guilt returns the proofs that follow from frames and operations alone, whatever the
// order in which they came.
func (c *Checker) guilt(r *replica.Replica) []replica.OffenceID {
	var out []replica.OffenceID
	for _, ev := range r.Evidence() {
		if ev.Offence != replica.OpFork && ev.Offence != replica.InvalidVote {
			out = append(out, ev.ID())
		}
	}
	return out
}

// kept checks that a node has applied what honest accounts signed, and whatever any
// replica ever applied.
func (c *Checker) kept(node int, m *machine.Machine, owed []*ledger.Op, say complain) {
	for _, op := range owed {
		if id := op.ID(); !m.Replica().IsApplied(id) {
			say(Finished, node, "%v %s of %s lane %d number %d is not applied, certified %v",
				op.Kind, id.Short(), op.Account.Short(), op.Lane, op.Seq, m.Replica().Certified(id))
		}
	}
	for _, id := range c.ever {
		if !m.Replica().IsApplied(id) {
			say(Kept, node, "operation %s was applied by some replica, and is not here", id.Short())
		}
	}
}

// guiltyOf returns the stake of the witnesses that evidence names for two certificates.
// Those who hide behind a bundle that nobody can get count too: it is no proof, but
// everybody sees it.
func (c *Checker) guiltyOf(m *machine.Machine, double *replica.Evidence) (stake ledger.Amount) {
	witnesses := c.cfg.Genesis.Ledger.Witnesses
	guilty := make(map[p2p.PeerID]bool)
	for _, ev := range m.Replica().Evidence() {
		ofLane := ev.Owner == double.Account && ev.Lane == double.Lane
		if ev.Offence == replica.FrameFork ||
			ofLane && (ev.Offence == replica.VoteConflict || ev.Offence == replica.InvalidVote) {
			guilty[ev.Account] = true
		}
	}
	for _, w := range m.Replica().Withholding() {
		guilty[witnesses[w].Account] = true
	}
	for _, w := range witnesses {
		if guilty[w.Account] {
			stake += w.Stake
		}
	}
	return stake
}

// named checks that the guilty of every two certificates are known: the voters of both
// are more than a third of the stake.
func (c *Checker) named(node int, m *machine.Machine, say complain) {
	all := m.Replica().Evidence()
	for _, ev := range all {
		if ev.Offence != replica.DoubleCertificate {
			continue
		}
		stake := c.guiltyOf(m, &ev)
		if total := c.cfg.Genesis.Ledger.Stake(); 3*stake <= total {
			say(Guilt, node, "%s lane %d number %d has two certificates, evidence names %d of %d stake",
				ev.Account.Short(), ev.Lane, ev.Seq, stake, total)
		}
	}
}
