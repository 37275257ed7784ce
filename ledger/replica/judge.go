package replica

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// unjudgedMax bounds the frames that wait to be judged, because operations are
// missing.
const unjudgedMax = 4096

// judge looks at the votes of frames that came since the last call, and accuses the
// witnesses that voted for what nothing allowed.
//
// A frame is linked after all that its witness had seen, so this replica knows at
// least as much as the witness did. What was allowed then is allowed now, since no
// operation of another lane takes that away (see ledger.Contract), unless certified
// rivals have taken something back. So a vote for what is next in its lane and not
// allowed here was against the rules there, too. It must not look while operations
// are missing: they are part of what the witness may have known.
func (r *Replica) judge() {
	r.question()
	if len(r.missing) > 0 || len(r.absent) > 0 {
		if extra := len(r.unjudged) - unjudgedMax; extra > 0 {
			r.unjudged = slices.Delete(r.unjudged, 0, extra)
		}
		return
	}
	if len(r.unjudged) > 0 {
		r.judgings++
	}
	for _, l := range r.unjudged {
		if r.halted > 0 {
			break // what was applied once may not be now
		}
		for _, id := range l.frame.Votes {
			r.judgeVote(l, r.entries[id])
		}
		for i := range l.frame.Bundles {
			r.judgeBundle(l, &l.frame.Bundles[i])
		}
	}
	r.unjudged = nil
}

// judgeBundle is judgeVote for the operations that a vote for a bundle is for.
func (r *Replica) judgeBundle(l *link, v *BundleVote) {
	b := r.bundles[v.ID]
	if b.lawful {
		return
	}
	b.lawful = true
	for at, e := range b.ops {
		if _, out := slices.BinarySearch(v.Rejects, uint16(at)); !out {
			r.judgeVote(l, e)
		}
		b.lawful = b.lawful && (e.lawful || e.certified)
	}
}

// judgeVote accuses a witness if it had no right to vote for an operation.
func (r *Replica) judgeVote(l *link, e *entry) {
	w := l.frame.Witness
	if e.certified || e.lawful || r.allowed(w, e) {
		return
	}
	r.accuseVote(l, e)
}

// accuseVote accuses the witness of a frame of its vote for an operation.
func (r *Replica) accuseVote(l *link, e *entry) {
	key := e.at.lane.key
	r.accuse(Evidence{
		Offence: InvalidVote, Account: r.cfg.Genesis.Witnesses[l.frame.Witness].Account, Owner: key.account,
		Lane: key.lane, Seq: e.at.seq, First: l.id, Second: [32]byte(e.id),
	})
}

// allowed reports whether a witness may have had the right to vote for an operation
// that is not certified: it is next in its lane, or follows others that the witness
// voted for.
func (r *Replica) allowed(w uint16, e *entry) bool {
	l := e.at.lane
	if e.at.seq <= l.head { // a rival is applied: see VoteConflict
		return true
	}
	if e.at.seq == l.head+1 {
		if _, id := r.state.Head(l.key.account, l.key.lane); e.item.Op.Prev != id {
			return true // it rests on a rival of what is applied, and the vote may have come before that
		}
		e.lawful = r.state.CheckItem(e.item) == ledger.OK
		return e.lawful
	}
	prev := r.entries[e.item.Op.Prev]
	if prev == nil || prev.item == nil || prev.at.lane != l || prev.at.seq+1 != e.at.seq {
		return false
	}
	if voters := r.votersOf(prev); !prev.certified && !voters.has(w) {
		return false
	}
	return r.inRow(e)
}

// inRow reports whether an operation could be applied after those before it in its lane,
// of which none is applied; or rests on a rival of what is. What each leaves in the lane
// at least is kept, so that a long row is looked at once. More may have come since: a no
// counts only where all of it is of now.
func (r *Replica) inRow(e *entry) bool {
	now := r.judgings
	return r.fits(e, 1) || r.fits(e, now)
}

// fits is inRow by what is known since a call of judge.
func (r *Replica) fits(e *entry, since uint64) bool {
	now := r.judgings
	line, ok := r.upTo(e, since, now) // those whose place is not known, the last first
	for _, at := range slices.Backward(line) {
		if !ok {
			break
		}
		known := now // since when, all that it rests on included
		if at.at.seq <= at.at.lane.head+1 {
			l := at.at.lane
			if _, id := r.state.Head(l.key.account, l.key.lane); at.at.seq <= l.head || at.item.Op.Prev != id {
				return true
			}
			at.left, ok = r.state.Left(at.item)
		} else {
			last := r.entries[at.item.Op.Prev]
			var res ledger.Result
			at.left, res = r.state.Follow(last.item, at.item, last.left)
			ok, known = res == ledger.OK, last.rowed
		}
		at.rowed = 0
		if ok {
			at.rowed = known
		} else if since == now {
			at.unfit = now
		}
	}
	if !ok && since == now {
		e.unfit = now
	}
	return ok
}

// upTo returns the operations from e back to the first whose place in the row is known
// since a call of judge, or to the lane's head; false when there is no row.
func (r *Replica) upTo(e *entry, since, now uint64) (line []*entry, ok bool) {
	l := e.at.lane
	for at := e; at.rowed < since; {
		line = append(line, at)
		if at.at.seq <= l.head+1 {
			break
		}
		prev := r.entries[at.item.Op.Prev]
		if prev == nil || prev.item == nil || prev.at.lane != l || prev.at.seq+1 != at.at.seq || prev.unfit == now {
			return nil, false
		}
		at = prev
	}
	return line, true
}
