package p2p

import (
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
)

// A full keyring lets go of a key that nobody asked for lately, and of one only.
func TestKeyring(t *testing.T) {
	k := &keyring{most: 3, at: map[PeerID]uint32{}}
	keys := []PeerID{{1}, {2}, {3}, {4}, {5}, {6}}
	points := make([]*curve.EdwardsPoint, len(keys))
	for i := range points {
		points[i] = &curve.EdwardsPoint{}
	}
	for i, step := range []struct {
		ask, add int
		want     string
	}{
		{-1, 0, "1"},
		{-1, 1, "12"},
		{-1, 2, "123"},
		{-1, 2, "123"},
		{0, 3, "134"}, // 2 goes: 1 was asked for, and the hand passes it
		{2, 4, "345"}, // 1 goes: 3 was asked for, and 1 not since the hand passed
		{4, 5, "356"},
	} {
		if step.ask >= 0 && k.get(&keys[step.ask]) != points[step.ask] {
			t.Errorf("step %d: another point, or none", i)
		}
		k.put(&keys[step.add], points[step.add])
		got := ""
		for j := range keys {
			if _, there := k.at[keys[j]]; there {
				got += string(rune('1' + j))
			}
		}
		if got != step.want || len(k.keys) > 3 || len(k.at) != len(k.keys) {
			t.Errorf("step %d: %s are there, want %s", i, got, step.want)
		}
	}
}
