package ledger

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// The first byte of a leaf. That of the i-th contract's leaves is leafContract+i.
const (
	leafLane uint8 = iota + 1
	leafCredit
	leafEscrow
	leafPot
	leafBond
	leafDevice
	leafBurned
	leafContract uint8 = 16
)

// Root returns the Merkle root of the state, by the tree of RFC 6962, section
// 2.1, with SHA-256. Its leaves are a tag, a key and a value, in ascending order
// of bytes within the ledger's own, then each contract's. It costs time in
// proportion to the whole state.
func (s *State) Root() p2p.Digest {
	own := s.ownLeaves()
	slices.SortFunc(own, bytes.Compare)
	hashes := make([][32]byte, 0, len(own))
	for _, leaf := range own {
		hashes = append(hashes, leafHash(leaf))
	}
	for i, c := range s.contracts {
		var last []byte
		first := true
		c.Leaves(func(key, value []byte) {
			if !first && bytes.Compare(last, key) >= 0 {
				panic(fmt.Sprintf("ledger: leaves of contract %d out of order at %x", i, key))
			}
			first, last = false, append(last[:0], key...)
			hashes = append(hashes, leafHash(leafOf(leafContract+uint8(i), key, value)))
		})
	}
	return treeHash(hashes)
}

// ownLeaves returns the ledger's leaves in no order.
func (s *State) ownLeaves() [][]byte {
	out := make([][]byte, 0, len(s.lanes)+len(s.inboxes)+len(s.escrows)+len(s.bonds)+16)
	add := func(tag uint8, key, value func(w *wire.Writer)) {
		k, v := wire.NewWriter(80), wire.NewWriter(64)
		key(k)
		value(v)
		out = append(out, leafOf(tag, k.Bytes(), v.Bytes()))
	}
	amount := func(a Amount) func(*wire.Writer) { return func(w *wire.Writer) { w.U64(uint64(a)) } }
	for k, l := range s.lanes { // order-free: the caller sorts
		add(leafLane, k.append, func(w *wire.Writer) {
			w.U64(uint64(l.balance))
			w.U64(l.seq)
			w.Fixed(l.head[:])
		})
	}
	for account, box := range s.inboxes { // order-free: the caller sorts
		for from, gifts := range box.from { // order-free: the caller sorts
			for _, g := range gifts {
				add(leafCredit, func(w *wire.Writer) {
					w.Fixed(account[:])
					from.append(w)
					w.U64(g.seq)
				}, amount(g.amount))
			}
		}
	}
	for id, a := range s.escrows { // order-free: the caller sorts
		add(leafEscrow, func(w *wire.Writer) { w.Fixed(id[:]) }, amount(a))
	}
	for class, a := range s.pots { // order-free: the caller sorts
		add(leafPot, func(w *wire.Writer) { w.Text(string(class)) }, amount(a))
	}
	for account, a := range s.bonds { // order-free: the caller sorts
		add(leafBond, func(w *wire.Writer) { w.Fixed(account[:]) }, amount(a))
	}
	for class, devices := range s.devices { // order-free: the caller sorts
		for _, d := range devices {
			add(leafDevice, func(w *wire.Writer) {
				w.Text(string(class))
				w.Fixed(d.Owner[:])
			}, d.appendValue)
		}
	}
	add(leafBurned, func(*wire.Writer) {}, amount(s.sums[inBurned]))
	return out
}

// append writes the lane's name.
func (k laneKey) append(w *wire.Writer) {
	w.Fixed(k.account[:])
	w.U8(uint8(k.lane))
}

// appendValue writes all of the device but its name.
func (d Device) appendValue(w *wire.Writer) {
	w.U64(d.Declared)
	w.U64(d.Proven)
	w.U32(d.Passed)
}

// leafOf returns a leaf's bytes.
func leafOf(tag uint8, key, value []byte) []byte {
	w := wire.NewWriter(1 + 4 + len(key) + 4 + len(value))
	w.U8(tag)
	w.Blob(key)
	w.Blob(value)
	return w.Bytes()
}

// leafHash returns the hash of a leaf.
func leafHash(leaf []byte) [32]byte {
	var buf [256]byte
	return sha256.Sum256(append(append(buf[:0], 0), leaf...))
}

// treeHash returns the root over leaf hashes, and writes over them. A level's last node
// without a sibling moves up unchanged, which gives the same tree as splitting at
// the largest power of two.
func treeHash(nodes [][32]byte) p2p.Digest {
	if len(nodes) == 0 {
		return sha256.Sum256(nil)
	}
	var pair [65]byte
	pair[0] = 1
	for len(nodes) > 1 {
		n := 0
		for i := 0; i+1 < len(nodes); i += 2 {
			copy(pair[1:33], nodes[i][:])
			copy(pair[33:], nodes[i+1][:])
			nodes[n] = sha256.Sum256(pair[:])
			n++
		}
		if len(nodes)%2 == 1 {
			nodes[n] = nodes[len(nodes)-1]
			n++
		}
		nodes = nodes[:n]
	}
	return nodes[0]
}
