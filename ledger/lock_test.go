package ledger

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/pinfi/pinfi/p2p"
)

// [LED-41] A hash lock is claimed by an operation whose epoch is not past its expiry
// only, and is not made when that is over.
func TestLockExpires(t *testing.T) {
	s := newState(t)
	c := core{}
	l := HashLock{To: who('b'), Amount: 5, Hash: sha256.Sum256(make([]byte, 32)), Expiry: 7}
	lock := draft(s, who('a'), 1, KindHashLock, l.Encode())
	s.put(LaneOf(who('a'), 1), nil, 100)
	for epoch, want := range map[Epoch]Result{6: OK, 7: OK, 8: TooLate} {
		op := *lock
		op.Epoch = epoch
		if r := c.Check(s, &op, l); r != want {
			t.Errorf("lock until epoch 7 in epoch %d: %v, want %v", epoch, r, want)
		}
	}
	if r := s.Apply(lock); r != OK {
		t.Fatal(r)
	}
	want := Lock{HashLock: l, Owner: who('a'), Lane: 1}
	if got, ok := s.Lock(lock.ID()); !ok || got != want || s.EscrowOf(lock.ID()) != 5 {
		t.Errorf("lock %+v, %v, want %+v", got, ok, want)
	}
	claim := HashClaim{Lock: lock.ID()}
	for epoch, want := range map[Epoch]Result{6: OK, 7: OK, 8: TooLate} {
		op := draft(s, who('b'), 0, KindHashClaim, claim.Encode())
		op.Epoch = epoch
		if r := c.Check(s, op, claim); r != want {
			t.Errorf("claim in epoch %d: %v, want %v", epoch, r, want)
		}
	}
	op := draft(s, who('b'), 0, KindHashClaim, claim.Encode())
	if r := s.Apply(op); r != OK {
		t.Fatal(r)
	}
	want.Claim = op.ID()
	if got, _ := s.Lock(lock.ID()); got != want || s.EscrowOf(lock.ID()) != 0 {
		t.Errorf("claimed lock %+v, want %+v", got, want)
	}
}

// [LED-45] What a checkpoint needs of locks and bonds is in the root.
func TestKindsInRoot(t *testing.T) {
	l := HashLock{To: who('b'), Amount: 5, Hash: sha256.Sum256(make([]byte, 32)), Expiry: 7}
	base := newState(t)
	base.setLock(OpID{1}, Lock{HashLock: l, Owner: who('a'), Lane: 1})
	base.pledge(who('a'), "gpu", 1)
	seen := map[p2p.Digest]string{base.Root(): "base"}
	for name, change := range map[string]func(s *State, l *Lock){
		"to":       func(_ *State, l *Lock) { l.To = who('c') },
		"amount":   func(_ *State, l *Lock) { l.Amount++ },
		"hash":     func(_ *State, l *Lock) { l.Hash[0]++ },
		"expiry":   func(_ *State, l *Lock) { l.Expiry++ },
		"owner":    func(_ *State, l *Lock) { l.Owner = who('c') },
		"lane":     func(_ *State, l *Lock) { l.Lane++ },
		"claim":    func(_ *State, l *Lock) { l.Claim = OpID{7} },
		"a lock":   func(s *State, _ *Lock) { s.setLock(OpID{2}, Lock{}) },
		"a bond":   func(s *State, _ *Lock) { s.pledge(who('b'), "gpu", 1) },
		"a class":  func(s *State, _ *Lock) { s.pledge(who('a'), "cpu", 1) },
		"its size": func(s *State, _ *Lock) { s.pledge(who('a'), "gpu", 1) },
		"a key":    func(s *State, _ *Lock) { s.setWitnessKey(who('w'), p2p.VRFKey{9}) },
		"new key":  func(s *State, _ *Lock) { s.setWitnessKey(who('a'), p2p.VRFKey{9}) },
	} {
		s := newState(t)
		s.pledge(who('a'), "gpu", 1)
		lock := Lock{HashLock: l, Owner: who('a'), Lane: 1}
		change(s, &lock)
		s.setLock(OpID{1}, lock)
		if other, ok := seen[s.Root()]; ok {
			t.Errorf("%s: the root is that of %s", name, other)
		}
		seen[s.Root()] = name
	}
}

// [LED-42] The bond of a witness and those of a provider are apart, and the last
// key that a witness names counts.
func TestBonds(t *testing.T) {
	s := newState(t)
	for i, b := range []StakeBond{
		{Role: RoleWitness, Amount: 5, VRF: p2p.VRFKey{8}},
		{Role: RoleProvider, Amount: 6, Class: "gpu"},
		{Role: RoleProvider, Amount: 7, Class: "cpu"},
		{Role: RoleWitness, Amount: 8, VRF: p2p.VRFKey{9}},
	} {
		if r := s.Apply(draft(s, who('a'), 0, KindStakeBond, b.Encode())); r != OK {
			t.Fatalf("%d: %v", i, r)
		}
		wantAudit(t, s)
	}
	key, ok := s.WitnessKey(who('a'))
	got := fmt.Sprint(s.BondOf(who('a')), s.ProviderBondOf(who('a'), "gpu"), s.ProviderBondOf(who('a'), "cpu"), key[0], ok)
	if want := "13 6 7 9 true"; got != want {
		t.Errorf("bonds %s, want %s", got, want)
	}
	if sup := s.Supply(); sup.Bonded != 100+26 || sup.Total != 3100 {
		t.Errorf("supply %+v", sup)
	}
	if key, ok := s.WitnessKey(who('x')); !ok || key != s.Genesis().Witnesses[1].VRF {
		t.Errorf("key of a witness of the genesis: %v, %v", key, ok)
	}
	if _, ok := s.WitnessKey(who('b')); ok {
		t.Error("a key of somebody who is no witness")
	}
	if s.Genesis().Stake() != 100 {
		t.Error("a bond made weight")
	}
}

// [LED-42] Who has a bond owns something.
func TestBondOwns(t *testing.T) {
	s := newState(t)
	if s.Owns(who('d')) {
		t.Error("d owns nothing")
	}
	s.put(ProviderBond(who('d'), "gpu"), nil, 1)
	if !s.Owns(who('d')) {
		t.Error("d has a bond")
	}
	wantRoot(t, s)
	tx := &Tx{state: s, op: draft(s, who('d'), 0, KindBurn, nil)}
	tx.Move(ProviderBond(who('d'), "gpu"), Burned(), 1)
	if s.Owns(who('d')) {
		t.Error("the bond is gone")
	}
	wantRoot(t, s)
}
