package p2p

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// A Digest is a SHA-256 hash: the name of some bytes. The zero Digest names none.
type Digest [32]byte

// Sum returns the digest of the parts under a domain, "pinfi/op/1" say. The
// domain and every part are prefixed with their length, so that no two lists of
// parts share a digest and no digest of one domain is a digest of another.
func Sum(domain string, parts ...[]byte) Digest {
	h := sha256.New()
	var size [4]byte
	put := func(b []byte) {
		size = [4]byte{byte(len(b) >> 24), byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}
		h.Write(size[:])
		h.Write(b)
	}
	put([]byte(domain))
	for _, part := range parts {
		put(part)
	}
	var d Digest
	h.Sum(d[:0])
	return d
}

// SumContent returns the digest that names a file or a message by its content
// alone: plain SHA-256, as any other tool computes it.
func SumContent(b []byte) Digest { return sha256.Sum256(b) }

// ParseDigest reads the 64 hexadecimal digits that String writes.
func ParseDigest(s string) (Digest, error) {
	id, err := ParsePeerID(s)
	if err != nil {
		return Digest{}, fmt.Errorf("digest %q: want 64 hexadecimal digits", s)
	}
	return Digest(id), nil
}

// String returns the digest as 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first 8 digits.
func (d Digest) Short() string { return hex.EncodeToString(d[:4]) }

// IsZero reports whether the digest names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes the digest as String does.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the digest as ParseDigest does.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
