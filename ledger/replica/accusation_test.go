package replica

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// holds reports whether fakeSign made all signatures.
func holds(signed []p2p.Signed) bool {
	return !slices.ContainsFunc(signed, func(s p2p.Signed) bool { return s.Sig != fakeSign(s.Key, s.Digest) })
}

// proofs returns a proof of each kind, one of a vote by a bundle among them.
func accusations(t testing.TB) (*ledger.Genesis, []*Accusation) {
	t.Helper()
	g := newGenesis(1, 1, 1, 1)
	r := newReplica(t, g, -1)
	left := transfer(who('a'), 1, ledger.OpID{}, who('b'), 5)
	right := transfer(who('a'), 1, ledger.OpID{}, who('c'), 5)
	b := &Bundle{Ops: []*ledger.Op{right, transfer(who('b'), 1, ledger.OpID{}, who('c'), 5)}}
	add(t, r, left)
	addBundle(r, b)
	one := frame(g, 1, nil, left.ID())
	for _, f := range []*Frame{
		frame(g, 0, nil, left.ID(), right.ID()), one, votesFor(g, 1, one, b),
		frame(g, 2, nil, left.ID()), frame(g, 2, nil, b.Ops[1].ID()),
	} {
		add(t, r, f)
	}
	var all []*Accusation
	for _, ev := range r.Evidence() {
		p, ok := r.Accusation(ev)
		if !ok {
			t.Fatalf("no proof of %+v", ev)
		}
		got, signed, err := p.Evidence(testNetwork, g)
		if err != nil || got != ev || !holds(signed) {
			t.Fatalf("proof of %+v proves %+v, %v", ev, got, err)
		}
		if other := newReplica(t, g, -1); !other.Accuse(got) || other.Accuse(got) || !other.Knows(ev.ID()) {
			t.Fatal("the evidence is not taken once")
		}
		all = append(all, p)
	}
	if len(all) != 4 { // an operation's fork, a frame's, and two witnesses with two votes
		t.Fatalf("%d proofs: %v", len(all), r.Evidence())
	}
	return g, all
}

// [LED-109] An accusation convinces whoever knows the genesis; with any byte
// changed it proves nothing, or has a signature that does not hold.
func TestAccusations(t *testing.T) {
	g, all := accusations(t)
	for _, p := range all {
		b := p.Encode()
		back, err := DecodeAccusation(b)
		if err != nil || !bytes.Equal(back.Encode(), b) || len(b) > MaxAccusation {
			t.Fatalf("%v: %d bytes do not come back: %v", p.Offence, len(b), err)
		}
		want, _, _ := p.Evidence(testNetwork, g)
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			q, err := DecodeAccusation(bad)
			if err != nil {
				continue
			}
			if got, signed, err := q.Evidence(testNetwork, g); err == nil && holds(signed) && got != want {
				t.Fatalf("%v: byte %d changed: proves %+v", p.Offence, i, got)
			} else if err != nil && !errors.Is(err, ErrAccusation) {
				t.Fatal(err)
			}
		}
		if _, _, err := p.Evidence(p2p.Network{9}, g); err == nil {
			t.Errorf("%v: proves something in another network", p.Offence)
		}
		p.Ops[0], p.Ops[1], p.Frames[0], p.Frames[1] = p.Ops[1], p.Ops[0], p.Frames[1], p.Frames[0]
		p.Bundles[0], p.Bundles[1] = p.Bundles[1], p.Bundles[0]
		if _, _, err := p.Evidence(testNetwork, g); err == nil {
			t.Errorf("%v: has two encodings", p.Offence)
		}
		p.Ops[0], p.Frames[0] = p.Ops[1], p.Frames[1]
		if _, _, err := p.Evidence(testNetwork, g); err == nil {
			t.Errorf("%v: one thing twice is a proof", p.Offence)
		}
	}
}

// FuzzDecodeProof checks that what decodes encodes to the same bytes, and that nothing
// makes a look at it panic.
func FuzzDecodeProof(f *testing.F) {
	g, all := accusations(f)
	for _, p := range all {
		f.Add(p.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodeAccusation(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Encode(), b) {
			t.Fatalf("%x encodes to %x", b, p.Encode())
		}
		_, _, _ = p.Evidence(testNetwork, g)
	})
}

// Whatever hostile witnesses do, evidence that can be carried away is.
func TestAccuseAll(t *testing.T) {
	proved := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, 1.1, flaws{})
		for range rapid.IntRange(20, 200).Draw(rt, "steps") {
			w.step()
		}
		r := w.replicas[len(w.replicas)-1]
		w.deliverAll(r)
		for _, ev := range r.Evidence() {
			if ev.Offence == FrameFork || ev.Offence == VoteConflict {
				p, ok := r.Accusation(ev)
				if !ok {
					rt.Fatalf("no proof of %+v", ev)
				}
				got, signed, err := p.Evidence(testNetwork, w.g)
				if err != nil || got.ID() != ev.ID() || !holds(signed) {
					rt.Fatalf("proof of %+v proves %+v, %v", ev, got, err)
				}
				proved++
			}
		}
	})
	if proved == 0 {
		t.Error("nothing was proved: the test shows nothing")
	}
}
