// Package replica decides which operations count. It is the CRDT half of the
// ledger: it keeps the union of the operations and frames it is given, and folds
// the certified operations into a ledger.State. It starts no goroutine, reads no
// clock, verifies no signature and sends nothing; a caller feeds it and asks it what
// to send. Whoever adds something has verified its signature.
//
// The calls you need are Screen and AddItem for operations, ScreenFrame and AddFrame
// for frames, and TakeApplied; a witness also calls Votable and NextFrame. An operation is certified once witnesses with more than
// two thirds of the stake pinned at genesis have voted for it, each counted once.
//
// The invariant: replicas that hold the same operations and frames hold the same
// state, whatever the order and however often they got them. Below one third of
// hostile stake no two operations of one slot are both certified; above it both
// are left out, and Evidence names who did it.
package replica

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// Config says what a Replica works with. Every field but Self and Limits must be
// set.
type Config struct {
	Network   p2p.Network
	Genesis   *ledger.Genesis
	Contracts []ledger.Contract // at genesis; the replica's alone from then on
	Self      ledger.Account    // the node's own, whose next operation always has room; zero for none
	Limits    Limits
}

// Limits bound what strangers can make a replica remember. Zero means the default.
// Operations that a witness voted for are outside Pending, PerAccount and Ahead,
// those of Config.Self outside the first two. When Pending is reached, operations that are not
// votable make room, first those of the accounts that have most of them.
type Limits struct {
	Pending    int    // operations that no witness voted for in all, default 16384
	PerAccount int    // uncertified operations of one account, default 256
	Ahead      uint64 // sequence numbers past a lane's head, default 64
	Parked     int    // frames of one witness that wait for a parent, default 256
	Unknown    int    // operations one witness voted for that nobody sent, default 16384
}

// withDefaults returns a copy with the zero fields filled in.
func (l Limits) withDefaults() Limits {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&l.Pending, 16384)
	set(&l.PerAccount, 256)
	set(&l.Parked, 256)
	set(&l.Unknown, 16384)
	if l.Ahead == 0 {
		l.Ahead = 64
	}
	return l
}

// An Outcome says what became of something that was added.
type Outcome uint8

// The outcomes; the zero Outcome of a screening is none. Pass on to others what was Added or Equivocation, and nothing else.
const (
	Added        Outcome = 1
	Known        Outcome = 2 // held before
	Parked       Outcome = 3 // kept until its parent comes
	Refused      Outcome = 4 // not added, and never will be as things stand
	Equivocation Outcome = 5 // added, and proves that its signer said two things
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Added:
		return "added"
	case Known:
		return "known"
	case Parked:
		return "parked"
	case Refused:
		return "refused"
	case Equivocation:
		return "equivocation"
	default:
		return fmt.Sprintf("outcome(%d)", uint8(o))
	}
}

// A Replica is one node's copy of the ledger. It belongs to one goroutine.
type Replica struct {
	cfg   Config
	state *ledger.State
	stake ledger.Amount // of all witnesses

	self    uint16
	voting  bool // self is set
	unknown int  // operations that self voted for and that are not held

	witnesses []witness
	turn      int // calls of Turn
	frames    map[p2p.Digest]*link
	parked    int

	entries  map[ledger.OpID]*entry
	places   map[placeKey]*place
	pending  map[ledger.OpID]*entry // held, not certified, place not taken
	accounts map[ledger.Account]int // pending by account
	unvoted  int                    // of pending, by strangers and without a vote
	missing  map[ledger.OpID]*entry // voted for, not held
	asked    ledger.OpID            // the last that Missing returned

	packed    uint64 // 1 + State.Applied when evict last found nothing
	packedFew int    // what it was asked to spare then

	open    []*entry // next in their lanes and not certified, as they came
	round   uint64   // calls of Votable
	quiet   bool     // the last call found nothing, and nothing came since
	ready   []*entry // certified and perhaps applicable
	stuck   []*entry // certified, next in their lanes, not applicable yet
	applied []Applied
	doubt   bool // what is applied may not count any more: fold again from genesis

	offences map[offenceKey]Evidence
}

// An Applied tells what the fold did with an operation: OK applied it,
// Equivocation leaves it out because a rival is certified too, Reverted takes it
// back because of such a rival.
type Applied struct {
	Op     *ledger.Op
	Result ledger.Result
}

