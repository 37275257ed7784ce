package proofs

import (
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs/merkle"
)

// A Reveal opens the sampled tiles of a commit. It carries the root of every
// round, because one link of the chain that goes unchecked would do: behind it all
// rounds could have been computed before the storm.
type Reveal struct {
	Roots  []p2p.Digest // of all rounds, in order
	Opened []Opened     // the rounds with sampled tiles, ascending
}

// Opened is a round with sampled tiles.
type Opened struct {
	Round uint32
	Tiles []OpenTile   // ascending
	Path  []p2p.Digest // opens the tiles' leaves under the round's root, all at once
}

// An OpenTile is a sampled tile.
type OpenTile struct {
	Number uint32
	Leaf   p2p.Digest // what the prover committed to; a verifier computes its own
}

// numbers returns the numbers of the tiles.
func (o *Opened) numbers() []uint32 {
	ns := make([]uint32, len(o.Tiles))
	for i, t := range o.Tiles {
		ns[i] = t.Number
	}
	return ns
}

const (
	tileSize    = 4 + 32
	groupMin    = 4 + 2 + tileSize + 2 // an Opened with one tile and no path
	messageRoom = 256                  // for the fields of the message around a reveal
	samplesMax  = 255
	pathMax     = samplesMax * merkle.DepthMax
)

// EncodeReveal writes the canonical bytes of a reveal.
func EncodeReveal(w *wire.Writer, r *Reveal) {
	putDigests(w, r.Roots)
	w.Count(len(r.Opened))
	for _, o := range r.Opened {
		w.U32(o.Round)
		w.Count(len(o.Tiles))
		for _, t := range o.Tiles {
			w.U32(t.Number)
			w.Fixed(t.Leaf[:])
		}
		putDigests(w, o.Path)
	}
}

// DecodeReveal reads what EncodeReveal writes; the reader keeps the error as well,
// and is not closed. It allocates no more than a small multiple of the bytes that
// are there. What it returns is well formed, not true: see Verify.
func DecodeReveal(rd *wire.Reader) (*Reveal, error) {
	r := &Reveal{Roots: readDigests(rd, RoundsMax)}
	r.Opened = make([]Opened, rd.Count(samplesMax, groupMin))
	for i := range r.Opened {
		o := &r.Opened[i]
		o.Round = rd.U32()
		o.Tiles = make([]OpenTile, rd.Count(samplesMax, tileSize))
		for j := range o.Tiles {
			o.Tiles[j].Number = rd.U32()
			rd.Into(o.Tiles[j].Leaf[:])
		}
		o.Path = readDigests(rd, pathMax)
		if rd.Err() != nil {
			break
		}
	}
	if err := rd.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

func putDigests(w *wire.Writer, ds []p2p.Digest) {
	w.Count(len(ds))
	for i := range ds {
		w.Fixed(ds[i][:])
	}
}

func readDigests(r *wire.Reader, limit int) []p2p.Digest {
	ds := make([]p2p.Digest, r.Count(limit, len(p2p.Digest{})))
	for i := range ds {
		r.Into(ds[i][:])
	}
	return ds
}
