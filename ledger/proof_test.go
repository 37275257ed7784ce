package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// storied returns a state with a leaf of every kind, the operation that set the escrow
// aside that is still there, and a hash lock.
func storied(t testing.TB) (s *State, open, lock OpID) {
	s = newState(t)
	apply := func(op *Op) OpID {
		t.Helper()
		if r := s.Apply(op); r != OK {
			t.Fatal(r)
		}
		return op.ID()
	}
	for _, amount := range []byte{100, 64} {
		op := draft(s, who('a'), 0, KindLeaseOpen, []byte{7: amount})
		op.Fee = 10
		open = apply(op)
		if amount == 100 {
			apply(draft(s, who('b'), 1, KindLeaseClose, bytes.Clone(open[:])))
		}
	}
	apply(draft(s, who('c'), 0, KindDeviceRegister, DeviceRegister{"gpu", 9}.Encode()))
	apply(draft(s, who('a'), 0, KindStakeBond, StakeBond{Role: RoleProvider, Amount: 6, Class: "gpu"}.Encode()))
	lock = apply(draft(s, who('a'), 0, KindHashLock, HashLock{To: who('b'), Amount: 5, Hash: [32]byte{7}}.Encode()))
	return s, open, lock
}

// asked returns keys of every kind that the state has, and of every kind that it has not.
func asked(open, lock OpID) (present, absent map[string]Key) {
	present = map[string]Key{
		"lane": LaneKey(who('a'), 0), "credit": CreditKey(who('b'), who('b'), 1, 1), "escrow": EscrowKey(open),
		"pot": PotKey("gpu"), "bond": BondKey(who('w')), "device": DeviceKey(who('c'), "gpu"), "burned": BurnedKey(),
		"provider-bond": ProviderBondKey(who('a'), "gpu"), "witness-key": WitnessKeyKey(who('w')), "lock": LockKey(lock),
	}
	absent = map[string]Key{
		"lane": LaneKey(who('a'), 1), "credit": CreditKey(who('b'), who('b'), 1, 2), "escrow": EscrowKey(OpID{1}),
		"pot": PotKey("cpu"), "bond": BondKey(who('a')), "device": DeviceKey(who('c'), "cpu"),
		"provider-bond": ProviderBondKey(who('a'), "cpu"), "witness-key": WitnessKeyKey(who('a')), "lock": LockKey(open),
		"contract": ContractKey(0, open[:]), "nothing": "",
	}
	return present, absent
}

// [LED-51] A proof shows what the state holds under a key, and that it holds nothing.
func TestProve(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newState(t)
		var opened []OpID
		for range rapid.IntRange(0, 40).Draw(rt, "steps") {
			op := randomOp(rt, s, opened)
			if s.Apply(op) == OK && op.Kind == KindLeaseOpen {
				opened = append(opened, op.ID())
			}
		}
		leaves := leavesOf(s)
		for k, want := range leaves {
			p := s.Prove(k)
			got, present, err := p.Verify(s.Root(), k)
			if err != nil || !present || !bytes.Equal(got, want) {
				rt.Fatalf("%v: %x, present %v, %v; want %x", k, got, present, err, want)
			}
			other := k[:len(k)-1] + Key([]byte{k[len(k)-1] ^ 1})
			if leaves[other] != nil {
				continue
			}
			p = s.Prove(other)
			if got, present, err := p.Verify(s.Root(), other); err != nil || present || got != nil {
				rt.Fatalf("%v, which is not there: %x, present %v, %v", other, got, present, err)
			}
		}
	})
}

// [LED-51] A credit to which its operation adds after a root was asked for is proven
// with what it holds now.
func TestProveGrownCredit(t *testing.T) {
	s := newState(t)
	op := draft(s, who('a'), 0, KindTransfer, nil)
	k := CreditKey(who('d'), op.Account, op.Lane, op.Seq)
	for _, want := range []Amount{5, 10} {
		s.put(CreditTo(who('d')), op, 5)
		p := s.Prove(k)
		value, present, err := p.Verify(s.Root(), k)
		if b, _ := appendAmount(nil, want); err != nil || !present || !bytes.Equal(value, b) {
			t.Errorf("%d atoms: proven %x, present %v, %v", want, value, present, err)
		}
		wantRoot(t, s)
	}
}

