package replica

import "slices"

// Two certificates for one place need witnesses that voted for both, with more than a
// third of the stake. Who voted for both rivals is in conflict with itself: see dispute.
// But a vote for an operation is one for those before it, too: a witness may vote for
// one rival, and for what follows the other. An honest one does the same after it has
// seen that the other is certified. So one that cannot have seen it is guilty.

// suspect has the votes in a lane with two certificates looked at.
func (r *Replica) suspect(l *lane) {
	if !slices.Contains(r.suspects, l) {
		r.suspects = append(r.suspects, l)
	}
}

// question looks at what suspect has named, unless an operation with a certificate is
// missing, which may be what a witness went by.
func (r *Replica) question() {
	if len(r.suspects) == 0 {
		return
	}
	for _, e := range r.missing { // order-free: whether there is one
		if r.backed(e) {
			return
		}
	}
	for _, l := range r.suspects {
		r.guilt(l)
	}
	r.suspects = nil
}

// guilt accuses the witnesses that voted for what rests on an operation of a lane with two
// certificates that they neither voted for nor can have known to be certified. It is a function of the
// frames, and of the operations of the lane.
func (r *Replica) guilt(l *lane) {
	for _, p := range l.places {
		if p.seq <= l.doubled {
			continue
		}
		for _, e := range p.rivals {
			prev := r.entries[e.item.Op.Prev]
			if prev != nil && prev.item != nil && prev.at.lane == l && prev.at.seq+1 == e.at.seq {
				r.guiltOf(e, prev)
			}
		}
	}
}

// guiltOf is guilt for the votes for an operation that follows prev.
func (r *Replica) guiltOf(e, prev *entry) {
	hidden := r.hidden()
	only := r.votersOf(e)
	for w := range r.witnesses {
		both := r.votersOf(prev)
		if !only.has(uint16(w)) || both.has(uint16(w)) || hidden.has(uint16(w)) || len(r.witnesses[w].forks) > 0 {
			continue
		}
		l := r.firstVote(uint16(w), e)
		if l != nil && !r.knew(l, prev, hidden) {
			r.accuse(r.invalidVote(l, e))
		}
	}
}

// Withholding returns the witnesses that voted for a bundle that is not here. Who goes on
// for long has voted for what it does not serve, or made up, and hides what else it voted
// for; that is no proof of anything.
func (r *Replica) Withholding() []uint16 {
	set := r.withholding()
	var out []uint16
	for w := range uint16(len(r.witnesses)) {
		if set.has(w) {
			out = append(out, w)
		}
	}
	return out
}

// withholding is Withholding as a set.
func (r *Replica) withholding() (set voterSet) {
	for _, b := range r.absent { // order-free: a set
		set.join(b.tally.voters)
	}
	return set
}

// hidden returns the witnesses of whom it is not known what they have voted for, because
// they fork or a bundle is not here.
func (r *Replica) hidden() (set voterSet) {
	set = r.withholding()
	for w := range r.witnesses {
		if len(r.witnesses[w].forks) > 0 {
			set.add(uint16(w))
		}
	}
	return set
}

// firstVote returns the first frame of a witness that does not fork which votes for an
// operation.
func (r *Replica) firstVote(w uint16, e *entry) *link {
	at := r.votePlaces(e)[w]
	if at == 0 || int(at) > len(r.witnesses[w].chain) {
		return nil
	}
	return r.witnesses[w].chain[at-1][0]
}

// knew reports whether the witness of a frame can have known, when it made it, that an
// operation is certified: it had told of votes of a quorum for it, or for one that
// follows it. The votes of hidden witnesses count in any case.
func (r *Replica) knew(l *link, e *entry, hidden voterSet) bool {
	seen := make([]uint32, len(r.witnesses))
	seen[l.frame.Witness] = l.frame.Seq
	for at := l; at != nil; at = r.frames[at.frame.Prev] {
		for _, s := range at.frame.Seen {
			seen[s.Witness] = max(seen[s.Witness], s.Seq)
		}
	}
	for d := e; d != nil && d.certified; d = r.certifiedAfter(d) {
		set, places := hidden, r.votePlaces(d)
		for v, at := range places {
			if at > 0 && at <= seen[v] {
				set.add(uint16(v))
			}
		}
		if r.quorum(r.stakeOf(set)) {
			return true
		}
	}
	return r.quorum(r.stakeOf(hidden))
}
