package proofs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/pinfi/pinfi/p2p"
)

// asBytes returns entries as the bytes they are.
func asBytes(x []int8) []byte {
	b := make([]byte, len(x))
	for i, v := range x {
		b[i] = byte(v)
	}
	return b
}

// [PRF-1] A matrix is a stream of ChaCha with 8 rounds, keyed by the seed, with
// block counter, domain, row and 0 as the last words of the state; sixteen blocks
// are interleaved word by word. The digest over 64 x 64 x 2048 entries is one that
// other programs computed, on little- and big-endian machines.
func TestMatricesAreKnown(t *testing.T) {
	const side, k, want = 64, 2048, "cfe1d8f69282a190d9f069ba9ffc3bbf"
	s := newStream(sha256.Sum256([]byte("det")))
	a, b := make([]int8, side*k), make([]int8, side*k)
	for i := range side {
		s.row(a[i*k:(i+1)*k], domainA, uint32(i))
		s.row(b[i*k:(i+1)*k], domainB, uint32(i))
	}
	c := make([]int32, side*side)
	naive(c, a, b, side, side, k)
	all := sha256.New()
	for top := 0; top < side; top += Tile {
		for left := 0; left < side; left += Tile {
			var tile []byte
			for i := top; i < top+Tile; i++ {
				for j := left; j < left+Tile; j++ {
					tile = binary.LittleEndian.AppendUint32(tile, uint32(c[i*side+j]))
				}
			}
			sum := sha256.Sum256(tile)
			all.Write(sum[:])
		}
	}
	if got := hex.EncodeToString(all.Sum(nil)[:16]); got != want {
		t.Errorf("digest of the product is %s, want %s", got, want)
	}
}

// [PRF-2] A row's last chunk of fewer than 1024 bytes has as many lanes as it has
// blocks of 64 bytes, and block counters run on through all chunks.
func TestPartialChunks(t *testing.T) {
	s := newStream(p2p.Sum("test"))
	for size := blockSize; size <= 3*chunkSize; size += blockSize {
		var want []byte
		counter := uint32(0)
		for left := size; left > 0; {
			width := min(left/64, 16)
			blocks := make([][16]uint32, width)
			for lane := range blocks {
				s.block(counter, domainB, 7, &blocks[lane])
				counter++
			}
			for w := range 16 {
				for lane := range blocks {
					want = binary.LittleEndian.AppendUint32(want, blocks[lane][w])
				}
			}
			left -= width * 64
		}
		got := make([]int8, size)
		s.row(got, domainB, 7)
		if !bytes.Equal(asBytes(got), want) {
			t.Fatalf("row of %d bytes is cut otherwise", size)
		}
	}
}

// Rows of other seeds, domains and numbers share nothing.
func TestRowsDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for seed := range 3 {
		s := newStream(p2p.Sum("test", []byte{byte(seed)}))
		for _, domain := range []uint32{domainA, domainB} {
			for row := range uint32(3) {
				x := make([]int8, blockSize)
				s.row(x, domain, row)
				seen[string(asBytes(x))] = true
			}
		}
	}
	if len(seen) != 3*2*3 {
		t.Errorf("%d different rows of 18", len(seen))
	}
}

func BenchmarkRow(b *testing.B) {
	s := newStream(p2p.Sum("test"))
	row := make([]int8, 4096)
	b.SetBytes(int64(len(row)))
	for b.Loop() {
		s.row(row, domainA, 1)
	}
}
