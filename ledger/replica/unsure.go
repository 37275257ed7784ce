package replica

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// What a witness may have known, and this replica does not, is what the witness held. Of
// that only certified operations change what it may vote for, and its own votes. All votes
// that the witness had counted are counted here, but not what those for absent bundles are
// for. So an operation that was certified there and is not here is
//
//   - missing, and has a quorum, or one that follows it is certified here;
//   - or it has a quorum together with all that voted for absent bundles.
//
// As long as there is no such operation, what is missing and absent was of no account: any
// witness may vote for what does not exist, and nobody waits for it.

// unsureShare is how many operations and bundles a call of judge may look at to find out
// whether there is doubt, one call with another.
const unsureShare = 64

// unsure reports whether an operation may have been certified at some witness and is not
// here. It says so, too, when it is too early to look again: to look takes a look at all
// that is missing.
func (r *Replica) unsure() bool {
	switch {
	case !r.lacksAny():
		r.withheld = voterSet{}
		return false
	case r.sure == r.judgings:
		return false
	case r.judgings < r.lookAgain:
		return true
	}
	if r.look(r.withholding(), r.votersOf) {
		return true
	}
	r.sure = r.judgings
	return false
}

// lacksAny reports whether anything that was voted for is not here.
func (r *Replica) lacksAny() bool { return len(r.missing)+len(r.absent) > 0 }

// unsureOf is unsure of what had been certified at the witnesses of some votes when they
// gave them: what came since is of no account, so that what is on its way now keeps nobody
// from judging what is old.
func (r *Replica) unsureOf(votes []charge) bool {
	seen := make([]uint32, len(r.witnesses))
	var last *link
	frames := uint64(0)
	for _, c := range votes {
		if c.l != last {
			last = c.l
			r.seenAt(last, seen)
			frames++
		}
	}
	defer func() { r.lookAgain += frames * seenEvery / unsureShare }()
	in := func(v int, at uint32) bool { // a vote that the tally has at a place; or an earlier one
		w := &r.witnesses[v]
		return at <= seen[v] || len(w.forks) > 0 || len(w.again) > 0
	}
	var hiding voterSet
	for _, b := range r.absent { // order-free: a set
		for v, at := range b.tally.at {
			if b.tally.voters.has(uint16(v)) && in(v, at) {
				hiding.add(uint16(v))
			}
		}
	}
	return r.look(hiding, func(e *entry) voterSet {
		voters := r.votersOf(e)
		if !r.quorumWith(voters, hiding) {
			return voters
		}
		for v, at := range r.votePlaces(e) {
			if !in(v, at) {
				voters.remove(uint16(v))
			}
		}
		return voters
	})
}

// seenAt puts, by witness, the last place of its chain that a frame's chain has told of,
// where it is after what is there.
func (r *Replica) seenAt(l *link, seen []uint32) {
	tell := func(w uint16, seq uint32) { seen[w] = max(seen[w], seq) }
	tell(l.frame.Witness, l.frame.Seq)
	for _, h := range l.written() {
		tell(h.frame.Witness, h.frame.Seq)
	}
	for at := l; at != nil && at.seen == nil; at = at.up {
		for _, s := range at.frame.Seen {
			tell(s.Witness, s.Seq)
		}
	}
}

// quorumWith reports whether the witnesses of two sets have a quorum.
func (r *Replica) quorumWith(set, other voterSet) bool {
	set.join(other)
	return r.quorum(r.stakeOf(set))
}

// look is unsure by a look, given who hides something, and who voted for an operation. The
// operation whose vote is judged is among those it looks at: it finds doubt where those who
// hide something are a quorum.
func (r *Replica) look(hiding voterSet, voters func(*entry) voterSet) (found bool) {
	r.withheld = r.withholding()
	for _, e := range r.missing { // order-free: whether there is one
		found = found || e.needed || r.quorumWith(voters(e), hiding)
	}
	n := len(r.missing) + len(r.absent)
	open := func(e *entry) bool { return !e.certified && e.item != nil && r.quorumWith(voters(e), hiding) }
	for _, b := range r.polled.list {
		if found || hiding == (voterSet{}) {
			break
		}
		n += 1 + len(b.exact)
		if r.quorumWith(b.tally.voters, hiding) {
			n += len(b.ops)
			found = slices.ContainsFunc(b.ops, open)
		} else {
			found = slices.ContainsFunc(b.exact, open)
		}
	}
	if !found && hiding != (voterSet{}) {
		n += len(r.polledOne.list)
		found = slices.ContainsFunc(r.polledOne.list, open)
	}
	r.lookAgain = r.judgings + uint64(n)/unsureShare
	if found {
		r.lookAgain++
	}
	return found
}

