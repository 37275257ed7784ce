package merkle_test

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs/merkle"
)

func newLeaves(n int) []p2p.Digest {
	leaves := make([]p2p.Digest, n)
	for i := range leaves {
		leaves[i] = merkle.Leaf(binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	return leaves
}

// naive is the recursion of RFC 6962, section 2.1, for powers of two.
func naive(leaves []p2p.Digest) p2p.Digest {
	if len(leaves) == 1 {
		return leaves[0]
	}
	half := len(leaves) / 2
	left, right := naive(leaves[:half]), naive(leaves[half:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// [PRF-4] A tree is a binary SHA-256 tree of a power of two leaves: a leaf's hash
// has the prefix 0x00, an inner node's 0x01, missing leaves are zero digests.
func TestRoot(t *testing.T) {
	for n := 1; n <= 33; n++ {
		leaves := newLeaves(n)
		padded := make([]p2p.Digest, 1<<merkle.Depth(n))
		copy(padded, leaves)
		tree := merkle.New(leaves)
		if got, want := tree.Root(), naive(padded); got != want {
			t.Errorf("root of %d leaves = %v, want %v", n, got, want)
		}
		if len(padded) >= 2*n || len(padded) < n {
			t.Errorf("%d leaves are padded to %d", n, len(padded))
		}
	}
	want := sha256.Sum256([]byte{0, 7})
	if got := merkle.Leaf([]byte{7}); got != want {
		t.Errorf("leaf = %v, want %x", got, want)
	}
}

// Every set of leaves of every small tree opens, and no other numbers open with
// the same path.
func TestOpenExhaustive(t *testing.T) {
	for depth := range 4 {
		leaves := newLeaves(1 << depth)
		tree := merkle.New(leaves)
		for set := 1; set < 1<<len(leaves); set++ {
			var numbers []uint32
			var opened []p2p.Digest
			for i, leaf := range leaves {
				if set>>i&1 == 1 {
					numbers, opened = append(numbers, uint32(i)), append(opened, leaf)
				}
			}
			path := tree.Open(numbers)
			if len(path) != merkle.PathLen(depth, numbers) {
				t.Fatalf("path of %v has %d hashes, want %d", numbers, len(path), merkle.PathLen(depth, numbers))
			}
			if !merkle.Verify(tree.Root(), depth, numbers, opened, path) {
				t.Fatalf("depth %d: %v does not verify", depth, numbers)
			}
			for other := 1; other < 1<<len(leaves); other++ {
				var wrong []uint32
				for i := range leaves {
					if other>>i&1 == 1 {
						wrong = append(wrong, uint32(i))
					}
				}
				if other != set && merkle.Verify(tree.Root(), depth, wrong, opened, path) {
					t.Fatalf("depth %d: %v verifies as %v", depth, numbers, wrong)
				}
			}
		}
	}
}

// Any change of a leaf, the path or the root is refused.
func TestVerifyRefuses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		depth := rapid.IntRange(0, 8).Draw(t, "depth")
		tree := merkle.New(newLeaves(1 << depth))
		numbers := rapid.SliceOfNDistinct(rapid.Uint32Range(0, 1<<depth-1), 1, 1<<min(depth, 4),
			func(n uint32) uint32 { return n }).Draw(t, "numbers")
		slices.Sort(numbers)
		all := newLeaves(1 << depth)
		var leaves []p2p.Digest
		for _, n := range numbers {
			leaves = append(leaves, all[n])
		}
		root, path := tree.Root(), tree.Open(numbers)
		if !merkle.Verify(root, depth, numbers, leaves, path) {
			t.Fatalf("%v of depth %d does not verify", numbers, depth)
		}
		words := slices.Concat([]p2p.Digest{root}, leaves, path)
		at := rapid.IntRange(0, len(words)-1).Draw(t, "word")
		words[at][rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if merkle.Verify(words[0], depth, numbers, words[1:1+len(leaves)], words[1+len(leaves):]) {
			t.Fatalf("%v verifies with a bit flipped in hash %d", numbers, at)
		}
		if merkle.Verify(root, depth, numbers, leaves, append(path, p2p.Digest{})) {
			t.Fatal("a path with a hash too many verifies")
		}
		if len(path) > 0 && merkle.Verify(root, depth, numbers, leaves, path[:len(path)-1]) {
			t.Fatal("a path with a hash too few verifies")
		}
	})
}

// Verify answers anything a peer can send.
func TestVerifyHostile(t *testing.T) {
	leaves := newLeaves(4)
	root := merkle.New(leaves).Root()
	for _, c := range []struct {
		name    string
		depth   int
		numbers []uint32
		leaves  int
	}{
		{"no leaves", 2, nil, 0},
		{"fewer leaves than numbers", 2, []uint32{0, 1, 2, 3}, 3},
		{"twice the same", 2, []uint32{0, 0, 1, 2}, 4},
		{"descending", 2, []uint32{3, 2, 1, 0}, 4},
		{"past the end", 2, []uint32{0, 1, 2, 4}, 4},
		{"negative depth", -1, []uint32{0, 1, 2, 3}, 4},
		{"huge depth", 1 << 30, []uint32{0, 1, 2, 3}, 4},
	} {
		if merkle.Verify(root, c.depth, c.numbers, leaves[:c.leaves], nil) {
			t.Errorf("%s verifies", c.name)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	leaves := newLeaves(1 << 12)
	for b.Loop() {
		merkle.New(leaves)
	}
}
