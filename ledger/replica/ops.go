package replica

import (
	"cmp"
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// A laneKey names a lane of an account.
type laneKey struct {
	account ledger.Account
	lane    ledger.Lane
}

// A lane is what a replica holds of one.
type lane struct {
	key     laneKey
	owner   *owner
	head    uint64 // sequence number of its last applied operation, as in the state
	top     *entry // that operation, nil for none
	topID   ledger.OpID
	places  []placed // of which something is held, ascending
	open    bool     // in Replica.open
	checked uint64   // 1 + State.Applied when nothing in it was last found votable
	rivalry []*place // those with two operations, or that had
	doubled uint64   // first place with two certificates, 0 for none
}

// An owner is what a replica holds of an account.
type owner struct {
	pending int // operations
	lanes   []*lane
	one     [1]*lane // of lanes, as long as there is no more than one
	first   lane     // that the account came with
}

// lane returns a lane, nil if nothing of it is held.
func (o *owner) lane(l ledger.Lane) *lane {
	if o == nil {
		return nil
	}
	for _, at := range o.lanes {
		if at.key.lane == l {
			return at
		}
	}
	return nil
}

// A placed is a place with its sequence number beside it, so that to find one looks at
// no other.
type placed struct {
	seq uint64
	*place
}

// A place holds the rivals for one sequence number of a lane.
type place struct {
	lane      *lane
	seq       uint64
	rivals    []*entry  // held, as they came
	one       [1]*entry // of rivals, as long as there is no more than one
	certified int       // of rivals; two or more halt the lane
	mine      *entry    // the one that self voted for
}

// find returns where a place is among those of a lane, or would be.
func (l *lane) find(seq uint64) (int, bool) {
	n := len(l.places)
	if n == 0 || l.places[n-1].seq < seq {
		return n, false
	}
	if at := seq - l.places[0].seq; at < uint64(n) && l.places[at].seq == seq { // nothing is missing in between
		return int(at), true
	}
	return slices.BinarySearchFunc(l.places, seq, func(p placed, seq uint64) int { return cmp.Compare(p.seq, seq) })
}

// place returns a place of a lane, nil if nothing of it is held.
func (l *lane) place(seq uint64) *place {
	if at, there := l.find(seq); there {
		return l.places[at].place
	}
	return nil
}

// placeAt returns a place of a lane, and makes it of room if need be.
func (l *lane) placeAt(seq uint64, room *place) *place {
	at, there := l.find(seq)
	if !there {
		*room = place{lane: l, seq: seq}
		room.rivals = room.one[:0]
		l.places = slices.Insert(l.places, at, placed{seq, room})
	}
	return l.places[at].place
}

// An entry is an operation that is held, or voted for, or both. What is looked at for
// each operation of a bundle stands together, in front.
type entry struct {
	item      *ledger.Item // nil: not held
	at        *place       // set with item
	in        []spot       // bundles that hold it
	single    *tally       // votes for it by itself; nil: none
	pending   bool         // held, not certified, place not taken
	backed    bool         // some witness voted for it
	exact     bool         // its votes must be counted one by one: see bundle
	lawful    bool         // found allowed by itself once, and so for any witness: see judge
	told      bool         // TakeKept told of a bundle that holds it
	needed    bool         // missing, and one that follows it is certified
	voters    *voterSet    // who voted for it, once exact
	certified bool
	applied   bool
	waiting   bool // certified, next in its lane, not applicable yet
	reported  bool // TakeApplied told that it is applied

	kept  ledger.Item // what item points to
	room  place       // what at points to, where the entry was first at its place
	spots [1]spot     // of in, as long as there is no more than one

	id      ledger.OpID
	last    *entry        // that it follows in its lane, once it was looked up
	first   *link         // frame that was first to vote for it by itself
	sponsor uint16        // witness whose vote made the entry, while it is missing
	left    ledger.Amount // what it leaves in its lane at least, once rowed
	rowed   uint64        // call of judge that last found it to fit behind those before it: see inRow
	unfit   uint64        // call of judge that found it not to
	chosen  uint64        // call of NextFrame that chose it
	cast    uint64        // call of NextFrame that voted for it
}

// A spot is a place in a bundle.
type spot struct {
	bundle *bundle
	at     uint16
}

// Screen says whether an operation is worth the work of verifying its signature.
// If it is, the Item goes to AddItem once that is done, and the Outcome is zero; else
// the Item is nil, and the Outcome is Known, or Refused with a Result that says why.
func (r *Replica) Screen(op *ledger.Op) (*ledger.Item, Outcome, ledger.Result) {
	item, res := r.state.Prepare(op)
	if res != ledger.OK {
		return nil, Refused, res
	}
	e := r.entries[item.ID]
	if e != nil && e.item != nil {
		return nil, Known, ledger.OK
	}
	if e == nil {
		if res := r.admits(op, op.Account != r.cfg.Self); res != ledger.OK {
			return nil, Refused, res
		}
	}
	return item, 0, ledger.OK
}

// AddItem adds an operation whose signature the caller has verified, and folds what
// it makes possible. The Result says whether the operation could be applied now if
// it were certified, and why not; with Refused it says why it was not kept. The
// operation must not change afterwards.
func (r *Replica) AddItem(item *ledger.Item) (Outcome, ledger.Result) {
	e := r.entries[item.ID]
	if e != nil && e.item != nil {
		return Known, ledger.OK
	}
	if e == nil { // what a witness voted for others hold, and the bound is on the witness
		if no := r.room(item); no != ledger.OK {
			return Refused, no
		}
	}
	res := r.state.MayVoteItem(item)
	_, outcome := r.hold(item, e)
	r.fold()
	r.judge()
	return outcome, res
}

// AddOp is Screen and AddItem in one, for an operation whose signature is known to
// be good.
func (r *Replica) AddOp(op *ledger.Op) (Outcome, ledger.Result) {
	item, out, res := r.Screen(op)
	if item != nil {
		return r.AddItem(item)
	}
	return out, res
}

// room says whether an operation that nobody voted for may be kept, and makes room
// if need be.
func (r *Replica) room(item *ledger.Item) ledger.Result {
	stranger := item.Op.Account != r.cfg.Self
	if res := r.admits(item.Op, stranger); res != ledger.OK {
		return res
	}
	if stranger && !r.affords(item) {
		return ledger.Full
	}
	return ledger.OK
}

// admits says whether the place of an operation leaves room for it.
func (r *Replica) admits(op *ledger.Op, stranger bool) ledger.Result {
	own := r.owners[op.Account]
	l := own.lane(op.Lane)
	var head uint64
	if l != nil {
		head = l.head
	}
	switch {
	case op.Seq <= head:
		return ledger.Stale
	case op.Seq-head > r.cfg.Limits.Ahead, stranger && own != nil && own.pending >= r.cfg.Limits.PerAccount:
		return ledger.Full
	}
	if stranger && l != nil {
		if p := l.place(op.Seq); p != nil && len(p.rivals) >= 2 {
			return ledger.Equivocation
		}
	}
	return ledger.OK
}

// affords says whether a stranger's operation is worth a place among the pending
// ones: keys cost nothing, so what is not votable must be of an account that owns
// something. It makes room if need be.
func (r *Replica) affords(item *ledger.Item) bool {
	owns := r.state.Owns(item.Op.Account)
	if owns && r.unvoted < r.cfg.Limits.Pending {
		return true
	}
	votable := r.state.MayVoteItem(item) == ledger.OK
	switch {
	case !votable && !owns:
		return false
	case r.unvoted < r.cfg.Limits.Pending:
		return true
	}
	least := 0
	if !votable { // nobody makes room by the loss of those who hold as little
		least = 1
		if own := r.owners[item.Op.Account]; own != nil {
			least += own.pending
		}
	}
	return r.evict(least) || votable && r.outbid(item.Op)
}

// hold keeps an operation, and returns its entry; e is it if there were votes for it.
func (r *Replica) hold(item *ledger.Item, e *entry) (*entry, Outcome) {
	r.quiet, r.packed = false, 0
	if e == nil {
		e = &entry{id: item.ID}
		r.entries[e.id] = e
	} else {
		r.found(e)
	}
	e.kept = *item
	e.item = &e.kept
	p := r.placeOf(item.Op, &e.room)
	e.at = p
	r.heard(e)
	// Most operations come when they can be applied: judge need not look at them again.
	e.lawful = r.halted == 0 && p.seq == p.lane.head+1 && r.state.CheckItem(item) == ledger.OK
	p.rivals = append(p.rivals, e)
	if voters := r.votersOf(e); r.voting && p.mine == nil && voters.has(r.self) {
		p.mine = e
	}
	if e.certified || r.backedAbove(e) || r.backed(e) {
		r.certifyUp(e)
	} else {
		r.await(e)
	}
	if len(p.rivals) > 1 {
		r.rivals(p, e)
		return e, Equivocation
	}
	if e.backed && len(p.lane.rivalry) > 0 {
		r.dispute(p.lane)
	}
	return e, Added
}

// backedAbove reports whether a certified operation names the held e as the one
// before it.
func (r *Replica) backedAbove(e *entry) bool {
	next := e.at.lane.place(e.at.seq + 1)
	return !r.flaws.perOp && next != nil && slices.ContainsFunc(next.rivals, func(o *entry) bool {
		return o.certified && o.item.Op.Prev == e.id
	})
}

// placeOf returns the place of an operation, and makes it of room if need be.
func (r *Replica) placeOf(op *ledger.Op, room *place) *place {
	own := r.owners[op.Account]
	if own == nil {
		own = &owner{}
		own.first = lane{key: laneKey{op.Account, op.Lane}, owner: own}
		own.lanes = append(own.one[:0], &own.first)
		r.owners[op.Account] = own
	}
	l := own.lane(op.Lane)
	if l == nil {
		l = &lane{key: laneKey{op.Account, op.Lane}, owner: own}
		own.lanes = append(own.lanes, l)
	}
	return l.placeAt(op.Seq, room)
}

// found forgets that an operation is missing.
func (r *Replica) found(e *entry) {
	delete(r.missing, e.id)
	e.needed = false
	if e.single == nil {
		return // nobody voted for it by itself: see want
	}
	r.witnesses[e.sponsor].unknown--
	if r.voting && e.single.voters.has(r.self) {
		r.unknown--
	}
}

// await makes an uncertified operation pending, and its lane one to look at.
func (r *Replica) await(e *entry) {
	l := e.at.lane
	if e.at.seq <= l.head {
		return
	}
	e.pending = true
	r.pending++
	l.owner.pending++
	if r.bounds(e) {
		r.unvoted++
		r.stray(e)
	}
	r.reopen(l)
}

// reopen puts a lane among those that may hold something votable.
func (r *Replica) reopen(l *lane) {
	if !r.voting {
		return
	}
	r.quiet, l.checked = false, 0
	if !l.open {
		l.open = true
		r.open = append(r.open, l)
	}
}

// stray keeps a list of the operations that evict may drop.
func (r *Replica) stray(e *entry) {
	if len(r.strays) > 2*r.unvoted+evictShare {
		r.strays = slices.DeleteFunc(r.strays, func(e *entry) bool { return !e.pending || !r.bounds(e) })
	}
	r.strays = append(r.strays, e)
	if r.floor != nil && cheaper(e.item.Op, r.floor) {
		r.floor = e.item.Op
	}
}

// bounds reports whether a held operation is one that Limits.Pending bounds.
func (r *Replica) bounds(e *entry) bool { return !e.backed && e.item.Op.Account != r.cfg.Self }

// settle takes an operation off the pending ones.
func (r *Replica) settle(e *entry) {
	if !e.pending {
		return
	}
	if r.bounds(e) {
		r.unvoted--
	}
	e.pending = false
	r.pending--
	e.at.lane.owner.pending--
}

// back takes note that a witness voted for an operation.
func (r *Replica) back(e *entry) {
	if e.backed {
		return
	}
	if e.pending && r.bounds(e) {
		r.unvoted--
	}
	e.backed = true
}
