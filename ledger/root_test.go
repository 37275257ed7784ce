package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/p2p"
)

// leavesOf returns all leaves of a state by key, from a walk over its maps.
func leavesOf(s *State) map[Key][]byte {
	out := map[Key][]byte{}
	money := func(k Key, a Amount) { out[k] = binary.BigEndian.AppendUint64(nil, uint64(a)) }
	for account := range s.holders {
		for l := range 256 {
			seq, head := s.Head(account, Lane(l))
			balance := s.Spendable(account, Lane(l))
			if seq == 0 && balance == 0 {
				continue
			}
			money(LaneKey(account, Lane(l)), balance)
			k := LaneKey(account, Lane(l))
			out[k] = append(binary.BigEndian.AppendUint64(out[k], seq), head[:]...)
		}
		for _, c := range s.Unclaimed(account) {
			money(CreditKey(account, c.From, c.Lane, c.Seq), c.Amount)
		}
	}
	for id, a := range s.escrows {
		money(EscrowKey(id), a)
	}
	for class, a := range s.pots {
		money(PotKey(class), a)
	}
	for account, a := range s.bonds {
		money(BondKey(account), a)
	}
	for class, devices := range s.devices {
		for _, d := range devices {
			money(DeviceKey(d.Owner, class), Amount(d.Declared))
			k := DeviceKey(d.Owner, class)
			out[k] = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(out[k], d.Proven), d.Passed)
		}
	}
	for account, bonds := range s.pledges {
		for class, a := range bonds {
			money(ProviderBondKey(account, class), a)
		}
	}
	for account, key := range s.keys {
		out[WitnessKeyKey(account)] = key[:]
	}
	for id, l := range s.locks {
		out[LockKey(id)] = slices.Concat(l.Owner[:], []byte{byte(l.Lane)}, l.Encode(), l.Claim[:])
	}
	money(BurnedKey(), s.Supply().Burned)
	for i, c := range s.contracts {
		for id, by := range c.(*vault).closed {
			out[ContractKey(i, id[:])] = bytes.Clone(by[:])
		}
	}
	return out
}

// A slowLeaf is a leaf as the specification words it.
type slowLeaf struct{ path, hash [32]byte }

// slowRoot is the root by the words of the specification, over leaves in no order.
func slowRoot(leaves map[Key][]byte) p2p.Digest {
	all := make([]slowLeaf, 0, len(leaves))
	for k, v := range leaves {
		size := binary.BigEndian.AppendUint32(nil, uint32(len(k)))
		all = append(all, slowLeaf{
			path: sha256.Sum256(slices.Concat([]byte{2}, []byte(k))),
			hash: sha256.Sum256(slices.Concat([]byte{0}, size, []byte(k), v)),
		})
	}
	return slowTree(all, 0)
}

// slowTree is the root over leaves with paths that agree before a bit.
func slowTree(leaves []slowLeaf, bit int) p2p.Digest {
	if len(leaves) == 1 {
		return leaves[0].hash
	}
	var sides [2][]slowLeaf
	for _, l := range leaves {
		side := l.path[bit/8] >> (7 - bit%8) & 1
		sides[side] = append(sides[side], l)
	}
	if len(sides[0]) == 0 || len(sides[1]) == 0 {
		return slowTree(leaves, bit+1)
	}
	left, right := slowTree(sides[0], bit+1), slowTree(sides[1], bit+1)
	return sha256.Sum256(slices.Concat([]byte{1, byte(bit)}, left[:], right[:]))
}

// wantRoot fails unless the root is that of a walk over the whole state.
func wantRoot(t rapid.TB, s *State) {
	t.Helper()
	leaves := leavesOf(s)
	if got, want := s.Root(), slowRoot(leaves); got != want {
		t.Fatalf("root %v, a full walk says %v", got, want)
	}
	if s.tree.len() != len(leaves) {
		t.Fatalf("%d leaves, a full walk finds %d", s.tree.len(), len(leaves))
	}
}

// [LED-8] The root is that of the tree over all leaves of the state, whatever came before.
func TestRootIsOfAllLeaves(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newState(t)
		var opened []OpID
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.IntRange(0, 30).Draw(rt, "reset") == 0 {
				s.Reset()
				opened = nil
			}
			op := randomOp(rt, s, opened)
			if s.Apply(op) == OK && op.Kind == KindLeaseOpen {
				opened = append(opened, op.ID())
			}
			switch rapid.IntRange(0, 3).Draw(rt, "look") {
			case 0:
				wantRoot(rt, s)
			case 1:
				s.settle() // as happens when much has changed
			}
		}
		wantRoot(rt, s)
	})
}