// A poll lists what was voted for and may not be certified yet.
type poll[K any] struct {
	list []K
	full int // how long it is when what is certified goes
}

// add adds to a poll.
func (p *poll[K]) add(k K, done func(K) bool) {
	if len(p.list) >= p.full {
		p.list = slices.DeleteFunc(p.list, done)
		p.full = 2*len(p.list) + 64
	}
	p.list = append(p.list, k)
}

// certain reports whether an operation is certified.
func (e *entry) certain() bool { return e.certified }

// settled reports whether all operations of a held bundle are certified.
func (r *Replica) settled(b *bundle) bool {
	if r.quorum(b.tally.stake) && len(b.exact) == 0 {
		return true
	}
	return !slices.ContainsFunc(b.ops, func(e *entry) bool { return !e.certified })
}

// excused says what a witness may have gone by, beside certificates, when it voted for what
// is not allowed: that an operation in the lane is one of an absent bundle that it voted
// for, or that it voted for one that is not here, whose id is returned. What is next in its
// lane needs nothing of the kind.
func (r *Replica) excused(w uint16, e *entry) (lost ledger.OpID, hides bool) {
	if e.at.seq <= e.at.lane.head+1 {
		return lost, false
	}
	prev := r.entries[e.item.Op.Prev]
	if prev != nil && prev.item != nil {
		if prev.at.lane != e.at.lane || prev.at.seq+1 != e.at.seq {
			return lost, false
		}
		voters := r.votersOf(prev)
		if !prev.certified && !voters.has(w) && !r.withheld.has(w) {
			return lost, false
		}
		if r.inRow(e) {
			return lost, true
		}
	}
	lost = r.gap(e)
	if lost == (ledger.OpID{}) || r.withheld.has(w) {
		return lost, false
	}
	if m := r.entries[lost]; m == nil || m.single == nil || !m.single.voters.has(w) {
		return ledger.OpID{}, false
	}
	return lost, false
}

// gap returns the id of the last operation that is not here and that a held one follows in
// its lane, not necessarily at once; zero when none is lost. Each is looked at once in a
// call of judge.
func (r *Replica) gap(e *entry) (lost ledger.OpID) {
	if r.gapsOf != r.judgings {
		r.gapsOf = r.judgings
		clear(r.gaps)
	}
	var line []*entry
	for at := e; at.at.seq > at.at.lane.head+1; {
		if known, ok := r.gaps[at]; ok {
			lost = known
			break
		}
		line = append(line, at)
		prev := r.entries[at.item.Op.Prev]
		if prev == nil || prev.item == nil {
			lost = at.item.Op.Prev
			break
		}
		if prev.at.lane != at.at.lane || prev.at.seq+1 != at.at.seq {
			break
		}
		at = prev
	}
	for _, at := range line {
		r.gaps[at] = lost
	}
	return lost
}

// heard takes note that an operation has come that was voted for, or rested on.
func (r *Replica) heard(e *entry) {
	if e.single != nil {
		r.came = append(r.came, e)
	}
	if len(r.restOn) > 0 {
		r.charges = append(r.charges, r.restOn[e.id]...)
		delete(r.restOn, e.id)
	}
}

// heardAll takes note that a bundle has come that was voted for.
func (r *Replica) heardAll(b *bundle) {
	r.cameIn = append(r.cameIn, b)
	for w := range r.witnesses {
		if at := &r.witnesses[w]; b.tally.voters.has(uint16(w)) && len(at.behind) > 0 {
			r.charges = append(r.charges, at.behind...)
			at.behind = nil
		}
	}
}