// New returns a replica at genesis.
func New(cfg Config) (*Replica, error) {
	if cfg.Genesis == nil {
		return nil, errors.New("new replica: want a genesis")
	}
	state, err := ledger.New(cfg.Network, cfg.Genesis, cfg.Contracts)
	if err != nil {
		return nil, fmt.Errorf("new replica: %w", err)
	}
	cfg.Limits = cfg.Limits.withDefaults()
	return &Replica{
		cfg: cfg, state: state, stake: cfg.Genesis.Stake(),
		witnesses: make([]witness, len(cfg.Genesis.Witnesses)),
		frames:    map[p2p.Digest]*link{},
		entries:   map[ledger.OpID]*entry{},
		places:    map[placeKey]*place{},
		pending:   map[ledger.OpID]*entry{},
		accounts:  map[ledger.Account]int{},
		missing:   map[ledger.OpID]*entry{},
		offences:  map[offenceKey]Evidence{},
	}, nil
}

// SetSelf says which witness votes through this replica. It must be called before
// anything is added, so that the witness's former votes lock their slots.
func (r *Replica) SetSelf(witness uint16) {
	if int(witness) >= len(r.witnesses) || len(r.entries) > 0 || len(r.frames) > 0 {
		panic(fmt.Sprintf("replica: self is witness %d of %d, set too late or not one", witness, len(r.witnesses)))
	}
	r.self, r.voting = witness, true
}

// State returns the state. The caller only reads it, and never keeps it past the
// next call of the replica.
func (r *Replica) State() *ledger.State { return r.state }

// TakeApplied returns what the fold did since the last call, in the order it did
// it. The order differs between replicas; within a lane it is that of the lane.
func (r *Replica) TakeApplied() []Applied {
	out := r.applied
	r.applied = nil
	return out
}

// Certified reports whether more than two thirds of the stake voted for the
// operation, held or not.
func (r *Replica) Certified(id ledger.OpID) bool {
	e := r.entries[id]
	return e != nil && e.certified
}

// IsApplied reports whether the operation is part of the state.
func (r *Replica) IsApplied(id ledger.OpID) bool {
	e := r.entries[id]
	return e != nil && e.applied
}

// Op returns an operation that is held. It must not be changed.
func (r *Replica) Op(id ledger.OpID) (*ledger.Op, bool) {
	e := r.entries[id]
	if e == nil || e.item == nil {
		return nil, false
	}
	return e.item.Op, true
}

// Missing returns at most limit ids of operations that were voted for and are not
// held, in order of ids. It goes on where the last call ended, and round again, so
// that made-up ids do not keep the others from being asked for.
func (r *Replica) Missing(limit int) []ledger.OpID {
	ids := firstIDs(r.missing, len(r.missing))
	if len(ids) == 0 || limit <= 0 {
		return nil
	}
	at, found := slices.BinarySearchFunc(ids, r.asked, ledger.OpID.Compare)
	if found {
		at++
	}
	out := slices.Concat(ids[at:], ids[:at])[:min(limit, len(ids))]
	r.asked = out[len(out)-1]
	return out
}

// Pending yields the operations that are held, not certified, and whose place in
// their lane is not taken, in order of ids.
func (r *Replica) Pending() iter.Seq[*ledger.Op] {
	return func(yield func(*ledger.Op) bool) {
		for _, id := range firstIDs(r.pending, len(r.pending)) {
			if !yield(r.pending[id].item.Op) {
				return
			}
		}
	}
}

// PendingLen returns how many operations Pending yields.
func (r *Replica) PendingLen() int { return len(r.pending) }

// Waiting returns how many certified operations are next in their lanes and wait
// for something in another lane.
func (r *Replica) Waiting() int { return len(r.stuck) }

// firstIDs returns at most limit keys, the smallest first.
func firstIDs(m map[ledger.OpID]*entry, limit int) []ledger.OpID {
	if len(m) == 0 || limit <= 0 {
		return nil
	}
	ids := make([]ledger.OpID, 0, len(m))
	for id := range m { // order-free: sorted below
		ids = append(ids, id)
	}
	slices.SortFunc(ids, ledger.OpID.Compare)
	return ids[:min(limit, len(ids))]
}