// A numbered is an owner for tests of the tree alone.
type numbered struct{ key, value byte }

func (n numbered) appendKey(b []byte) []byte                     { return append(b, n.key) }
func (n numbered) appendValue(_ *State, b []byte) ([]byte, bool) { return append(b, n.value), true }

// [LED-50] The root follows from the leaves alone: insertions, changes and removals leave no trace.
func TestTreeHasNoHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tr tree
		places := map[byte]uint32{}
		leaves := map[Key][]byte{}
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			n := numbered{rapid.Byte().Draw(rt, "key"), rapid.Byte().Draw(rt, "value")}
			k := Key([]byte{n.key})
			leaf, there := places[n.key]
			hash := leafHash([]byte(k), []byte{n.value})
			switch {
			case there && n.value < 128:
				tr.remove(leaf)
				delete(places, n.key)
				delete(leaves, k)
			case there:
				tr.set(leaf, n, hash)
				leaves[k] = []byte{n.value}
			default:
				p := pathOf([]byte(k))
				places[n.key] = tr.insert(&p, n, hash)
				leaves[k] = []byte{n.value}
			}
			if got := tr.leafOf([]byte(k)); got != places[n.key] {
				rt.Fatalf("leaf of %x is %d, want %d", k, got, places[n.key])
			}
			if tr.len() != len(leaves) {
				rt.Fatalf("%d leaves, want %d", tr.len(), len(leaves))
			}
			if len(leaves) > 0 && rapid.Bool().Draw(rt, "look") && *tr.digest(tr.root) != slowRoot(leaves) {
				rt.Fatalf("another root after %v", n)
			}
		}
		if len(leaves) > 0 && *tr.digest(tr.root) != slowRoot(leaves) {
			rt.Fatal("another root in the end")
		}
	})
}

// crowd returns a state with n accounts that own one atom each.
func crowd(t testing.TB, n int) (*State, []Account) {
	s := newState(t)
	accounts := make([]Account, n)
	for i := range accounts {
		accounts[i] = Account{0: byte(i), 1: byte(i >> 8), 2: byte(i >> 16), 31: 1}
		s.put(LaneOf(accounts[i], 0), nil, 1)
	}
	return s, accounts
}

// BenchmarkRoot is the root of a million lanes: of a tree that has to be built first,
// after all of them changed, when only the nodes are hashed again, and after 1000
// lanes changed.
func BenchmarkRoot(b *testing.B) {
	const lanes = 1_000_000
	touch := func(s *State, some []Account) {
		for _, account := range some {
			s.laneAt(account, 0).balance++
		}
	}
	b.Run("build", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			s, _ := crowd(b, lanes)
			b.StartTimer()
			s.Root()
		}
	})
	s, accounts := crowd(b, lanes)
	s.Root()
	b.Run("all", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			touch(s, accounts)
			b.StartTimer()
			s.Root()
		}
	})
	b.Run("nodes", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			for i := range s.tree.nodes.at {
				s.tree.nodes.at[i].stale = true
			}
			b.StartTimer()
			s.Root()
		}
	})
	b.Run("1000", func(b *testing.B) {
		rng := rand.New(rand.NewPCG(1, 2))
		for range b.N {
			b.StopTimer()
			for range 1000 {
				touch(s, accounts[rng.IntN(lanes):][:1])
			}
			b.StartTimer()
			s.Root()
		}
	})
	b.Run("none", func(b *testing.B) {
		for range b.N {
			s.Root()
		}
	})
}

// BenchmarkApplyItem applies transfers that each claim one credit, of 20 000 accounts
// in turn, prepared before.
func BenchmarkApplyItem(b *testing.B) {
	const n = 20_000
	s, accounts := crowd(b, n)
	for _, account := range accounts {
		s.put(LaneOf(account, 0), nil, Token)
	}
	prev := make([]OpID, n)
	items := make([]*Item, b.N)
	for i := range items {
		from, round := i%n, uint64(i/n)
		op := &Op{
			Chain: s.Chain(), Kind: KindTransfer, Account: accounts[from], Seq: round + 1, Prev: prev[from], Fee: 10,
			Body: Transfer{accounts[(from+7919)%n], 1}.Encode(),
		}
		if round > 0 {
			op.Claims = []Claim{{From: accounts[(from+n-7919)%n], Upto: round}}
		}
		it, r := s.Prepare(op)
		if r != OK {
			b.Fatal(r)
		}
		items[i], prev[from] = it, it.ID
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i, it := range items {
		if r := s.ApplyItem(it); r != OK {
			b.Fatal(fmt.Sprint(i, r))
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
