// Package actor holds the agents of a simulated network, those that are not machines:
// honest owners who pay one another, and a gang of hostile witnesses and owners.
//
// It hosts nothing and judges nothing: simulations/world carries what agents say,
// simulations/check says what must be true in spite of it. The calls you need are
// NewCrowd and NewGang; both are agents of a world. The invariant: what an agent does
// is a function of its seed, of what it was told and of nothing else.
package actor

import (
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/simulations/weather"
)

// A Key is somebody who signs.
type Key struct {
	ID   p2p.PeerID
	Sign func(p2p.Digest) p2p.Signature
}

// sign signs an operation.
func (k Key) sign(op *ledger.Op) *ledger.Op {
	op.Sig = k.Sign(op.SigningDigest())
	return op
}

// A dice is the chance of one agent: a draw depends on the seed, the agent and how many
// came before.
type dice struct {
	seed, agent, n uint64
}

// below returns a number from 0 to n-1, 0 for n 0.
func (d *dice) below(n int) int {
	d.n++
	return int(weather.Below(weather.Draw(d.seed, weather.StreamAgent, d.agent, d.n), uint64(max(0, n))))
}

// hits reports whether what happens so often, in percent, happens now.
func (d *dice) hits(percent int) bool { return d.below(100) < percent }

// part returns a part of an amount, at least 1 of anything.
func (d *dice) part(a ledger.Amount, least, most int) ledger.Amount {
	return max(1, a*ledger.Amount(least+d.below(most-least+1))/100)
}

// between returns a time from least to most.
func (d *dice) between(least, most time.Duration) time.Duration {
	d.n++
	return weather.Between(weather.Draw(d.seed, weather.StreamAgent, d.agent, d.n), least, most)
}

// pick returns one of a list, the zero value of an empty one.
func pick[T any](d *dice, list []T) T {
	var none T
	if len(list) == 0 {
		return none
	}
	return list[d.below(len(list))]
}

// Messages, as nodes write them.

func opMessage(op *ledger.Op) []byte {
	return wire.Seal(wire.KindOp, func(w *wire.Writer) { w.Fixed(op.Encode()) })
}

func bundleMessage(b *replica.Bundle) []byte {
	return wire.Seal(wire.KindBundle, func(w *wire.Writer) { w.Fixed(b.Encode()) })
}

// A parcel is an answer to heads or a want: what another replica lacks.
type parcel struct {
	ops     []*ledger.Op
	bundles []*replica.Bundle
	frames  []*replica.Frame
}

func (p *parcel) message() []byte {
	return wire.Seal(wire.KindItems, func(w *wire.Writer) {
		w.Count(len(p.ops))
		for _, op := range p.ops {
			w.Blob(op.Encode())
		}
		w.Count(len(p.bundles))
		for _, b := range p.bundles {
			w.Blob(b.Encode())
		}
		w.Count(len(p.frames))
		for _, f := range p.frames {
			w.Blob(f.Encode())
		}
	})
}

// publish gossips a message.
func publish(network p2p.Network, data []byte) machine.Effect {
	return machine.Publish{Topic: network.Topic(p2p.Ops), Data: data}
}

// wants reads which operations, bundles and frames a peer asks for; none of what is no
// want.
func wants(data []byte) (ops []ledger.OpID, bundles []replica.BundleID, frames []p2p.Digest) {
	kind, r, err := wire.Open(data)
	if err != nil || kind != wire.KindWant {
		return nil, nil, nil
	}
	const most = 64
	ops = make([]ledger.OpID, r.Count(most, 32))
	for i := range ops {
		r.Into(ops[i][:])
	}
	bundles = make([]replica.BundleID, r.Count(most, 32))
	for i := range bundles {
		r.Into(bundles[i][:])
	}
	frames = make([]p2p.Digest, r.Count(most, 32))
	for i := range frames {
		r.Into(frames[i][:])
	}
	if r.Close() != nil {
		return nil, nil, nil
	}
	return ops, bundles, frames
}

// claimsOf returns claims of all credits to an account, as many as an operation holds.
func claimsOf(st *ledger.State, account ledger.Account) []ledger.Claim {
	var out []ledger.Claim
	for _, c := range st.Unclaimed(account) { // by source and number
		if n := len(out); n > 0 && out[n-1].From == c.From && out[n-1].Lane == c.Lane {
			out[n-1].Upto = c.Seq
			continue
		}
		if len(out) == ledger.MaxClaims {
			break
		}
		out = append(out, ledger.Claim{From: c.From, Lane: c.Lane, Upto: c.Seq})
	}
	return out
}

// A draft is what an operation is to say.
type draft struct {
	kind   ledger.Kind
	lane   ledger.Lane
	body   []byte
	claims []ledger.Claim
}

// write returns an unsigned operation that follows another, nil for none, in a lane.
func (d draft) write(st *ledger.State, account ledger.Account, last *ledger.Op) *ledger.Op {
	seq, prev := st.Head(account, d.lane)
	if last != nil {
		seq, prev = last.Seq, last.ID()
	}
	op := &ledger.Op{
		Chain: st.Chain(), Kind: d.kind, Lane: d.lane, Account: account, Seq: seq + 1, Prev: prev, Epoch: st.Epoch(),
		Claims: d.claims, Body: d.body,
	}
	if d.kind.PaysFee() {
		op.Fee = st.Genesis().MinFee
	}
	return op
}

// without returns a list without its first n, which are let go.
func without[T any](list []T, n int) []T { return slices.Delete(list, 0, n) }
