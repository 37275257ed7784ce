package proofs

import (
	"cmp"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// A Sample names a tile of a transcript.
type Sample struct {
	Round uint32
	Tile  uint32 // number of the tile in its round
}

// compare orders samples by round, then by tile.
func (s Sample) compare(other Sample) int {
	return cmp.Or(cmp.Compare(s.Round, other.Round), cmp.Compare(s.Tile, other.Tile))
}

// Samples returns the tiles of a commit that the beat with the given output picks,
// in the order drawn; one may come twice. Round and tile are drawn in turn from
// the words of a stream keyed by output and commit. A word that would favour small
// numbers is skipped, so every tile is equally likely. The commit must be of at
// least one round.
func Samples(p *Params, output p2p.Digest, commit ledger.OpID, rounds uint32) []Sample {
	d := drawer{s: newStream(p2p.Sum("pinfi/pocps/sample/1", output[:], commit[:])), at: lanes}
	samples := make([]Sample, p.Samples)
	for i := range samples {
		samples[i] = Sample{Round: d.below(rounds), Tile: d.below(p.Tiles())}
	}
	return samples
}

// A drawer draws numbers from the words of a stream.
type drawer struct {
	s     *stream
	block uint32 // counter of the next block
	words [16]uint32
	at    int
}

// below returns a number below n, each equally likely; n must not be 0.
func (d *drawer) below(n uint32) uint32 {
	fair := -n % n // 2^32 mod n: as many of the least words are skipped
	for {
		if d.at == len(d.words) {
			d.s.block(d.block, domainSample, 0, &d.words)
			d.block, d.at = d.block+1, 0
		}
		w := d.words[d.at]
		d.at++
		if w >= fair {
			return w % n
		}
	}
}

// groups returns the sampled tiles by round, rounds and tiles ascending, each
// once.
func groups(samples []Sample) []Opened {
	sorted := slices.SortedFunc(slices.Values(samples), Sample.compare)
	var gs []Opened
	for _, s := range slices.Compact(sorted) {
		if len(gs) == 0 || gs[len(gs)-1].Round != s.Round {
			gs = append(gs, Opened{Round: s.Round})
		}
		last := &gs[len(gs)-1]
		last.Tiles = append(last.Tiles, OpenTile{Number: s.Tile})
	}
	return gs
}
