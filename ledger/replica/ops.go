package replica

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// A placeKey names a place that one operation can fill: a slot of a lane.
type placeKey struct {
	account ledger.Account
	lane    ledger.Lane
	seq     uint64
}

// A place holds the rivals for one slot of a lane.
type place struct {
	rivals    []*entry // held, as they came
	certified int      // of rivals; two or more halt the lane
	locked    bool     // self voted for one of them
	round     uint64   // call of Votable that last offered one of them
}

// An entry is an operation that is held, or voted for, or both.
type entry struct {
	id        ledger.OpID
	item      *ledger.Item // nil: not held
	at        *place       // set with item
	voters    voterSet
	stake     ledger.Amount // of voters
	sponsor   uint16        // witness whose vote made the entry, while it is missing
	checked   uint64        // 1 + State.Applied when it was last found not votable
	certified bool
	applied   bool
	stuck     bool // in Replica.stuck
	reported  bool // TakeApplied told that it is applied
}

// key returns the place that the held operation is for.
func (e *entry) key() placeKey {
	op := e.item.Op
	return placeKey{op.Account, op.Lane, op.Seq}
}

// A voterSet is a set of witnesses.
type voterSet [(ledger.MaxWitnesses + 63) / 64]uint64

// add adds a witness, and reports whether it was not there.
func (v *voterSet) add(w uint16) bool {
	had := v.has(w)
	v[w/64] |= 1 << (w % 64)
	return !had
}

// has reports whether the witness is in the set.
func (v *voterSet) has(w uint16) bool { return v[w/64]>>(w%64)&1 == 1 }

// Screen says whether an operation is worth verifying its signature, which it does
// not look at: it returns an item for AddItem, or nil with the Outcome and the Result
// that AddItem would return now. The operation must not change afterwards.
func (r *Replica) Screen(op *ledger.Op) (*ledger.Item, Outcome, ledger.Result) {
	item, res := r.state.Prepare(op)
	if res != ledger.OK {
		return nil, Refused, res
	}
	if out, res := r.screen(item); out != 0 {
		return nil, out, res
	}
	return item, 0, ledger.OK
}

// AddItem adds an operation that Screen let pass and whose signature the caller has
// verified: the replica does not. It folds what the operation makes possible. The
// Result says whether the operation could be applied now if it were certified, and
// why not; with Refused it says why the operation was not kept.
func (r *Replica) AddItem(item *ledger.Item) (Outcome, ledger.Result) {
	if out, res := r.screen(item); out != 0 { // it was a while ago
		return out, res
	}
	e, op := r.entries[item.ID], item.Op
	res := r.state.MayVoteItem(item)
	if e == nil && op.Account != r.cfg.Self && !r.affords(op, res == ledger.OK) {
		return Refused, ledger.Full
	}
	outcome := r.hold(item, e)
	r.fold()
	return outcome, res
}

// screen returns what is to be said of an operation without adding it, and the zero
// Outcome when there is nothing to be said.
func (r *Replica) screen(item *ledger.Item) (Outcome, ledger.Result) {
	e, op := r.entries[item.ID], item.Op
	switch {
	case e == nil:
		if res := r.admits(op, op.Account != r.cfg.Self); res != ledger.OK {
			return Refused, res
		}
	case e.item == nil: // what a witness voted for others hold, and the bound is on the witness
	case e.applied:
		return Known, ledger.OK
	default:
		return Known, r.state.MayVoteItem(e.item)
	}
	return 0, ledger.OK
}

// admits says whether the place of an operation leaves room for it.
func (r *Replica) admits(op *ledger.Op, stranger bool) ledger.Result {
	head, _ := r.state.Head(op.Account, op.Lane)
	switch {
	case op.Seq <= head:
		return ledger.Stale
	case op.Seq-head > r.cfg.Limits.Ahead, stranger && r.accounts[op.Account] >= r.cfg.Limits.PerAccount:
		return ledger.Full
	}
	if p := r.places[placeKey{op.Account, op.Lane, op.Seq}]; stranger && p != nil && len(p.rivals) >= 2 {
		return ledger.Equivocation
	}
	return ledger.OK
}

