package machine

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// A flow is transfers of many accounts, with the frames of one witness that certify
// them, as they come by gossip.
type flow struct {
	cfg  Config
	data [][]byte
	ops  int
}

// newFlow signs so many transfers of each account with real keys, and a frame for each
// 64 of them.
func newFlow(accounts, each int) *flow {
	g := testGenesis(never)
	witness := p2p.IdentityFromSeed([32]byte{0, 0, 1})
	g.Ledger.Witnesses = []ledger.Witness{{Account: witness.PeerID(), Stake: ledger.Token, VRF: p2p.VRFKey{1}}}
	ids := make([]*p2p.Identity, accounts)
	for i := range ids {
		ids[i] = p2p.IdentityFromSeed([32]byte{byte(i), byte(i >> 8), 2})
		g.Ledger.Alloc = append(g.Ledger.Alloc, ledger.Alloc{Account: ids[i].PeerID(), Amount: 100 * ledger.Token})
	}
	self := p2p.IdentityFromSeed([32]byte{0, 0, 3})
	f := &flow{cfg: Config{
		Self: self.PeerID(), Genesis: g, Crypto: self.Crypto(), Rand: rand.New(rand.NewPCG(1, 2)),
	}}
	st := &stage{g: g}
	last := st.frameOf(0, nil)
	last.Seq = 0
	prev := make([]ledger.OpID, accounts)
	var votes []ledger.OpID
	for seq := range uint64(each) {
		for i, id := range ids {
			op := &ledger.Op{
				Chain: ledger.ChainOf(g.Network()), Kind: ledger.KindTransfer, Account: id.PeerID(), Seq: seq + 1, Prev: prev[i],
				Fee: g.Ledger.MinFee, Body: ledger.Transfer{To: ids[(i+1)%accounts].PeerID(), Amount: 1}.Encode(),
			}
			op.Sig = id.Sign(op.SigningDigest())
			prev[i] = op.ID()
			f.data, votes, f.ops = append(f.data, sealOp(op)), append(votes, op.ID()), f.ops+1
			if len(votes) == 64 {
				next := st.frameOf(0, last, votes...)
				if last.Seq == 0 {
					next.Prev = p2p.Digest{}
				}
				next.Sig = witness.Sign(next.SigningDigest())
				f.data, last, votes = append(f.data, sealFrame(next)), next, nil
			}
		}
	}
	return f
}

// BenchmarkTransfers measures transfers, from the message to the state, of 1024
// accounts: what the loop does itself, and what a worker does beside it.
func BenchmarkTransfers(b *testing.B) {
	f := newFlow(1024, 16)
	var loop, worker time.Duration
	for b.Loop() {
		m, err := New(f.cfg, nil)
		if err != nil {
			b.Fatal(err)
		}
		now := time.UnixMilli(f.cfg.Genesis.Ledger.Start)
		m.Step(now, Tick{})
		var open []Verify
		step := func(ev Event) {
			start := time.Now()
			fx := m.Step(now, ev)
			loop += time.Since(start)
			open = append(open, questions(fx)...)
		}
		answer := func() {
			start := time.Now()
			done := Verified{ID: open[0].ID, OK: f.cfg.Crypto.VerifyBatch(open[0].Batch)}
			worker += time.Since(start)
			open = open[1:]
			for step(done); !m.due.inbox.IsZero(); {
				step(Tick{})
			}
		}
		for i, data := range f.data {
			if step(Gossiped{Data: data}); i%512 == 511 { // what comes while a worker is busy
				answer()
			}
		}
		for len(open) > 0 {
			answer()
		}
		if got := m.replica.State().Applied(); got != uint64(f.ops) {
			b.Fatalf("%d of %d transfers are applied", got, f.ops)
		}
	}
	all := float64(b.N * f.ops)
	b.ReportMetric(all/loop.Seconds(), "transfers/s-loop")
	b.ReportMetric(all/worker.Seconds(), "transfers/s-worker")
	b.ReportMetric(all/b.Elapsed().Seconds(), "transfers/s")
}
