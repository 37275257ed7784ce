// Package merkle holds the hash trees of PoCPS: trees of a power of two leaves,
// and the paths that open many leaves of one tree at once.
//
// It is not the tree of the ledger's state, and it hashes no data of its own but
// through Leaf. The calls you need are New, Tree.Open and Verify. The invariant:
// for one root and one set of leaf numbers, exactly one list of leaf hashes and
// one path verify, unless SHA-256 is broken. The prefixes 0x00 of a leaf and 0x01
// of an inner node are those of RFC 6962, section 2.1, so that no leaf can be
// shown as an inner node.
package merkle

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"github.com/pinfi/pinfi/p2p"
)

// DepthMax is the largest depth of a tree: 2^22 leaves, as many tiles as a round
// of 32768 x 32768 entries has.
const DepthMax = 22

// Leaf returns the hash of a leaf's data: SHA-256(0x00 || data).
func Leaf(data []byte) p2p.Digest {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(data)
	return p2p.Digest(h.Sum(nil))
}

// Inner returns the hash of an inner node: SHA-256(0x01 || left || right).
func Inner(left, right p2p.Digest) p2p.Digest {
	var b [1 + 32 + 32]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// Depth returns the number of inner levels over the given number of leaves,
// rounded up: the tree of 5 leaves is one of 8, of depth 3. No leaves count as
// one.
func Depth(leaves int) int {
	if leaves <= 1 {
		return 0
	}
	return bits.Len(uint(leaves - 1))
}

// A Tree is a whole tree in memory: twice its leaves, at 32 bytes each.
type Tree struct{ levels [][]p2p.Digest }

// New returns the tree over the leaf hashes, in order. Leaves that lack to the
// next power of two are zero digests, which no data hashes to. New keeps the
// slice when its length is a power of two. It panics on more leaves than a tree
// of DepthMax has.
func New(leaves []p2p.Digest) *Tree {
	depth := Depth(len(leaves))
	if depth > DepthMax {
		panic(fmt.Sprintf("merkle: tree of %d leaves, at most 2^%d", len(leaves), DepthMax))
	}
	level := leaves
	if len(level) != 1<<depth {
		level = make([]p2p.Digest, 1<<depth)
		copy(level, leaves)
	}
	t := &Tree{levels: make([][]p2p.Digest, 0, depth+1)}
	t.levels = append(t.levels, level)
	for len(level) > 1 {
		next := make([]p2p.Digest, len(level)/2)
		for i := range next {
			next[i] = Inner(level[2*i], level[2*i+1])
		}
		t.levels = append(t.levels, next)
		level = next
	}
	return t
}

// Root returns the hash over the whole tree.
func (t *Tree) Root() p2p.Digest { return t.levels[len(t.levels)-1][0] }

// Depth returns the number of inner levels.
func (t *Tree) Depth() int { return len(t.levels) - 1 }

// Open returns the path that opens the leaves of the given numbers, which must
// ascend: the hashes of the nodes that cannot be computed from those leaves, level
// by level from the bottom and from left to right. It panics on numbers that do
// not ascend or are no leaf's.
func (t *Tree) Open(numbers []uint32) []p2p.Digest {
	if !ascending(numbers, t.Depth()) {
		panic(fmt.Sprintf("merkle: open %v of a tree of depth %d", numbers, t.Depth()))
	}
	var path []p2p.Digest
	at := append([]uint32(nil), numbers...)
	for _, level := range t.levels[:t.Depth()] {
		up := at[:0]
		for i := 0; i < len(at); i++ {
			n := at[i]
			if i+1 < len(at) && at[i+1] == n^1 {
				i++
			} else {
				path = append(path, level[n^1])
			}
			up = append(up, n/2)
		}
		at = up
	}
	return path
}

// PathLen returns the length of the path that opens the leaves of the given
// ascending numbers in a tree of the given depth.
func PathLen(depth int, numbers []uint32) int {
	length := 0
	at := append([]uint32(nil), numbers...)
	for range depth {
		up := at[:0]
		for i := 0; i < len(at); i++ {
			n := at[i]
			if i+1 < len(at) && at[i+1] == n^1 {
				i++
			} else {
				length++
			}
			up = append(up, n/2)
		}
		at = up
	}
	return length
}

// Verify reports whether the path opens the leaf hashes at the given ascending
// numbers under the root of a tree of the given depth. It refuses paths that are
// longer than needed, so that one opening has one form. It never panics.
func Verify(root p2p.Digest, depth int, numbers []uint32, leaves, path []p2p.Digest) bool {
	if depth < 0 || depth > DepthMax || len(numbers) != len(leaves) || !ascending(numbers, depth) {
		return false
	}
	at := append([]uint32(nil), numbers...)
	nodes := append([]p2p.Digest(nil), leaves...)
	for range depth {
		n, rest, ok := climb(at, nodes, path)
		if !ok {
			return false
		}
		at, nodes, path = at[:n], nodes[:n], rest
	}
	return len(path) == 0 && nodes[0] == root
}

// climb replaces the nodes of one level by their parents, in place, and returns
// how many parents there are and what is left of the path.
func climb(at []uint32, nodes, path []p2p.Digest) (int, []p2p.Digest, bool) {
	parents := 0
	for i := 0; i < len(at); i++ {
		n, node := at[i], nodes[i]
		var other p2p.Digest
		switch {
		case i+1 < len(at) && at[i+1] == n^1:
			i++
			other = nodes[i]
		case len(path) > 0:
			other, path = path[0], path[1:]
		default:
			return 0, nil, false
		}
		if n&1 == 1 {
			node, other = other, node
		}
		at[parents], nodes[parents] = n/2, Inner(node, other)
		parents++
	}
	return parents, path, true
}

// ascending reports whether the numbers are at least one, strictly ascend, and
// are leaves of a tree of the depth.
func ascending(numbers []uint32, depth int) bool {
	for i, n := range numbers {
		if n >= 1<<depth || i > 0 && n <= numbers[i-1] {
			return false
		}
	}
	return len(numbers) > 0
}
