// Package p2p holds the words that every room of pinfi uses to speak of peers:
// who they are, which topics they gossip on, which stream protocols they open.
// It is not a network: p2p/lp2p is one, p2p/transport names what a network does.
//
// The two things you need are PeerID and Network. A PeerID is an Ed25519 public
// key, and the same 32 bytes are a ledger account and a libp2p identity. A
// Network makes every topic and protocol name carry the genesis it belongs to,
// so that two networks can never mix.
package p2p

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// A PeerID names a peer: its Ed25519 public key. The zero value names nobody.
type PeerID [32]byte

// ParsePeerID reads the 64 hexadecimal digits that String writes.
func ParsePeerID(s string) (PeerID, error) {
	var id PeerID
	if len(s) != hex.EncodedLen(len(id)) {
		return PeerID{}, fmt.Errorf("peer id %q: has %d characters, want 64 hexadecimal digits", s, len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return PeerID{}, fmt.Errorf("peer id %q: %w", s, err)
	}
	return id, nil
}

// String returns the id as 64 hexadecimal digits.
func (id PeerID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first 8 digits, enough for a person to tell peers apart.
func (id PeerID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero reports whether the id names nobody.
func (id PeerID) IsZero() bool { return id == PeerID{} }

// Compare orders ids by their bytes: -1, 0 or +1.
func (id PeerID) Compare(other PeerID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText writes the id as String does.
func (id PeerID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the id as ParsePeerID does.
func (id *PeerID) UnmarshalText(text []byte) error {
	parsed, err := ParsePeerID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// A Topic names a gossip channel.
type Topic string

// A Protocol names a stream protocol between two peers.
type Protocol string

// A Network is the SHA-256 digest of a canonical genesis. It names one network.
type Network [32]byte

// String returns the first 8 hexadecimal digits of the digest, as they stand in
// topics and protocols.
func (n Network) String() string { return hex.EncodeToString(n[:4]) }

// The rooms of gossip that every network has.
const (
	Ops    = "ops"    // ledger operations
	Frames = "frames" // witness votes
	Beats  = "beats"  // the randomness beacon
	// Accusations are proofs that somebody has broken the rules.
	Accusations = "evidence"
)

// Topic returns the name of a gossip room, for example "/pinfi/1a2b3c4d/ops/1".
func (n Network) Topic(room string) Topic {
	return Topic("/pinfi/" + n.String() + "/" + room + "/1")
}

// Offers returns the topic on which the market of one class in one region meets:
// offers and bids travel on it.
func (n Network) Offers(class, region string) Topic {
	return Topic("/pinfi/" + n.String() + "/offers/" + class + "/" + region + "/1")
}

// The names of the stream protocols.
const (
	Quote = "quote" // quote requests and quotes
	Lease = "lease" // job starts, reports, vouchers
	Blob  = "blob"  // content-addressed bytes
	Proof = "proof" // reveals of PoCPS commits
	Sync  = "sync"  // anti-entropy of the ledger
)

// Protocol returns the id of a stream protocol, for example
// "/pinfi/1a2b3c4d/quote/1".
func (n Network) Protocol(name string) Protocol {
	return Protocol("/pinfi/" + n.String() + "/" + name + "/1")
}
