package replica

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// An Accusation convinces anybody who knows the genesis, and nothing else of the ledger, of
// an offence: an OpFork, a FrameFork or a VoteConflict. The others follow from a whole
// replica only.
type Accusation struct {
	Offence Offence
	Ops     [2]*ledger.Op // OpFork, VoteConflict: the rivals, in order of ids
	Frames  [2]*Frame     // FrameFork: the rivals, in order of ids; VoteConflict: who votes for Ops[0], and for Ops[1]
	// Bundles are, in a VoteConflict, the ids of the bundle by which each frame votes for
	// its operation; nil where it votes for it by itself.
	Bundles [2][]ledger.OpID
}

// MaxAccusation is the size of the largest encoded Accusation in bytes.
const MaxAccusation = 1 + 2*(blobHead+ledger.MaxOp) + 2*(blobHead+MaxFrame) + 2*(2+32*MaxBundleOps)

// ErrAccusation is why a proof proves nothing.
var ErrAccusation = errors.New("proves nothing")

// Encode returns the canonical bytes.
func (p *Accusation) Encode() []byte {
	w := wire.NewWriter(4096)
	w.U8(uint8(p.Offence))
	if p.Offence != FrameFork {
		w.Blob(p.Ops[0].Encode())
		w.Blob(p.Ops[1].Encode())
	}
	if p.Offence != OpFork {
		w.Blob(p.Frames[0].Encode())
		w.Blob(p.Frames[1].Encode())
	}
	if p.Offence == VoteConflict {
		for _, ids := range p.Bundles {
			w.Count(len(ids))
			for i := range ids {
				w.Fixed(ids[i][:])
			}
		}
	}
	return w.Bytes()
}

// DecodeAccusation reads what Encode writes and nothing else. Its errors wrap those of
// package wire. It looks at no signature: see Verify.
func DecodeAccusation(b []byte) (*Accusation, error) {
	r := wire.NewReader(b)
	p := &Accusation{Offence: Offence(r.U8())}
	if p.Offence < OpFork || p.Offence > VoteConflict {
		r.Fail(fmt.Errorf("%w: accusation of offence %d", wire.ErrValue, p.Offence))
	}
	if p.Offence != FrameFork {
		p.Ops[0], p.Ops[1] = readOf(r, ledger.MaxOp, ledger.DecodeOp), readOf(r, ledger.MaxOp, ledger.DecodeOp)
	}
	if p.Offence != OpFork {
		p.Frames[0], p.Frames[1] = readOf(r, MaxFrame, DecodeFrame), readOf(r, MaxFrame, DecodeFrame)
	}
	if p.Offence == VoteConflict {
		for i := range p.Bundles {
			p.Bundles[i] = readList(r, MaxBundleOps, 32, func(id *ledger.OpID) { r.Into(id[:]) })
		}
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("accusation: %w", err)
	}
	return p, nil
}

// readOf reads a blob that decodes.
func readOf[T any](r *wire.Reader, limit int, decode func([]byte) (*T, error)) *T {
	b := r.Blob(limit)
	if r.Err() != nil {
		return nil
	}
	v, err := decode(b)
	if err != nil {
		r.Fail(err)
	}
	return v
}

// Evidence returns what the proof proves, once the signatures that it returns hold.
// An error wraps ErrAccusation.
func (p *Accusation) Evidence(network p2p.Network, g *ledger.Genesis) (ev Evidence, signed []p2p.Signed, err error) {
	ev.Offence = p.Offence
	if p.Offence != FrameFork {
		a, b := p.Ops[0], p.Ops[1]
		ev.First, ev.Second = a.SigningDigest(), b.SigningDigest()
		ev.Account, ev.Lane, ev.Seq = a.Account, a.Lane, a.Seq
		if chain := ledger.ChainOf(network); a.Account != b.Account || a.Lane != b.Lane || a.Seq != b.Seq ||
			a.Chain != chain || b.Chain != chain || a.Epoch != b.Epoch {
			return ev, nil, fmt.Errorf("%w: its operations are no rivals", ErrAccusation)
		}
		signed = append(signed, p2p.Signed{Key: a.Account, Digest: ev.First, Sig: a.Sig},
			p2p.Signed{Key: b.Account, Digest: ev.Second, Sig: b.Sig})
	}
	if p.Offence != OpFork {
		if err := p.framesOf(ledger.ChainOf(network), g, &ev); err != nil {
			return ev, nil, err
		}
		for _, f := range p.Frames {
			signed = append(signed, p2p.Signed{Key: ev.Account, Digest: f.SigningDigest(), Sig: f.Sig})
		}
	}
	if p2p.PeerID(ev.First).Compare(p2p.PeerID(ev.Second)) >= 0 {
		return ev, nil, fmt.Errorf("%w: the two are one, or out of order", ErrAccusation)
	}
	return ev, signed, nil
}

