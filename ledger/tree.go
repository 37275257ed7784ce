package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/pinfi/pinfi/p2p"
)

// The first byte of all that the tree hashes, so that no leaf can pass for a node.
const (
	hashLeaf uint8 = iota
	hashNode
	hashPath
)

// A path is where in the tree the leaf of a key is: its bits, the highest of the
// first byte first, say which way to turn. It is a hash, so that nobody can choose
// keys that make the tree deep.
type path = p2p.Digest

// pathOf returns the path of a key.
func pathOf(key []byte) path {
	var buf [1 + MaxKey]byte
	return sha256.Sum256(append(append(buf[:0], hashPath), key...))
}

// turn returns the bit of a path: 0 or 1.
func turn(p *path, bit uint8) int { return int(p[bit>>3]>>(7-bit&7)) & 1 }

// leafHash returns the hash of a leaf. It covers the key whole, so that no other key
// has the leaf.
func leafHash(key, value []byte) p2p.Digest {
	var buf [256]byte
	b := binary.BigEndian.AppendUint32(append(buf[:0], hashLeaf), uint32(len(key)))
	return sha256.Sum256(append(append(b, key...), value...))
}

// nodeHash returns the hash of a node: the bit at which the paths below it part,
// and the hashes of both sides. Without the bit, a proof could lead astray and
// find absent what is there.
func nodeHash(bit uint8, left, right *p2p.Digest) p2p.Digest {
	var buf [2 + 2*len(left)]byte
	buf[0], buf[1] = hashNode, bit
	copy(buf[2:], left[:])
	copy(buf[2+len(left):], right[:])
	return sha256.Sum256(buf[:])
}

// A leafOwner is what has a leaf: it knows what the leaf holds now.
type leafOwner interface {
	appendKey(b []byte) []byte
	appendValue(s *State, b []byte) (value []byte, ok bool) // false: it has no leaf any more
}

// A tree is a Merkle tree over the paths of keys in which every node has two
// children, because the bits that all paths below share are left out (a crit-bit
// tree). Its shape, and so its root, follows from the set of its leaves and not
// from how that came about. Hashes of nodes are computed when they are asked for.
//
// Leaves and nodes have numbers from 1, which stay theirs until they are removed.
type tree struct {
	root   ref
	leaves pool[treeLeaf]
	nodes  pool[treeNode]
}

// A ref is the number of a node, doubled, or that of a leaf, doubled and one more.
// The zero ref is none.
type ref uint32

func leafRef(leaf uint32) ref { return ref(leaf<<1 | 1) }
func nodeRef(node uint32) ref { return ref(node << 1) }
func (r ref) isLeaf() bool    { return r&1 == 1 }
func (r ref) number() uint32  { return uint32(r >> 1) }

type treeLeaf struct {
	hash  p2p.Digest
	owner leafOwner
	up    uint32 // the node above, 0 for none
}

type treeNode struct {
	hash  p2p.Digest
	kids  [2]ref
	up    uint32 // the node above, 0 for none
	bit   uint8  // less than those of the nodes below
	stale bool   // the hash is not that of the children; so are those above
}

// A pool is a slice in which places that were given back are given out again.
// Place 0 is never given out.
type pool[T any] struct {
	at   []T
	free []uint32
}

// take returns a place, which is zero.
func (p *pool[T]) take() uint32 {
	if n := len(p.free); n > 0 {
		i := p.free[n-1]
		p.free = p.free[:n-1]
		return i
	}
	var zero T
	if len(p.at) == 0 {
		p.at = append(p.at, zero)
	}
	p.at = append(p.at, zero)
	return uint32(len(p.at) - 1)
}

// give gives a place back.
func (p *pool[T]) give(i uint32) {
	var zero T
	p.at[i] = zero
	p.free = append(p.free, i)
}

// len returns the number of leaves.
func (t *tree) len() int { return max(len(t.leaves.at)-1, 0) - len(t.leaves.free) }

// near returns the leaf at which a search ends, 0 in an empty tree. If the path has
// a leaf, it is that.
func (t *tree) near(p *path) uint32 {
	at := t.root
	for at != 0 && !at.isLeaf() {
		n := &t.nodes.at[at.number()]
		at = n.kids[turn(p, n.bit)]
	}
	return at.number()
}

// A newLeaf is a leaf to be inserted, and where its number is to be written, if
// anywhere.
type newLeaf struct {
	path  path
	hash  p2p.Digest
	owner leafOwner
	place *uint32
}

