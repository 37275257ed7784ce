package main

import (
	"math/rand/v2"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/p2p"
)

const (
	payers    = 20_000
	bundleOps = replica.MaxBundleOps
	roundOps  = 8 * bundleOps // operations that each witness votes for at once, as many as NextFrame chooses
	fee       = ledger.Amount(10)
)

// network returns the one of all runs. What it is a digest of does not matter here.
func network() p2p.Network { return p2p.Network{'b', 'e', 'n', 'c', 'h'} }

// A workload is signed transfers between 20 000 accounts, each with one claim. Those
// of one round do not rest on each other, so that a witness may vote for all of them.
type workload struct {
	alloc     []ledger.Alloc
	witnesses []*p2p.Identity
	rounds    [][]parcel                 // what is voted for at once
	frames    map[int][][]*replica.Frame // by number of witnesses, then round
}

// newWorkload signs n operations, rounded up to whole rounds. It is the same each
// time.
func newWorkload(n int) *workload {
	w := &workload{frames: map[int][][]*replica.Frame{}}
	for i := range ledger.MaxWitnesses {
		w.witnesses = append(w.witnesses, identity("witness", i))
	}
	actors := make([]actor, payers)
	for i := range actors {
		actors[i].id = identity("payer", i)
		actors[i].account = actors[i].id.PeerID()
		w.alloc = append(w.alloc, ledger.Alloc{Account: actors[i].account, Amount: 1e11})
	}
	chance := rand.New(rand.NewPCG(1, 2))
	for range (n + roundOps - 1) / roundOps {
		var ops []*ledger.Op
		from, to := chance.Perm(payers)[:roundOps], chance.Perm(payers)
		for i := range from {
			amount := ledger.Amount(1 + chance.IntN(1000))
			ops = append(ops, actors[from[i]].pay(actors[to[i]].account, amount, &actors[chance.IntN(payers)]))
		}
		w.rounds = append(w.rounds, pack(ops))
		for i := range from { // what is certified now can be claimed in the next round
			payer, paid := &actors[from[i]], &actors[to[i]]
			payer.applied = payer.seq
			paid.owed = append(paid.owed, ledger.Claim{From: payer.account, Upto: payer.seq})
		}
	}
	return w
}

// ops returns how many operations there are.
func (w *workload) ops() int { return len(w.rounds) * roundOps }

// genesis returns one in which so many witnesses have the same stake.
func (w *workload) genesis(witnesses int) *ledger.Genesis {
	g := &ledger.Genesis{Name: "bench", SlotMillis: 1000, EpochMillis: 1000, MinFee: fee, Alloc: w.alloc}
	for _, id := range w.witnesses[:witnesses] {
		g.Witnesses = append(g.Witnesses, ledger.Witness{Account: id.PeerID(), Stake: 1e9, VRF: id.VRFKey()})
	}
	return g
}

// An actor is an account as its owner knows it.
type actor struct {
	id      *p2p.Identity
	account ledger.Account
	seq     uint64
	head    ledger.OpID
	applied uint64         // seq at the end of the last round
	owed    []ledger.Claim // credits of former rounds not claimed yet, the oldest first
}

// pay returns the account's next operation. It claims the oldest credit, or those
// of another account where there is none.
func (a *actor) pay(to ledger.Account, amount ledger.Amount, other *actor) *ledger.Op {
	claim := ledger.Claim{From: other.account, Upto: other.applied}
	if len(a.owed) > 0 {
		claim, a.owed = a.owed[0], a.owed[1:]
	}
	op := &ledger.Op{
		Chain: ledger.ChainOf(network()), Kind: ledger.KindTransfer, Account: a.account, Seq: a.seq + 1, Prev: a.head,
		Fee: fee, Claims: []ledger.Claim{claim}, Body: ledger.Transfer{To: to, Amount: amount}.Encode(),
	}
	id := op.ID()
	op.Sig = a.id.Sign(p2p.Digest(id))
	a.seq, a.head = op.Seq, id
	return op
}
