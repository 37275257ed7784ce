package main

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/pinfi/pinfi/p2p"
)

const (
	limitBatch = 512
	limitKeys  = 8 * limitBatch // so many that they do not stay in the nearest cache
	limitBytes = 160
	limitTime  = 400 * time.Millisecond // of processor time, at least
)

// A limit measures L: how many signatures one core verifies in batches of 512, by
// different keys, of messages that it digests first. Nothing that verifies every
// signature can be faster.
type limit struct {
	messages [][]byte
	keys     []p2p.PeerID
	sigs     []p2p.Signature
}

func newLimit() *limit {
	l := &limit{}
	for i := range limitKeys {
		id := identity("limit", i)
		m := make([]byte, limitBytes)
		binary.BigEndian.PutUint64(m, uint64(i))
		l.messages = append(l.messages, m)
		l.keys = append(l.keys, id.PeerID())
		l.sigs = append(l.sigs, id.Sign(p2p.Sum("pinfi/op/1", m)))
	}
	return l
}

// measure returns one measurement of L.
func (l *limit) measure() sample {
	s, _ := timed(func() (float64, error) {
		done := 0
		for begun := cpuTime(); cpuTime()-begun < limitTime; {
			for from := 0; from < limitKeys; from += limitBatch {
				l.verify(from)
				done += limitBatch
			}
		}
		return float64(done), nil
	})
	return s
}

// verify verifies one batch.
func (l *limit) verify(from int) {
	rules := ed25519.Options{Verify: ed25519.VerifyOptionsZIP_215}
	v := ed25519.NewBatchVerifierWithCapacity(limitBatch)
	for i := from; i < from+limitBatch; i++ {
		d := p2p.Sum("pinfi/op/1", l.messages[i])
		v.AddWithOptions(l.keys[i][:], d[:], l.sigs[i][:], &rules)
	}
	if !v.VerifyBatchOnly(rand.Reader) {
		panic("bench: a good signature does not verify")
	}
}

// identity returns the secret key of one of the actors.
func identity(role string, i int) *p2p.Identity {
	return p2p.IdentityFromSeed([32]byte(p2p.Sum("pinfi/bench/1", []byte(role), binary.BigEndian.AppendUint32(nil, uint32(i)))))
}
