package replica

import (
	"cmp"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// An Offence is a way to be hostile that leaves proof. The numbers are
// append-only.
type Offence uint8

// The offences.
const (
	OpFork            Offence = 1 // an account signed two operations for one slot
	FrameFork         Offence = 2 // a witness signed two frames for one place
	VoteConflict      Offence = 3 // a witness voted for two rivals
	DoubleCertificate Offence = 4 // two rivals were certified, and the lane halts
)

// String returns the offence's name.
func (o Offence) String() string {
	switch o {
	case OpFork:
		return "op-fork"
	case FrameFork:
		return "frame-fork"
	case VoteConflict:
		return "vote-conflict"
	case DoubleCertificate:
		return "double-certificate"
	default:
		return "offence"
	}
}

// An Evidence names an offence and the two signed things that prove it.
type Evidence struct {
	Offence Offence
	Account ledger.Account // who did it; for DoubleCertificate whose lane halts
	Owner   ledger.Account // VoteConflict: the account whose operations are rivals
	Lane    ledger.Lane    // of the operations, 0 for frames
	Seq     uint64         // place in the lane, or in the witness's chain
	First   p2p.Digest     // operation or frame
	Second  p2p.Digest     // its rival
}

// An offenceKey says when two pieces of evidence are of one offence.
type offenceKey struct {
	offence        Offence
	account, owner ledger.Account
	lane           ledger.Lane
	seq            uint64
}

// Evidence returns one piece of evidence an offence, in order of offences,
// accounts and places.
func (r *Replica) Evidence() []Evidence {
	out := make([]Evidence, 0, len(r.offences))
	for _, ev := range r.offences { // order-free: sorted below
		out = append(out, ev)
	}
	slices.SortFunc(out, func(a, b Evidence) int {
		return cmp.Or(cmp.Compare(a.Offence, b.Offence), a.Account.Compare(b.Account), a.Owner.Compare(b.Owner),
			cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Seq, b.Seq))
	})
	return out
}

// EvidenceLen returns how many offences are known.
func (r *Replica) EvidenceLen() int { return len(r.offences) }

// maxOffences bounds what is remembered: forking operations costs an account
// nothing.
const maxOffences = 16384

// accuse keeps the first evidence of an offence.
func (r *Replica) accuse(ev Evidence) {
	key := offenceKey{ev.Offence, ev.Account, ev.Owner, ev.Lane, ev.Seq}
	if _, ok := r.offences[key]; ok || len(r.offences) >= maxOffences {
		return
	}
	if p2p.PeerID(ev.First).Compare(p2p.PeerID(ev.Second)) > 0 {
		ev.First, ev.Second = ev.Second, ev.First
	}
	r.offences[key] = ev
}

// rivalry takes note of a second operation for a place, and of those who voted
// for it and another.
func (r *Replica) rivalry(key placeKey, p *place, e *entry) {
	r.accuse(Evidence{
		Offence: OpFork, Account: key.account, Lane: key.lane, Seq: key.seq,
		First: [32]byte(p.rivals[0].id), Second: [32]byte(e.id),
	})
	for w := range r.witnesses {
		if e.voters.has(uint16(w)) {
			r.conflict(uint16(w), e)
		}
	}
}

// conflict takes note if a witness that voted for e voted for a rival too.
func (r *Replica) conflict(w uint16, e *entry) {
	key := e.key()
	for _, rival := range e.at.rivals {
		if rival != e && rival.voters.has(w) {
			r.accuse(Evidence{
				Offence: VoteConflict, Account: r.cfg.Genesis.Witnesses[w].Account, Owner: key.account,
				Lane: key.lane, Seq: key.seq, First: [32]byte(rival.id), Second: [32]byte(e.id),
			})
		}
	}
}
