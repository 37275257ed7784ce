package replica

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// Heads returns, by witness, the sequence number of the last frame held: this replica
// asks for what comes after it. Whatever frames wait for does not change it: a hostile
// witness can name frames that do not exist, and would have this replica ask for old
// ones for ever. See Lacking.
func (r *Replica) Heads() []uint32 {
	out := make([]uint32, len(r.witnesses))
	for i := range r.witnesses {
		out[i] = uint32(len(r.witnesses[i].chain))
	}
	return out
}

// Lacking returns at most limit ids of frames that parked ones wait for and that Heads
// do not ask for, because another frame of their place is held: sides of forks, and what
// does not exist. Like Missing it goes on where the last call ended. It looks at so many
// others at most; the next call goes on.
func (r *Replica) Lacking(limit int) []p2p.Digest {
	return r.lacking.take(limit, r.waitsFor, r.lacksSide)
}

// waitsFor reports whether parked frames wait for the named one.
func (r *Replica) waitsFor(id p2p.Digest) bool { return r.waits[id] != nil }

// lacksSide reports whether a frame that others wait for is not here, and Heads do not ask
// for it.
func (r *Replica) lacksSide(id p2p.Digest) bool {
	if r.parked[id] != nil {
		return false
	}
	f := r.waits[id][0].frame
	witness, seq := f.Witness, f.Seq-1
	if id != f.Prev {
		at := slices.IndexFunc(f.Seen, func(s Seen) bool { return s.ID == id })
		witness, seq = f.Seen[at].Witness, f.Seen[at].Seq
	}
	return int(seq) <= len(r.witnesses[witness].chain)
}

// Frame returns a frame that is held, and not parked.
func (r *Replica) Frame(id p2p.Digest) (*Frame, bool) {
	l := r.frames[id]
	if l == nil {
		return nil, false
	}
	return l.frame, true
}

// ids returns the ids of the frames at a place, in order.
func (w *witness) ids(seq uint32) []byte {
	out := make([]byte, 0, maxForks*len(p2p.Digest{}))
	for _, l := range byID(w.chain[seq-1]) {
		out = append(out, l.id[:]...)
	}
	return out
}

// Tips returns, by witness, a digest of the frames held at the end of its chain and
// wherever it forks. Replicas with equal Heads and different Tips hold different
// sides of a fork: each sends the other what comes after Resend.
func (r *Replica) Tips() []p2p.Digest {
	out := make([]p2p.Digest, len(r.witnesses))
	for i := range r.witnesses {
		w := &r.witnesses[i]
		if len(w.chain) == 0 {
			continue
		}
		if len(w.forks) > 0 && w.sides == (p2p.Digest{}) {
			var ids []byte
			for _, seq := range w.forks {
				ids = append(ids, w.ids(seq)...)
			}
			w.sides = p2p.Sum("pinfi/sides/1", ids)
		}
		out[i] = p2p.Sum("pinfi/tips/1", w.sides[:], w.ids(uint32(len(w.chain))))
	}
	return out
}

// Resend returns the sequence number after which to send a witness's frames to a
// replica that has the same head and another tip: the end of the chain and the
// places where it forks come up in turn. The witness must be one.
func (r *Replica) Resend(witness uint16) uint32 {
	w := &r.witnesses[witness]
	at := w.turn % (len(w.forks) + 1)
	w.turn++
	if at > 0 {
		return w.forks[at-1] - 1
	}
	return uint32(max(1, len(w.chain)) - 1)
}

// FramesAfter returns at most limit frames that have, by witness, larger sequence
// numbers than those given, both sides of a fork included, in an order in which they
// can be added: a frame comes after those it rests on.
func (r *Replica) FramesAfter(after []uint32, limit int) []*Frame {
	if len(after) != len(r.witnesses) {
		return nil
	}
	first := len(r.log)
	for i := range r.witnesses {
		chain := r.witnesses[i].chain
		if int(after[i]) < len(chain) { // what follows was linked later
			for _, l := range chain[after[i]] {
				first = min(first, l.order)
			}
		}
	}
	var out []*Frame
	for _, l := range r.log[first:] {
		if len(out) >= limit {
			break
		}
		if l.frame.Seq > after[l.frame.Witness] {
			out = append(out, l.frame)
		}
	}
	return out
}

// Brought returns the operations and bundles that a held frame was the first to vote
// for, as far as they are held. Every one that was voted for is brought by one frame,
// so whoever gets all frames with what they bring lacks nothing.
func (r *Replica) Brought(f *Frame) (ops []*ledger.Op, bundles []*Bundle) {
	l := r.frames[f.ID()]
	if l == nil {
		return nil, nil
	}
	for _, id := range f.Votes {
		if e := r.entries[id]; e != nil && e.item != nil && e.first == l {
			ops = append(ops, e.item.Op)
		}
	}
	for i := range f.Bundles {
		if b := r.bundles[f.Bundles[i].ID]; b.held() && b.first == l {
			bundles = append(bundles, b.whole())
		}
	}
	return ops, bundles
}

// Missing returns at most limit ids of operations that were voted for and are not
// held, in the order in which they came to be missing. It goes on where the last call
// ended, and round again, so that made-up ids do not keep the others from being asked for.
func (r *Replica) Missing(limit int) []ledger.OpID { return r.asking.take(limit, r.misses, always) }

// Absent is Missing for bundles.
func (r *Replica) Absent(limit int) []BundleID {
	return r.askingBundle.take(limit, r.lacksBundle, always)
}

// misses reports whether an operation is missing.
func (r *Replica) misses(id ledger.OpID) bool { return r.missing[id] != nil }

// lacksBundle reports whether a bundle is absent.
func (r *Replica) lacksBundle(id BundleID) bool { return r.absent[id] != nil }

// always is true of all.
func always[K any](K) bool { return true }

// miss takes note that an operation is missing.
func (r *Replica) miss(e *entry) {
	if r.missing[e.id] == nil {
		r.asking.add(e.id, len(r.missing), r.misses)
		r.missing[e.id] = e
	}
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m { // order-free: sorted below
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}

// Bundle returns a bundle that is held.
func (r *Replica) Bundle(id BundleID) (*Bundle, bool) {
	b := r.bundles[id]
	if !b.held() {
		return nil, false
	}
	return b.whole(), true
}
