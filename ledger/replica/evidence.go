package replica

import (
	"cmp"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
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
	InvalidVote       Offence = 5 // a witness voted for what nothing that it had seen allowed
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
	case InvalidVote:
		return "invalid-vote"
	default:
		return "offence"
	}
}

// MarshalText writes the offence as String does.
func (o Offence) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// An Evidence names an offence and the two signed things that prove it. Whoever holds
// them finds the same: evidence follows from operations and frames.
type Evidence struct {
	Offence Offence
	Account ledger.Account // who did it; for DoubleCertificate whose lane halts
	Owner   ledger.Account // VoteConflict, InvalidVote: the account whose operations were voted for
	Lane    ledger.Lane    // of the operations, 0 for frames
	Seq     uint64         // place in the lane, or in the witness's chain
	First   p2p.Digest     // operation or frame; InvalidVote: the frame
	Second  p2p.Digest     // its rival; InvalidVote: the operation
}

// An OffenceID names an offence: evidence of one offence has one id, whatever proves
// it, so that nobody is punished twice.
type OffenceID p2p.Digest

// ID returns the name of the offence.
func (ev *Evidence) ID() OffenceID {
	w := wire.NewWriter(1 + 32 + 32 + 1 + 8)
	w.U8(uint8(ev.Offence))
	w.Fixed(ev.Account[:])
	w.Fixed(ev.Owner[:])
	w.U8(uint8(ev.Lane))
	w.U64(ev.Seq)
	return OffenceID(p2p.Sum("pinfi/offence/1", w.Bytes()))
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
// nothing. Half of it is for witnesses alone.
const maxOffences = 16384

// accuse keeps the first evidence of an offence.
func (r *Replica) accuse(ev Evidence) {
	id := ev.ID()
	limit := maxOffences
	if ev.Offence == OpFork {
		limit /= 2
	}
	if _, ok := r.offences[id]; ok || len(r.offences) >= limit {
		return
	}
	if ev.Offence != InvalidVote && p2p.PeerID(ev.First).Compare(p2p.PeerID(ev.Second)) > 0 {
		ev.First, ev.Second = ev.Second, ev.First
	}
	r.offences[id] = ev
	r.caught = append(r.caught, ev)
}

// TakeCaught returns the evidence that was found since the last call.
func (r *Replica) TakeCaught() []Evidence {
	out := r.caught
	r.caught = nil
	return out
}

// rivals takes note of a second operation for a place, and of those who voted for it
// and another.
func (r *Replica) rivals(p *place, e *entry) {
	if r.state.Owns(p.lane.key.account) { // else it costs nothing, and there would be no end of it
		r.accuse(Evidence{
			Offence: OpFork, Account: p.lane.key.account, Lane: p.lane.key.lane, Seq: p.seq,
			First: [32]byte(p.rivals[0].id), Second: [32]byte(e.id),
		})
	}
	first := len(p.lane.rivalry) == 0
	if !slices.Contains(p.lane.rivalry, p) {
		p.lane.rivalry = append(p.lane.rivalry, p)
	}
	if first {
		for _, p := range p.lane.places {
			for _, e := range p.rivals {
				for _, s := range e.in {
					s.bundle.disputed = append(s.bundle.disputed, e)
				}
			}
		}
	}
	r.dispute(p.lane)
}

// dispute takes note of the witnesses that voted for two rivals of a lane. Who votes
// for what rests on a rival of its own vote is not in conflict with itself, once the
// rival is certified; before that see InvalidVote.
func (r *Replica) dispute(l *lane) {
	if l.doubled > 0 {
		r.suspect(l)
	}
	for _, p := range l.rivalry {
		for i, e := range p.rivals {
			for _, o := range p.rivals[:i] {
				if voters, others := r.votersOf(e), r.votersOf(o); voters.meets(others) {
					r.conflict(p, o, e, others, voters)
				}
			}
		}
	}
}

// conflict accuses the witnesses that two rivals have in common.
func (r *Replica) conflict(p *place, a, b *entry, voters, others voterSet) {
	for w := range r.witnesses {
		if voters.has(uint16(w)) && others.has(uint16(w)) {
			r.accuse(Evidence{
				Offence: VoteConflict, Account: r.cfg.Genesis.Witnesses[w].Account, Owner: p.lane.key.account,
				Lane: p.lane.key.lane, Seq: p.seq, First: [32]byte(a.id), Second: [32]byte(b.id),
			})
		}
	}
}