// affords says whether a stranger's operation is worth a place among the pending
// ones: keys cost nothing, so what is not votable must be of an account that owns
// something. It makes room if need be.
func (r *Replica) affords(op *ledger.Op, votable bool) bool {
	if !votable && !r.state.Owns(op.Account) {
		return false
	}
	if r.unvoted < r.cfg.Limits.Pending {
		return true
	}
	least := 0
	if !votable {
		least = r.accounts[op.Account] + 1 // nobody makes room by the loss of those who hold as little
	}
	return r.evict(least)
}

// hold keeps an operation; e is its entry if there were votes for it.
func (r *Replica) hold(item *ledger.Item, e *entry) Outcome {
	r.quiet, r.packed = false, 0
	if e == nil {
		e = &entry{id: item.ID}
		r.entries[e.id] = e
	} else {
		r.found(e)
	}
	e.item = item
	key := e.key()
	p := r.places[key]
	if p == nil {
		p = &place{}
		r.places[key] = p
	}
	e.at = p
	p.rivals = append(p.rivals, e)
	if r.voting && e.voters.has(r.self) {
		p.locked = true
	}
	if e.certified {
		r.certify(e)
	} else {
		r.await(e, key)
	}
	if len(p.rivals) == 1 {
		return Added
	}
	r.rivalry(key, p, e)
	return Equivocation
}

// found forgets that an operation is missing.
func (r *Replica) found(e *entry) {
	delete(r.missing, e.id)
	r.witnesses[e.sponsor].unknown--
	if r.voting && e.voters.has(r.self) {
		r.unknown--
	}
}

// await makes an uncertified operation pending, and votable when it is next.
func (r *Replica) await(e *entry, key placeKey) {
	head, _ := r.state.Head(key.account, key.lane)
	if key.seq <= head {
		return
	}
	r.pending[e.id] = e
	r.accounts[key.account]++
	if r.bounds(e) {
		r.unvoted++
	}
	if key.seq == head+1 {
		r.open = append(r.open, e)
	}
}

// bounds reports whether a held operation is one that Limits.Pending bounds.
func (r *Replica) bounds(e *entry) bool { return e.stake == 0 && e.item.Op.Account != r.cfg.Self }

// settle takes an operation off the pending ones.
func (r *Replica) settle(e *entry) {
	if r.pending[e.id] == nil {
		return
	}
	delete(r.pending, e.id)
	if r.bounds(e) {
		r.unvoted--
	}
	account := e.item.Op.Account
	if r.accounts[account]--; r.accounts[account] == 0 {
		delete(r.accounts, account)
	}
}

// Votable returns at most limit operations that an honest witness may vote for
// now, in the order they came: next in their lanes, applicable, and in places
// where this replica's own witness has not voted. It returns none while an
// operation that the witness voted for is missing, because its place is unknown.
func (r *Replica) Votable(limit int) []ledger.OpID {
	if !r.voting || r.unknown > 0 || r.quiet {
		return nil
	}
	r.round++
	version := r.state.Applied() + 1
	var out []ledger.OpID
	r.open = slices.DeleteFunc(r.open, func(e *entry) bool {
		op := e.item.Op
		head, _ := r.state.Head(op.Account, op.Lane)
		if e.at.certified > 0 || e.at.locked || op.Seq != head+1 {
			return true
		}
		if len(out) >= limit || e.at.round == r.round || e.checked == version {
			return false
		}
		if r.state.MayVoteItem(e.item) != ledger.OK {
			e.checked = version
			return false
		}
		e.at.round = r.round
		out = append(out, e.id)
		return false
	})
	r.quiet = len(out) == 0 && limit > 0
	return out
}