// insertAll inserts leaves in the order of their paths, because neighbours then lie
// close in memory and are found fast: for a million it takes a third of the time. A
// path may come more than once if its leaf has no place.
func (t *tree) insertAll(fresh []newLeaf) {
	type head struct {
		first uint64 // eight bytes of the path; what they do not tell apart may come in any order
		i     int
	}
	order := make([]head, len(fresh))
	for i := range fresh {
		order[i] = head{binary.BigEndian.Uint64(fresh[i].path[:]), i}
	}
	slices.SortFunc(order, func(a, b head) int { return cmp.Compare(a.first, b.first) })
	t.leaves.at = slices.Grow(t.leaves.at, len(fresh))
	t.nodes.at = slices.Grow(t.nodes.at, len(fresh))
	for _, o := range order {
		l := &fresh[o.i]
		leaf := t.insert(&l.path, l.owner, l.hash)
		if l.place != nil {
			*l.place = leaf
		}
	}
}

// insert adds a leaf and returns its number. If its path has one, it is that.
func (t *tree) insert(p *path, owner leafOwner, hash p2p.Digest) uint32 {
	near := t.near(p)
	if near == 0 {
		t.root = leafRef(t.newLeaf(owner, hash))
		return t.root.number()
	}
	var buf [MaxKey]byte
	other := pathOf(t.leaves.at[near].owner.appendKey(buf[:0]))
	bit, differ := parting(p, &other)
	if !differ {
		t.set(near, owner, hash)
		return near
	}
	below, up := leafRef(near), t.leaves.at[near].up
	for up != 0 && t.nodes.at[up].bit > bit {
		below, up = nodeRef(up), t.nodes.at[up].up
	}
	leaf, node := t.newLeaf(owner, hash), t.nodes.take()
	n := &t.nodes.at[node]
	n.bit, n.stale = bit, true
	side := turn(p, bit)
	n.kids[side], n.kids[1-side] = leafRef(leaf), below
	t.hang(nodeRef(node), below, up)
	t.setUp(leafRef(leaf), node)
	t.setUp(below, node)
	t.spoil(up)
	return leaf
}

// newLeaf returns the number of a leaf that hangs nowhere yet.
func (t *tree) newLeaf(owner leafOwner, hash p2p.Digest) uint32 {
	leaf := t.leaves.take()
	t.leaves.at[leaf] = treeLeaf{hash: hash, owner: owner}
	return leaf
}

// parting returns the first bit in which two paths differ, and false if none does.
func parting(a, b *path) (bit uint8, differ bool) {
	for i := 0; i < len(a); i += 8 {
		if x := binary.BigEndian.Uint64(a[i:]) ^ binary.BigEndian.Uint64(b[i:]); x != 0 {
			return uint8(8*i + bits.LeadingZeros64(x)), true
		}
	}
	return 0, false
}

// remove takes a leaf out, and its place with it.
func (t *tree) remove(leaf uint32) {
	up := t.leaves.at[leaf].up
	t.leaves.give(leaf)
	if up == 0 {
		t.root = 0
		return
	}
	n := t.nodes.at[up]
	rest := n.kids[0]
	if rest == leafRef(leaf) {
		rest = n.kids[1]
	}
	t.hang(rest, nodeRef(up), n.up)
	t.nodes.give(up)
	t.spoil(n.up)
}

// hang puts now in the place of old under a node, or at the root if up is 0.
func (t *tree) hang(now, old ref, up uint32) {
	t.setUp(now, up)
	switch {
	case up == 0:
		t.root = now
	case t.nodes.at[up].kids[0] == old:
		t.nodes.at[up].kids[0] = now
	default:
		t.nodes.at[up].kids[1] = now
	}
}

// setUp says what is above.
func (t *tree) setUp(r ref, up uint32) {
	if r.isLeaf() {
		t.leaves.at[r.number()].up = up
		return
	}
	t.nodes.at[r.number()].up = up
}

// set gives a leaf another owner and hash.
func (t *tree) set(leaf uint32, owner leafOwner, hash p2p.Digest) {
	l := &t.leaves.at[leaf]
	l.owner = owner
	if l.hash != hash {
		l.hash = hash
		t.spoil(l.up)
	}
}

// spoil marks a node and those above it as stale.
func (t *tree) spoil(node uint32) {
	for node != 0 && !t.nodes.at[node].stale {
		t.nodes.at[node].stale = true
		node = t.nodes.at[node].up
	}
}

// digest returns the hash of a leaf or node, and computes those that are stale, at
// most 256 deep.
func (t *tree) digest(r ref) *p2p.Digest {
	if r.isLeaf() {
		return &t.leaves.at[r.number()].hash
	}
	n := &t.nodes.at[r.number()]
	if n.stale {
		n.hash = nodeHash(n.bit, t.digest(n.kids[0]), t.digest(n.kids[1]))
		n.stale = false
	}
	return &n.hash
}

// leafOf returns the leaf of a key, 0 for none.
func (t *tree) leafOf(key []byte) uint32 {
	p := pathOf(key)
	near := t.near(&p)
	var buf [MaxKey]byte
	if near == 0 || !bytes.Equal(t.leaves.at[near].owner.appendKey(buf[:0]), key) {
		return 0
	}
	return near
}