// framesOf checks the frames of a FrameFork or a VoteConflict, and puts their witness
// into the evidence.
func (p *Accusation) framesOf(chain uint32, g *ledger.Genesis, ev *Evidence) error {
	a, b := p.Frames[0], p.Frames[1]
	if a.Witness != b.Witness || a.Epoch != b.Epoch || a.Chain != chain || b.Chain != chain ||
		int(a.Witness) >= len(g.Witnesses) {
		return fmt.Errorf("%w: its frames are not of one witness of the network", ErrAccusation)
	}
	ev.Owner, ev.Account = ev.Account, g.Witnesses[a.Witness].Account
	if p.Offence == FrameFork {
		ev.First, ev.Second, ev.Seq = a.ID(), b.ID(), uint64(a.Seq)
		if a.Seq != b.Seq {
			return fmt.Errorf("%w: its frames are no rivals", ErrAccusation)
		}
		return nil
	}
	for i, id := range []p2p.Digest{ev.First, ev.Second} {
		if !p.Frames[i].votesFor(ledger.OpID(id), p.Bundles[i]) {
			return fmt.Errorf("%w: frame %d does not vote for operation %d", ErrAccusation, i+1, i+1)
		}
	}
	return nil
}

// votesFor reports whether a frame votes for an operation: by itself where the bundle is
// nil, else by a bundle of the given operations.
func (f *Frame) votesFor(id ledger.OpID, bundle []ledger.OpID) bool {
	if bundle == nil {
		return slices.Contains(f.Votes, id)
	}
	name, at := bundleID(bundle), slices.Index(bundle, id)
	return at >= 0 && slices.ContainsFunc(f.Bundles, func(v BundleVote) bool {
		_, out := slices.BinarySearch(v.Rejects, uint16(at))
		return v.ID == name && !out
	})
}

// Accusation returns what convinces others of evidence that the replica has found, and false when there
// is none to carry away, or what it takes is no longer held.
func (r *Replica) Accusation(ev Evidence) (*Accusation, bool) {
	p := &Accusation{Offence: ev.Offence}
	switch ev.Offence {
	case OpFork:
		return p, r.proveOps(p, ev)
	case FrameFork:
		for i, id := range []p2p.Digest{ev.First, ev.Second} {
			l := r.frames[id]
			if l == nil {
				return nil, false
			}
			p.Frames[i] = l.frame
		}
		return p, true
	case VoteConflict:
		w, ok := r.cfg.Genesis.WitnessOf(ev.Account)
		if !ok || !r.proveOps(p, ev) {
			return nil, false
		}
		for i, id := range []p2p.Digest{ev.First, ev.Second} {
			if p.Frames[i], p.Bundles[i] = r.voteOf(w, r.entries[ledger.OpID(id)]); p.Frames[i] == nil {
				return nil, false
			}
		}
		return p, true
	case DoubleCertificate, InvalidVote:
		return nil, false
	default:
		return nil, false
	}
}

// proveOps puts the rivals into a proof.
func (r *Replica) proveOps(p *Accusation, ev Evidence) bool {
	for i, id := range []p2p.Digest{ev.First, ev.Second} {
		e := r.entries[ledger.OpID(id)]
		if e == nil || e.item == nil {
			return false
		}
		p.Ops[i] = e.item.Op
	}
	return true
}

// voteOf returns a frame by which a witness votes for an operation, and the ids of the
// bundle by which it does; nil where it does so by itself.
func (r *Replica) voteOf(w uint16, e *entry) (*Frame, []ledger.OpID) {
	find := func(t *tally, ids []ledger.OpID) *Frame {
		if t == nil || !t.voters.has(w) {
			return nil
		}
		for _, place := range r.witnesses[w].chain { // one may leave out what another takes
			for _, l := range place {
				if l.frame.votesFor(e.id, ids) {
					return l.frame
				}
			}
		}
		return nil
	}
	if f := find(e.single, nil); f != nil {
		return f, nil
	}
	for _, s := range e.in {
		ids := make([]ledger.OpID, len(s.bundle.ops))
		for i, o := range s.bundle.ops {
			ids[i] = o.id
		}
		if f := find(&s.bundle.tally, ids); f != nil {
			return f, ids
		}
	}
	return nil, nil
}

// Accuse takes evidence that an Accusation whose signatures hold has given, and reports
// whether it is new.
func (r *Replica) Accuse(ev Evidence) bool {
	n := len(r.offences)
	r.accuse(ev)
	return len(r.offences) > n
}

// Knows reports whether an offence is known.
func (r *Replica) Knows(id OffenceID) bool {
	_, ok := r.offences[id]
	return ok
}
