package replica

import (
	"encoding/binary"
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// A bundle is a Bundle that is held, or voted for, or both. Its operations share its
// tally, so that a vote costs the same for one operation and for hundreds. Only
// those in exact are counted one by one: a voter leaves them out, or they are voted
// for in another way too.
type bundle struct {
	id       BundleID
	tally    tally
	ops      []*entry            // nil: not held
	rejects  map[uint16][]uint16 // by voter, where there are any
	exact    []*entry
	disputed []*entry // in lanes with rivals
	first    *link    // frame that was first to vote for it
	sponsor  uint16   // witness whose vote made it, while it is missing
	backed   bool     // all its operations are backed
	kept     bool     // TakeKept told of it
	repeats  []uint16 // once kept, places of operations of bundles that were kept before
	lawful   bool     // all its operations are lawful or certified: see judge
	cast     uint64   // call of NextFrame that voted for it
}

// held reports whether all operations of the bundle are there.
func (b *bundle) held() bool { return b != nil && b.ops != nil }

// rejected reports whether a voter leaves out the operation at a place.
func (b *bundle) rejected(w, at uint16) bool {
	_, out := slices.BinarySearch(b.rejects[w], at)
	return out
}

// ScreenBundle says whether a bundle is worth the work of verifying signatures. The
// items are those of its operations that are not held, and nil for the others; they
// go to AddBundle once their signatures are verified, all of them, and the Outcome is
// zero. The items are nil when it is Known or Refused: one malformed operation spoils
// all.
func (r *Replica) ScreenBundle(b *Bundle) ([]*ledger.Item, Outcome) {
	if len(b.Ops) == 0 || len(b.Ops) > MaxBundleOps {
		return nil, Refused
	}
	all := make([]ledger.Item, len(b.Ops)) // an entry copies its own: none keeps the others in memory
	ids := make([]ledger.OpID, len(b.Ops))
	for i, op := range b.Ops {
		if r.state.PrepareIn(&all[i], op) != ledger.OK {
			return nil, Refused
		}
		ids[i] = all[i].ID
	}
	if twice(ids) {
		return nil, Refused
	}
	if r.bundles[bundleID(ids)].held() {
		return nil, Known
	}
	items := make([]*ledger.Item, len(b.Ops))
	for i := range ids {
		if e := r.entries[ids[i]]; e == nil || e.item == nil {
			items[i] = &all[i]
		}
	}
	return items, 0
}

// twice reports whether one of at most MaxBundleOps ids is there more than once.
func twice(ids []ledger.OpID) bool {
	var at [4 * MaxBundleOps]uint16 // by the first bytes of an id, or behind: 1 + its place
	for i := range ids {
		k := binary.BigEndian.Uint16(ids[i][:]) % uint16(len(at))
		for ; at[k] > 0; k = (k + 1) % uint16(len(at)) {
			if ids[at[k]-1] == ids[i] {
				return true
			}
		}
		at[k] = uint16(i + 1)
	}
	return false
}

// AddBundle adds a bundle, with what ScreenBundle made of it, and folds what it makes
// possible. Where nobody has voted for the bundle and there is no room for all of
// it, the operations that fit are kept by themselves, and the Outcome is Refused.
func (r *Replica) AddBundle(b *Bundle, items []*ledger.Item) Outcome {
	ids := make([]ledger.OpID, len(items))
	for i, it := range items {
		if it != nil {
			ids[i] = it.ID
		} else {
			ids[i] = b.Ops[i].ID()
		}
	}
	id := bundleID(ids)
	known := r.bundles[id]
	if known.held() {
		return Known
	}
	entries, loose, outcome := r.bringAll(b, items, ids, known != nil)
	if outcome != Refused && (known != nil || loose) {
		r.register(id, known, entries)
	}
	r.fold()
	r.judge()
	return outcome
}

// bringAll holds the operations of a bundle. The bundle is loose when it is no mix of
// what other bundles hold, of which anybody could make any number: when half of it is
// new, or no other bundle holds any of it, as with an author's own.
func (r *Replica) bringAll(
	b *Bundle, items []*ledger.Item, ids []ledger.OpID, voted bool,
) (entries []*entry, loose bool, outcome Outcome) {
	outcome, entries, loose = Added, make([]*entry, len(ids)), true
	for i := range ids {
		entries[i] = r.entries[ids[i]]
	}
	news, since := 0, r.reshuffled
	for i, e := range entries {
		e = r.still(e, ids[i], since) // those before it may have taken its room, or ask for it
		loose = loose && (e == nil || e.item == nil || e.pending && len(e.in) == 0)
		if e == nil || e.item == nil {
			if items[i] == nil { // was held when it was screened, and no longer is
				outcome, entries[i] = Refused, nil
				continue
			}
			news++
			var out Outcome
			e, out = r.bring(items[i], e, voted)
			outcome = worse(outcome, out)
		}
		entries[i] = e
	}
	for i, e := range entries {
		if e == nil || r.still(e, ids[i], since) != e {
			outcome = Refused // a later one has taken the room of this one
		}
	}
	return entries, loose || 2*news >= len(b.Ops), outcome
}

// still returns the entry of an id, which was e when so much had been reshuffled.
func (r *Replica) still(e *entry, id ledger.OpID, since uint64) *entry {
	if r.reshuffled == since {
		return e
	}
	return r.entries[id]
}

// bring holds an operation of a bundle, if there is room or somebody voted for it, and
// returns its entry.
func (r *Replica) bring(item *ledger.Item, e *entry, voted bool) (*entry, Outcome) {
	if e == nil && !voted && r.room(item) != ledger.OK {
		return nil, Refused
	}
	return r.hold(item, e)
}

// worse returns the outcome of two operations of a bundle: Refused before Equivocation
// before Added.
func worse(a, b Outcome) Outcome {
	if a == Refused || b == Added {
		return a
	}
	return b
}

// register makes a bundle held.
func (r *Replica) register(id BundleID, b *bundle, entries []*entry) {
	if b == nil {
		b = &bundle{id: id}
		r.bundles[id] = b
	} else {
		delete(r.absent, id)
		r.heardAll(b)
		r.witnesses[b.sponsor].unknown--
		if r.voting && b.tally.voters.has(r.self) {
			r.unknown--
		}
	}
	b.ops = entries
	r.quiet = false
	for i, e := range entries {
		if e.in == nil {
			e.in = e.spots[:0]
		}
		e.in = append(e.in, spot{b, uint16(i)})
		if e.exact {
			b.exact = append(b.exact, e)
		} else if len(e.in) > 1 || e.single != nil {
			r.mix(e)
		}
		if len(e.at.lane.rivalry) > 0 {
			b.disputed = append(b.disputed, e)
		}
	}
	for _, out := range b.rejects { // order-free: a set of entries is marked
		r.leaveOut(b, out)
	}
	for w := range uint16(len(r.witnesses)) {
		if b.tally.voters.has(w) {
			r.countExact(b, w)
			r.backAll(b, w)
		}
	}
	r.keep(b)
	r.certifyAll(b)
}

// mix marks an operation whose votes must be counted one by one, from here on.
func (r *Replica) mix(e *entry) {
	for _, s := range e.in {
		s.bundle.exact = append(s.bundle.exact, e)
	}
	e.exact, e.voters = true, new(voterSet)
	*e.voters = r.pollOf(e)
}

// countExact counts a witness's vote for a held bundle for those of its operations that are
// counted one by one.
func (r *Replica) countExact(b *bundle, w uint16) {
	if len(b.exact) == 0 {
		return
	}
	out := b.rejects[w]
	for i, e := range b.ops {
		if _, no := slices.BinarySearch(out, uint16(i)); e.exact && !no {
			e.voters.add(w)
		}
	}
}

// leaveOut marks the operations at the places that a voter leaves out.
func (r *Replica) leaveOut(b *bundle, out []uint16) {
	for _, at := range out {
		if int(at) < len(b.ops) && !b.ops[at].exact {
			r.mix(b.ops[at])
		}
	}
}

// votersOf returns who voted for an operation. It costs the same in however many bundles the
// operation is: anybody may put it into any number.
func (r *Replica) votersOf(e *entry) voterSet {
	if e.exact {
		return *e.voters
	}
	return r.pollOf(e)
}

// pollOf is votersOf by a look at all bundles that hold the operation.
func (r *Replica) pollOf(e *entry) voterSet {
	var set voterSet
	if e.single != nil {
		set = e.single.voters
	}
	for _, s := range e.in {
		voters := s.bundle.tally.voters
		if e.exact {
			for w := range s.bundle.rejects { // order-free: a set
				if s.bundle.rejected(w, s.at) {
					voters.remove(w)
				}
			}
		}
		set.join(voters)
	}
	return set
}

// stakeOf returns the stake of witnesses.
func (r *Replica) stakeOf(set voterSet) ledger.Amount {
	var sum ledger.Amount
	for w := range r.witnesses {
		if set.has(uint16(w)) {
			sum += r.cfg.Genesis.Witnesses[w].Stake
		}
	}
	return sum
}

// quorum reports whether the stake is more than two thirds of all.
func (r *Replica) quorum(stake ledger.Amount) bool {
	if r.flaws.half {
		return 2*stake > r.stake
	}
	return 3*stake > 2*r.stake // three times the supply fits
}

// backed reports whether witnesses with a quorum voted for the operation itself.
func (r *Replica) backed(e *entry) bool {
	if !e.exact && e.single == nil {
		return len(e.in) > 0 && r.quorum(e.in[0].bundle.tally.stake)
	}
	return r.quorum(r.stakeOf(r.votersOf(e)))
}

// voteOne counts a vote for an operation by itself.
func (r *Replica) voteOne(w uint16, id ledger.OpID, l *link) {
	e := r.entries[id]
	if e == nil {
		e = &entry{id: id}
		r.entries[id] = e
	}
	if e.single == nil {
		e.single, e.first = &tally{}, l
		r.polledOne.add(e, (*entry).certain)
		if e.item == nil {
			e.sponsor = w
			r.miss(e)
			r.witnesses[w].unknown++
		}
		if len(e.in) > 0 {
			r.mix(e)
		}
	}
	if !r.count(e.single, w, l.frame.Seq) {
		r.repeat(l, ballot{id: id})
		return
	}
	if e.exact {
		e.voters.add(w)
	}
	if e.item == nil {
		if r.voting && w == r.self {
			r.unknown++
		}
		e.backed = true
		return
	}
	r.voted(w, e)
	if len(e.at.lane.rivalry) > 0 {
		r.dispute(e.at.lane)
	}
	if !e.certified && r.backed(e) {
		r.certifyUp(e)
	}
}

// voted takes note of a witness's vote for a held operation.
func (r *Replica) voted(w uint16, e *entry) {
	r.back(e)
	if r.voting && w == r.self && e.at.mine == nil {
		e.at.mine = e
	}
}

// voteBundle counts a vote for a bundle.
func (r *Replica) voteBundle(w uint16, v *BundleVote, l *link) {
	b := r.bundles[v.ID]
	if b == nil {
		b = &bundle{id: v.ID, sponsor: w}
		r.bundles[v.ID] = b
		r.askingBundle.add(v.ID, len(r.absent), r.lacksBundle)
		r.absent[v.ID] = b
		r.witnesses[w].unknown++
	}
	if b.first == nil {
		b.first = l
	}
	if !r.count(&b.tally, w, l.frame.Seq) {
		r.repeat(l, ballot{id: v.ID, bundle: true})
		r.voteMore(b, w, v, l)
		return
	}
	if len(v.Rejects) > 0 {
		if b.rejects == nil {
			b.rejects = map[uint16][]uint16{}
		}
		b.rejects[w] = v.Rejects
	}
	if !b.held() {
		if r.voting && w == r.self {
			r.unknown++
		}
		return
	}
	r.leaveOut(b, v.Rejects)
	r.countExact(b, w)
	r.backAll(b, w)
	r.keep(b)
	r.certifyAll(b)
}

// voteMore counts a second vote of a witness for a bundle: what either takes is
// voted for.
func (r *Replica) voteMore(b *bundle, w uint16, v *BundleVote, l *link) {
	both := slices.DeleteFunc(slices.Clone(b.rejects[w]), func(at uint16) bool {
		_, out := slices.BinarySearch(v.Rejects, at)
		return !out
	})
	if len(both) == len(b.rejects[w]) {
		return
	}
	b.rejects[w] = both
	b.backed = false
	for _, o := range r.witnesses[w].chain[b.tally.at[w]-1] {
		if o != l && o.frame.votesOn(ballot{id: b.id, bundle: true}) {
			r.witnesses[w].sayAgain(o, ballot{id: b.id, bundle: true})
		}
	}
	b.tally.at[w] = l.frame.Seq // who has seen less need not hold all of it
	if b.held() {
		r.countExact(b, w)
		r.backAll(b, w)
		r.certifyAll(b)
	}
}

// backAll takes note of a witness's vote for the operations of a held bundle.
func (r *Replica) backAll(b *bundle, w uint16) {
	out := b.rejects[w]
	if self := r.voting && w == r.self; !b.backed || self {
		for i, e := range b.ops {
			if _, no := slices.BinarySearch(out, uint16(i)); !no {
				r.voted(w, e)
			}
		}
		b.backed = b.backed || len(out) == 0
	}
	var last *lane
	for _, e := range b.disputed { // those of one lane stand together as a rule
		if l := e.at.lane; l != last {
			r.dispute(l)
			last = l
		}
	}
}

// certifyAll certifies what the votes for a held bundle make certified.
func (r *Replica) certifyAll(b *bundle) {
	if r.quorum(b.tally.stake) {
		for _, e := range b.ops {
			if !e.certified && !e.exact {
				r.certifyUp(e)
			}
		}
	}
	for _, e := range b.exact {
		if !e.certified && r.backed(e) {
			r.certifyUp(e)
		}
	}
}

// keep takes note of a bundle that is held and voted for, once.
func (r *Replica) keep(b *bundle) {
	if b.kept || b.tally.stake == 0 {
		return
	}
	b.kept = true
	for i, e := range b.ops {
		if e.told {
			b.repeats = append(b.repeats, uint16(i))
		}
		e.told = true
	}
	r.polled.add(b, r.settled)
	r.keeps = append(r.keeps, b.id)
}

// whole returns the bundle as it travels.
func (b *bundle) whole() *Bundle {
	out := &Bundle{Ops: make([]*ledger.Op, len(b.ops))}
	for i, e := range b.ops {
		out.Ops[i] = e.item.Op
	}
	return out
}

// dissolve forgets a held bundle that nobody voted for; its operations stay.
func (r *Replica) dissolve(b *bundle) {
	delete(r.bundles, b.id)
	for _, e := range b.ops {
		e.in = slices.DeleteFunc(e.in, func(s spot) bool { return s.bundle == b })
	}
}
