package machine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A bench is a machine of a provider among strangers whose messages are signed with
// real keys or cheap ones.
type bench struct {
	g    *Genesis
	m    *Machine
	now  time.Time
	keys [2]p2p.Crypto // of the provider, and of the client, who is the one witness
	ids  [2]p2p.PeerID
}

func (x *bench) sign(i int) p2p.Crypto { return x.keys[i] }
func (x *bench) id(i int) p2p.PeerID   { return x.ids[i] }

// benches runs f with real and with cheap signatures.
func benches(b *testing.B, f func(b *testing.B, x *bench)) {
	for _, crypto := range []string{"real", "cheap"} {
		b.Run("crypto="+crypto, func(b *testing.B) {
			x := &bench{g: testGenesis(never), now: time.UnixMilli(1_750_000_000_000)}
			for i := range x.keys {
				identity, stand := p2p.IdentityFromSeed([32]byte{byte(i), 1}), keyOf(fmt.Sprint(i))
				if x.keys[i], x.ids[i] = identity.Crypto(), identity.PeerID(); crypto == "cheap" {
					x.keys[i], x.ids[i] = stand.crypto(), stand.id
				}
			}
			x.start(b)
			b.ReportAllocs()
			f(b, x)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "steps/s")
		})
	}
}

// start makes the machine: identity 0 sells, identity 1 is the one witness, and has
// money.
func (x *bench) start(b *testing.B) {
	x.g.Ledger.Witnesses = []ledger.Witness{{Account: x.id(1), Stake: ledger.Token, VRF: p2p.VRFKey{1}}}
	x.g.Ledger.Alloc = []ledger.Alloc{{Account: x.id(1), Amount: 1_000_000 * ledger.Token}}
	m, err := New(Config{
		Self: x.id(0), Genesis: x.g, Crypto: x.sign(0), Rand: rand.New(rand.NewPCG(1, 2)), Sell: sells(4000, 0),
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	x.m = m
	x.m.Step(x.now, Tick{})
	x.certify(x.m.lane(0).flying...)
}

// burns returns n operations of the witness's account, from a place on.
func (x *bench) burns(n int) []*ledger.Op {
	ops := make([]*ledger.Op, n)
	var prev ledger.OpID
	sign := x.sign(1).Sign
	for i := range ops {
		op := &ledger.Op{
			Chain: ledger.ChainOf(x.m.network), Kind: ledger.KindBurn, Account: x.id(1), Seq: uint64(i + 1), Prev: prev,
			Fee: x.g.Ledger.MinFee, Body: ledger.Burn{Amount: 1}.Encode(),
		}
		op.Sig = sign(op.SigningDigest())
		ops[i], prev = op, op.ID()
	}
	return ops
}

// certify has the witness vote for operations.
func (x *bench) certify(ops ...*ledger.Op) { stepped(x.m, x.now, Gossiped{Data: x.frame(ops...)}, nil) }

func (x *bench) frame(ops ...*ledger.Op) []byte {
	st := &stage{g: x.g}
	f := st.frameOf(0, nil)
	f.Seq, f.Prev = 1, p2p.Digest{}
	if all := x.m.replica.FramesAfter([]uint32{0}, 1<<20); len(all) > 0 {
		f.Seq, f.Prev = all[len(all)-1].Seq+1, all[len(all)-1].ID()
		f.Slot = ledger.Slot(f.Seq / 16)
	}
	for _, op := range ops {
		f.Votes = append(f.Votes, op.ID())
	}
	f.Sig = x.sign(1).Sign(f.SigningDigest())
	return sealFrame(f)
}

// BenchmarkStep measures one step for each of the messages that a node gets most.
func BenchmarkStep(b *testing.B) {
	b.Run("message=op", func(b *testing.B) {
		benches(b, func(b *testing.B, x *bench) {
			ops := x.burns(4000)
			data := make([][]byte, len(ops))
			for i, op := range ops {
				data[i] = sealOp(op)
			}
			for i := 0; b.Loop(); i++ {
				if i%60 == 0 { // a lane takes 64 operations ahead
					b.StopTimer()
					x.start(b)
					b.StartTimer()
				}
				stepped(x.m, x.now, Gossiped{Data: data[i%60]}, nil)
			}
		})
	})
	b.Run("message=frame", func(b *testing.B) {
		benches(b, func(b *testing.B, x *bench) {
			ops := x.burns(1000)
			var frames [][]byte
			for _, op := range ops { // a frame for each operation, which it certifies
				stepped(x.m, x.now, Gossiped{Data: sealOp(op)}, nil)
				frames = append(frames, x.frame(op))
				stepped(x.m, x.now, Gossiped{Data: frames[len(frames)-1]}, nil)
			}
			for i := 0; b.Loop(); i++ {
				if i%len(ops) == 0 {
					b.StopTimer()
					x.start(b)
					b.StartTimer()
				}
				b.StopTimer()
				stepped(x.m, x.now, Gossiped{Data: sealOp(ops[i%len(ops)])}, nil)
				b.StartTimer()
				stepped(x.m, x.now, Gossiped{Data: frames[i%len(ops)]}, nil)
			}
		})
	})
	b.Run("message=offer", func(b *testing.B) {
		benches(b, func(b *testing.B, x *bench) {
			reg := x.register(1)
			stepped(x.m, x.now, Gossiped{Data: sealOp(reg)}, nil)
			x.certify(reg)
			o := market.Offer{
				Provider: x.id(1), Class: testClass, Region: testRegion, Declared: 1000, Free: 1000,
				Expires: x.now.Add(time.Minute).UnixMilli(),
			}
			sign := x.sign(1).Sign
			var data [][]byte
			for i := range 1000 {
				o.Seq = uint64(i + 1)
				o.Sig = sign(o.SigningDigest(x.m.network))
				data = append(data, wire.Seal(wire.KindOffer, o.Put))
			}
			for i := 0; b.Loop(); i++ {
				x.m.Step(x.now, Gossiped{Data: data[i%len(data)]})
			}
		})
	})
	b.Run("message=voucher", func(b *testing.B) { benches(b, voucherSteps) })
}

func (x *bench) register(i int) *ledger.Op {
	op := &ledger.Op{
		Chain: ledger.ChainOf(x.m.network), Kind: ledger.KindDeviceRegister, Account: x.id(i), Seq: 1,
		Body: ledger.DeviceRegister{Class: testClass, Declared: 4000}.Encode(),
	}
	op.Sig = x.sign(i).Sign(op.SigningDigest())
	return op
}

// voucherSteps measures a voucher for one second more than the last.
func voucherSteps(b *testing.B, x *bench) {
	terms := market.Terms{Module: p2p.Sum("module"), Tasks: 1, MemoryPages: 64, Seconds: market.ProbationTerm}
	charge, _ := x.m.leases.Charge(x.id(0), testClass, 1000, terms.Seconds, 0)
	op := &ledger.Op{
		Chain: ledger.ChainOf(x.m.network), Kind: ledger.KindLeaseOpen, Account: x.id(1), Seq: 1, Fee: x.g.Ledger.MinFee,
		Body: market.LeaseOpen{
			Provider: x.id(0), Class: testClass, Units: 1000, Seconds: terms.Seconds, Escrow: charge, Terms: terms.Digest(),
		}.Encode(),
	}
	op.Sig = x.sign(1).Sign(op.SigningDigest())
	stepped(x.m, x.now, Gossiped{Data: sealOp(op)}, nil)
	x.certify(op)
	start := market.Start{Lease: op.ID(), Terms: terms}
	x.m.Step(x.now, Received{From: x.id(1), Data: wire.Seal(wire.KindStart, start.Put)})
	if x.m.Sales() != 1 {
		b.Fatal("the lease is not served")
	}
	sign := x.sign(1).Sign
	var data [][]byte
	for i := range 3000 {
		v := market.Voucher{Lease: op.ID(), Used: uint64(i + 1)}
		v.Sig = sign(v.SigningDigest(x.m.network))
		data = append(data, wire.Seal(wire.KindPay, v.Put))
	}
	s := x.m.sales[op.ID()]
	for i := 0; b.Loop(); i++ {
		if i%len(data) == 0 {
			s.voucher = market.Voucher{}
		}
		x.m.Step(x.now, Received{From: x.id(1), Data: data[i%len(data)]})
	}
}

// BenchmarkQuote measures a quote on both sides: from a client's Ask to the signed
// answer, and from the answer to the signed LeaseOpen.
func BenchmarkQuote(b *testing.B) {
	b.Run("side=provider", func(b *testing.B) {
		benches(b, func(b *testing.B, x *bench) {
			for i := 0; b.Loop(); i++ {
				a := market.Ask{
					Client: x.id(1), Bid: p2p.Sum("need"), Nonce: uint64(i), Class: testClass, Units: 1000, Seconds: 60,
				}
				fx := x.m.Step(x.now, Received{From: x.id(1), Data: wire.Seal(wire.KindAsk, a.Put)})
				if len(fx) != 1 {
					b.Fatalf("%d effects, want the quote", len(fx))
				}
			}
		})
	})
	b.Run("side=client", func(b *testing.B) { benches(b, quotedSteps) })
}

// quotedSteps measures a client that gets the one quote it waits for.
func quotedSteps(b *testing.B, x *bench) {
	provider := x.m
	start := func() (*Machine, []byte) {
		m, err := New(Config{
			Self: x.id(1), Genesis: x.g, Crypto: x.sign(1), Rand: rand.New(rand.NewPCG(1, 2)),
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
		m.Step(x.now, Tick{})
		for op := range provider.ops() {
			stepped(m, x.now, Gossiped{Data: sealOp(op)}, nil)
		}
		for _, f := range provider.replica.FramesAfter([]uint32{0}, 100) {
			stepped(m, x.now, Gossiped{Data: sealFrame(f)}, nil)
		}
		provider.due.offer = x.now
		for _, f := range provider.Step(x.now, Tick{}) {
			if p, ok := f.(Publish); ok {
				m.Step(x.now, Gossiped{Data: p.Data})
			}
		}
		for _, f := range m.Step(x.now, Submit{Job: testJob("a", 1, 0)}) {
			if ask, ok := f.(Send); ok && ask.To == x.id(0) {
				fx := provider.Step(x.now, Received{From: x.id(1), Data: ask.Data})
				return m, fx[0].(Send).Data
			}
		}
		b.Fatal("no question is asked")
		return nil, nil
	}
	for b.Loop() {
		b.StopTimer()
		m, quote := start()
		b.StartTimer()
		fx := m.Step(x.now, Received{From: x.id(0), Data: quote})
		if _, ok := fx[0].(Save); !ok || sent(fx, wire.KindOp) != 1 {
			b.Fatal("the quote is not taken")
		}
	}
}

// ops yields the operations that a machine holds votes for.
func (m *Machine) ops() func(func(*ledger.Op) bool) {
	return func(yield func(*ledger.Op) bool) {
		for _, f := range m.replica.FramesAfter([]uint32{0}, 1000) {
			for _, id := range f.Votes {
				if op, ok := m.replica.Op(id); ok && !yield(op) {
					return
				}
			}
		}
	}
}
