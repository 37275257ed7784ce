package replica

// A load is what the frames of one chain that name one slot hold, repetitions included.
// It is a function of the chain, and so is what it allows.
type load struct {
	frames  uint32
	votes   uint32 // for operations one by one
	bundles uint32 // votes for bundles
}

// perSlot returns how much a witness may say in a slot: a frame in 20 ms, a vote for a
// bundle in 4 ms and eight votes for operations in a millisecond, and some more where
// slots are short. Full bundles are twice the operations that a node can verify.
func (r *Replica) perSlot() load {
	ms := min(r.cfg.Genesis.SlotMillis, 1<<26) // nineteen hours: no product overflows
	return load{frames: ms/20 + 8, votes: 8*ms + 2*MaxVotes, bundles: ms/4 + MaxBundles}
}

// loadOf returns the load of one frame.
func loadOf(f *Frame) load { return load{1, uint32(len(f.Votes)), uint32(len(f.Bundles))} }

// plus returns the load of both.
func (l load) plus(o load) load {
	return load{l.frames + o.frames, l.votes + o.votes, l.bundles + o.bundles}
}

// within reports whether nothing of a load is more than in the other.
func (l load) within(most load) bool {
	return l.frames <= most.frames && l.votes <= most.votes && l.bundles <= most.bundles
}

// left returns how much is left of the most after a load within it.
func (l load) left(most load) load {
	return load{most.frames - l.frames, most.votes - l.votes, most.bundles - l.bundles}
}
