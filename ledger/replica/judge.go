package replica

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// unjudgedMax bounds the votes of one witness that wait to be judged; what is over is not.
const unjudgedMax = 16384

// judgeMax bounds the votes that waited and are looked at again in one call.
const judgeMax = 256

// A charge is a vote that nothing here allows, and that waits to be judged.
type charge struct {
	l *link
	e *entry
}

// judge looks at the votes that came since the last call, and at those for what came
// since, and accuses the witnesses that voted for what nothing allowed.
//
// A frame is linked after all that its witness had seen, so this replica has counted all
// votes that the witness had. What was allowed then is allowed now, since no
// operation of another lane takes that away (see ledger.Contract), unless certified
// rivals have taken something back. So a vote for what is next in its lane and not
// allowed here was against the rules there, too; unless the witness held operations that
// are not here, and went by them. See unsure and excused.
func (r *Replica) judge() {
	r.question()
	if r.halted > 0 { // what was applied once may not be now
		r.unjudged, r.came, r.cameIn, r.charges = nil, nil, nil, nil
		return
	}
	if len(r.unjudged)+len(r.came)+len(r.cameIn)+len(r.charges) == 0 {
		return
	}
	r.judgings++
	r.judgeCharges()
	for _, e := range r.came {
		r.eachVote(e.single, ballot{id: e.id}, func(l *link) { r.judgeVote(l, e) })
	}
	for _, b := range r.cameIn {
		on := ballot{id: b.id, bundle: true}
		r.eachVote(&b.tally, on, func(l *link) {
			at := slices.IndexFunc(l.frame.Bundles, func(v BundleVote) bool { return v.ID == b.id })
			r.judgeBundle(l, b, l.frame.Bundles[at].Rejects)
		})
	}
	for _, l := range r.unjudged {
		r.judgeFrame(l)
	}
	r.unjudged, r.came, r.cameIn = r.unjudged[:0], r.came[:0], r.cameIn[:0]
}

// judgeCharges judges votes that have waited, a number of them or those of one frame in
// turn, by what their witnesses knew then.
func (r *Replica) judgeCharges() {
	n := min(judgeMax, len(r.charges))
	switch {
	case n == 0 || r.lacksAny() && r.judgings < r.lookAgain:
		return
	case r.lacksAny():
		if r.narrow {
			first := r.charges[0].l
			for n = 1; n < len(r.charges) && r.charges[n].l == first; {
				n++
			}
		}
		r.narrow = !r.narrow
		if r.unsureOf(r.charges[:n]) {
			if !r.narrow {
				r.charges = append(r.charges[n:], r.charges[:n]...)
			}
			return
		}
	default:
		r.withheld = voterSet{}
	}
	again := r.charges[:n]
	r.charges = r.charges[n:]
	for _, c := range again {
		r.witnesses[c.l.frame.Witness].charged--
		if !c.e.certified && !c.e.lawful && !r.allowed(c.l.frame.Witness, c.e) {
			r.verdict(c.l, c.e)
		}
	}
}

// eachVote calls a function for the frames that vote for something, but for those that say
// what one before them in their chain says.
func (r *Replica) eachVote(t *tally, b ballot, call func(*link)) {
	for i := range r.witnesses {
		w := &r.witnesses[i]
		if !t.voters.has(uint16(i)) {
			continue
		}
		for _, l := range w.chain[t.at[i]-1] {
			if l.frame.votesOn(b) {
				call(l)
			}
		}
		for _, l := range w.again[b] {
			call(l)
		}
	}
}

// judgeFrame judges the votes of a frame for what is here.
func (r *Replica) judgeFrame(l *link) {
	for _, id := range l.frame.Votes {
		if e := r.entries[id]; e.item != nil {
			r.judgeVote(l, e)
		}
	}
	for i := range l.frame.Bundles {
		v := &l.frame.Bundles[i]
		if b := r.bundles[v.ID]; b.held() {
			r.judgeBundle(l, b, v.Rejects)
		}
	}
}

// judgeBundle is judgeVote for the operations that a vote for a bundle is for.
func (r *Replica) judgeBundle(l *link, b *bundle, rejects []uint16) {
	if b.lawful {
		return
	}
	b.lawful = true
	for at, e := range b.ops {
		if _, out := slices.BinarySearch(rejects, uint16(at)); !out {
			r.judgeVote(l, e)
		}
		b.lawful = b.lawful && (e.lawful || e.certified)
	}
}

// judgeVote accuses a witness if it had no right to vote for an operation, or leaves the
// vote for later if it may have had it by what is not here.
func (r *Replica) judgeVote(l *link, e *entry) {
	w := l.frame.Witness
	if e.certified || e.lawful || r.allowed(w, e) {
		return
	}
	switch ev := r.invalidVote(l, e); {
	case r.Knows(ev.ID()):
	case r.unsure():
		r.charge(&r.charges, l, e)
	default:
		r.verdict(l, e)
	}
}

// verdict accuses a witness of a vote for what is not allowed, unless it may have gone by
// what it voted for and is not here.
func (r *Replica) verdict(l *link, e *entry) {
	w := l.frame.Witness
	lost, hides := r.excused(w, e)
	switch {
	case hides:
		r.charge(&r.witnesses[w].behind, l, e)
	case lost != ledger.OpID{}:
		list := r.restOn[lost]
		if r.charge(&list, l, e); len(list) > 0 {
			r.restOn[lost] = list
		}
	default:
		r.accuse(r.invalidVote(l, e))
	}
}

// charge keeps a vote to be judged later, if its witness has not too many of them.
func (r *Replica) charge(list *[]charge, l *link, e *entry) {
	w := &r.witnesses[l.frame.Witness]
	if w.charged < unjudgedMax {
		w.charged++
		*list = append(*list, charge{l, e})
	}
}

// invalidVote is evidence against the witness of a frame of its vote for an operation.
func (r *Replica) invalidVote(l *link, e *entry) Evidence {
	key := e.at.lane.key
	return Evidence{
		Offence: InvalidVote, Account: r.cfg.Genesis.Witnesses[l.frame.Witness].Account, Owner: key.account,
		Lane: key.lane, Seq: e.at.seq, First: l.id, Second: [32]byte(e.id),
	}
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
