// Package replica decides which operations count. It is the CRDT half of the
// ledger: it keeps the union of the operations and frames it is given, and folds
// the certified operations into a ledger.State. It starts no goroutine, reads no
// clock and sends nothing; a caller feeds it and asks it what to send. It verifies
// no signature: a caller screens what came, verifies it, and adds it then.
//
// The calls you need are Screen and AddItem, ScreenFrame and AddFrame, and
// TakeApplied; a witness also calls NextFrame. An operation is certified once
// witnesses with more than two thirds of the stake pinned at genesis have voted for
// it or for one that follows it in its lane, each counted once.
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

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// Config says what a Replica works with. Network and Genesis must be set.
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
	Ahead      uint64 // sequence numbers past a lane's head, default 256
	Parked     int    // frames of one witness that wait for others, default 256
	Unknown    int    // operations and bundles one witness voted for that nobody sent, default 16384
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
		l.Ahead = 256
	}
	return l
}

// An Outcome says what became of something that was added.
type Outcome uint8

// The outcomes. Pass on to others what was Added or Equivocation, and nothing else.
const (
	Added        Outcome = 1
	Known        Outcome = 2 // held before
	Parked       Outcome = 3 // kept until what it rests on comes
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
	flaws flaws

	self    uint16
	voting  bool // self is set
	recalls bool // what is added a former life held
	unknown int  // operations and bundles that self voted for and that are not held
	unseen  bool // self has not told of all votes of others

	witnesses []witness
	log       []*link  // frames as they were linked
	linked    []*Frame // of log, since TakeLinked
	frames    map[p2p.Digest]*link
	parked    map[p2p.Digest]*link
	waits     map[p2p.Digest][]*link // parked frames, by each frame that they wait for
	judgings  uint64                 // calls of judge that looked at frames
	suspects  []*lane                // see guilt
	unjudged  []*link                // frames whose votes were not looked at yet
	came      []*entry               // held since then, voted for one by one before
	cameIn    []*bundle              // the same for bundles
	charges   []charge               // votes that wait until there is no doubt
	restOn    map[ledger.OpID][]charge
	sure      uint64   // call of judge in which there is no doubt
	narrow    bool     // the next look is for the votes of one frame
	lookAgain uint64   // call of judge that may look for doubt again
	withheld  voterSet // those who voted for absent bundles, when there was no doubt last
	gaps      map[*entry]ledger.OpID
	gapsOf    uint64        // call of judge of gaps
	polled    poll[*bundle] // held and voted for
	polledOne poll[*entry]  // voted for one by one

	entries    map[ledger.OpID]*entry
	bundles    map[BundleID]*bundle
	owners     map[ledger.Account]*owner
	strays     []*entry // pending operations without a vote, and some that were
	pending    int      // operations held, not certified, place not taken
	unvoted    int      // of pending, by strangers and without a vote
	reshuffled uint64   // entries that were deleted, or made for what nobody voted for
	missing    map[ledger.OpID]*entry
	absent     map[BundleID]*bundle
	keeps      []BundleID // held and voted for, since TakeKept

	asking       turns[ledger.OpID] // of missing
	askingBundle turns[BundleID]    // of absent
	lacking      turns[p2p.Digest]  // of waits

	floor     *ledger.Op // no stray pays a lower fee a byte; nil: nobody has looked
	packed    uint64     // 1 + State.Applied when evict last found nothing
	packedFew int        // what it was asked to spare then

	open     []*lane // that may hold something votable, as they came
	round    uint64  // calls of NextFrame
	quiet    bool    // nothing was votable, and nothing came since
	ready    []*entry
	stuck    []*entry             // certified, next in their lanes, not applicable yet
	claiming map[laneKey][]*entry // the same, by the lane that they wait for
	applied  []Applied
	doubt    bool // what is applied may not count any more: fold again from genesis
	halted   int  // certificates for places that had one

	offences map[OffenceID]Evidence
	caught   []Evidence // since TakeCaught
}

// flaws switch rules off, so that tests see that they are needed.
type flaws struct {
	perOp bool // a vote is for one operation, not for those before it
	half  bool // half of the stake certifies
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
		parked:    map[p2p.Digest]*link{},
		waits:     map[p2p.Digest][]*link{},
		entries:   map[ledger.OpID]*entry{},
		bundles:   map[BundleID]*bundle{},
		owners:    map[ledger.Account]*owner{},
		missing:   map[ledger.OpID]*entry{},
		absent:    map[BundleID]*bundle{},
		claiming:  map[laneKey][]*entry{},
		restOn:    map[ledger.OpID][]charge{},
		gaps:      map[*entry]ledger.OpID{},
		offences:  map[OffenceID]Evidence{},
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

// TakeKept returns the bundles that have come to be held and voted for since the
// last call: what a node must keep to serve the frames that name them. All of them
// stay held.
func (r *Replica) TakeKept() []BundleID {
	out := r.keeps
	r.keeps = nil
	return out
}

// Kept reports whether a bundle that holds the operation was told of by TakeKept.
func (r *Replica) Kept(id ledger.OpID) bool {
	e := r.entries[id]
	return e != nil && e.told
}

// Certified reports whether more than two thirds of the stake voted for the
// operation, held or not, or for one that is held and follows it.
func (r *Replica) Certified(id ledger.OpID) bool {
	e := r.entries[id]
	return e != nil && (e.certified || r.backed(e))
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

// Pending yields the operations that are held, not certified, and whose place in
// their lane is not taken, in order of ids. It costs a look at all operations.
func (r *Replica) Pending() iter.Seq[*ledger.Op] {
	return func(yield func(*ledger.Op) bool) {
		for _, id := range sortedKeys(r.entries, ledger.OpID.Compare) {
			if e := r.entries[id]; e.pending && !yield(e.item.Op) {
				return
			}
		}
	}
}

// PendingLen returns how many operations Pending yields.
func (r *Replica) PendingLen() int { return r.pending }

// Waiting returns how many certified operations are next in their lanes and wait
// for something in another lane.
func (r *Replica) Waiting() int {
	n := len(r.stuck)
	for _, waiting := range r.claiming { // order-free: a sum
		n += len(waiting)
	}
	return n
}