// [LED-52] A proof has one encoding, as the vectors show.
func TestProofVectors(t *testing.T) {
	s, open, lock := storied(t)
	wantRoot(t, s)
	present, absent := asked(open, lock)
	for want, keys := range map[bool]map[string]Key{true: present, false: absent} {
		for name, k := range keys {
			p := s.Prove(k)
			_, there, err := p.Verify(s.Root(), k)
			if err != nil || there != want {
				t.Errorf("%s %v: present %v, %v", name, k, there, err)
			}
			file := fmt.Sprintf("proof-%s-%v", name, want)
			wantVector(t, file, fmt.Sprintf("key = %v, root = %v", k, s.Root()), p.Encode())
			back, err := DecodeProof(p.Encode())
			if err != nil || !bytes.Equal(back.Encode(), p.Encode()) {
				t.Errorf("%s decodes to %v, %v", file, back, err)
			}
		}
	}
}

// [LED-53] A proof of which a byte was changed is refused.
func FuzzProof(f *testing.F) {
	s, open, lock := storied(f)
	present, absent := asked(open, lock)
	for _, keys := range []map[string]Key{present, absent} {
		for _, k := range keys {
			p := s.Prove(k)
			f.Add([]byte(k), p.Encode(), uint16(7), byte(1))
		}
	}
	leaves := leavesOf(s)
	f.Fuzz(func(t *testing.T, key, b []byte, at uint16, flip byte) {
		p, err := DecodeProof(b)
		if err != nil {
			return
		}
		if len(b) > MaxProof || !bytes.Equal(p.Encode(), b) {
			t.Fatalf("%x encodes to %x", b, p.Encode())
		}
		k := Key(key)
		value, there, err := p.Verify(s.Root(), k)
		if err != nil {
			return
		}
		if want, ok := leaves[k]; ok != there || !bytes.Equal(value, want) {
			t.Fatalf("%v: proven %x, %v; the state holds %x, %v", k, value, there, want, ok)
		}
		if flip == 0 {
			return
		}
		b[int(at)%len(b)] ^= flip
		if q, err := DecodeProof(b); err == nil {
			if _, _, err := q.Verify(s.Root(), k); err == nil {
				t.Fatalf("%v: byte %d changed by %x, and the proof holds", k, int(at)%len(b), flip)
			}
		}
	})
}

// TestProofRefuses changes every byte of proofs, and tells lies about where things are.
func TestProofRefuses(t *testing.T) {
	s, open, lock := storied(t)
	present, absent := asked(open, lock)
	for _, keys := range []map[string]Key{present, absent} {
		for name, k := range keys {
			whole := s.Prove(k)
			b := whole.Encode()
			for i := range b {
				b[i]++
				if p, err := DecodeProof(b); err == nil {
					if _, _, err := p.Verify(s.Root(), k); err == nil {
						t.Errorf("%s: byte %d changed, and the proof holds", name, i)
					}
				}
				b[i]--
			}
			for _, b := range [][]byte{b[:len(b)-1], append(bytes.Clone(b), 0), nil} {
				if _, err := DecodeProof(b); err == nil {
					t.Errorf("%s: %d bytes decode", name, len(b))
				}
			}
		}
	}
	// A way to another leaf must not show that the first one is not there.
	for _, other := range present {
		k := LaneKey(who('a'), 0)
		p := s.Prove(other)
		if _, _, err := p.Verify(s.Root(), k); other != k && !errors.Is(err, ErrProofPath) {
			t.Errorf("the way to %v as that to %v: %v", other, k, err)
		}
	}
	p := s.Prove(BurnedKey())
	if _, _, err := p.Verify(newState(t).Root(), BurnedKey()); !errors.Is(err, ErrProofRoot) {
		t.Errorf("of another root: %v", err)
	}
	// Nor may a node be shown with another bit, at which both paths turn alike.
	k, n := LaneKey(who('a'), 0), 0
	path := pathOf([]byte(k))
	for _, other := range present {
		p, own := s.Prove(other), pathOf([]byte(other))
		for i, step := range p.Steps {
			if turn(&path, step.Bit) == turn(&own, step.Bit) {
				continue
			}
			for bit := range 256 {
				p.Steps[i].Bit = uint8(bit)
				if _, _, err := p.Verify(s.Root(), k); err == nil {
					t.Errorf("step %d moved to bit %d, and the proof holds", i, bit)
				}
				n++
			}
			p.Steps[i] = step
		}
	}
	if n == 0 {
		t.Error("nothing was moved")
	}
}
