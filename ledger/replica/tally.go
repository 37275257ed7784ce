package replica

import "github.com/pinfi/pinfi/ledger"

// A voterSet is a set of witnesses.
type voterSet [(ledger.MaxWitnesses + 63) / 64]uint64

// add adds a witness.
func (v *voterSet) add(w uint16) { v[w/64] |= 1 << (w % 64) }

// remove removes a witness.
func (v *voterSet) remove(w uint16) { v[w/64] &^= 1 << (w % 64) }

// has reports whether the witness is in the set.
func (v *voterSet) has(w uint16) bool { return v[w/64]>>(w%64)&1 == 1 }

// join adds all of another set.
func (v *voterSet) join(o voterSet) {
	for i := range v {
		v[i] |= o[i]
	}
}

// meets reports whether two sets have a witness in common.
func (v *voterSet) meets(o voterSet) bool {
	for i := range v {
		if v[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

// A tally is who voted for something, and where.
type tally struct {
	voters voterSet
	stake  ledger.Amount // of voters
	at     []uint32      // by witness, the place of the frame that voted; 0 for none
}

// count counts a vote, and reports false when it was there.
func (r *Replica) count(t *tally, w uint16, seq uint32) bool {
	if t.voters.has(w) {
		return false
	}
	if t.at == nil {
		t.at = make([]uint32, len(r.witnesses))
	}
	t.voters.add(w)
	t.stake += r.cfg.Genesis.Witnesses[w].Stake
	t.at[w] = seq
	return true
}
