package p2p

import "github.com/oasisprotocol/curve25519-voi/curve"

// A keyring remembers the points that keys stand for, at most most of them. When it is full, a new key takes the place of one that nobody asked for since
// the hand last passed it. To ask for a key writes next to nothing: a list in order of
// use would touch its neighbours too, which lie anywhere in memory.
type keyring struct {
	most   int
	at     map[PeerID]uint32 // place of a key in the lists
	keys   []PeerID
	points []*curve.EdwardsPoint
	asked  []bool // since the hand passed
	hand   int
}

// get returns a key's point, nil when it is not there.
func (k *keyring) get(key *PeerID) *curve.EdwardsPoint {
	i, there := k.at[*key]
	if !there {
		return nil
	}
	if !k.asked[i] {
		k.asked[i] = true
	}
	return k.points[i]
}

// put adds a key.
func (k *keyring) put(key *PeerID, point *curve.EdwardsPoint) {
	if _, there := k.at[*key]; there {
		return
	}
	if len(k.keys) < k.most {
		k.at[*key] = uint32(len(k.keys))
		k.keys, k.points, k.asked = append(k.keys, *key), append(k.points, point), append(k.asked, false)
		return
	}
	for k.asked[k.hand] {
		k.asked[k.hand] = false
		k.hand = (k.hand + 1) % k.most
	}
	delete(k.at, k.keys[k.hand])
	k.at[*key], k.keys[k.hand], k.points[k.hand] = uint32(k.hand), *key, point
	k.hand = (k.hand + 1) % k.most
}
