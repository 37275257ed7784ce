package proofs

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// proofLane is the lane of all proof operations. One lane puts the commits of a
// device, and the verdicts of a witness, in an order that all replicas share.
const proofLane ledger.Lane = 0

// slotMax is the last slot a storm may have, so that no sum of slots overflows, and
// no time in milliseconds either while a slot is shorter than two hours. With slots
// of half a second it is 17 000 years away.
const slotMax ledger.Slot = 1 << 40

// A Contract is the part of the ledger's state that knows proofs: which commits
// were made, what the witnesses said of them, and what each device has proven. It
// handles ledger.KindProofCommit and ledger.KindProofVerdict.
//
// It knows no time. Witnesses certify late commits like others, but one that sees
// a commit applied after Params.CommitBy gives no verdict on it, so that a late
// commit passes no storm. So its state is a function of the set of operations, in whatever order that
// respects lanes they are applied.
type Contract struct {
	p       Params
	rules   p2p.Digest // of p
	network p2p.Network
	genesis *ledger.Genesis
	beats   *beatMemo

	commits map[ledger.OpID]*Filed
	order   []*Filed // by storm, then by ID
	devices map[deviceKey]*history
}

// A VerifyVRF checks a proof and returns the output it proves: p2p.VerifyVRF in a
// node.
type VerifyVRF func(p2p.VRFKey, p2p.Digest, p2p.VRFProof) (p2p.VRFOutput, bool)

// NewContract returns the contract of a network before its first operation. The
// parameters and the genesis must be valid; the genesis is kept.
func NewContract(p *Params, network p2p.Network, g *ledger.Genesis, verify VerifyVRF) *Contract {
	c := &Contract{
		p: *p, rules: p.Hash(), network: network, genesis: g,
		beats: newBeatMemo(g, ledger.GenesisBeacon(network), verify),
	}
	c.Reset()
	return c
}

// Reset returns the contract to before the first operation.
func (c *Contract) Reset() {
	c.commits, c.order = make(map[ledger.OpID]*Filed), nil
	c.devices = make(map[deviceKey]*history)
}

// Filed is a commit on the ledger and what became of it.
type Filed struct {
	ID       ledger.OpID
	Device   ledger.Account
	Commit   Commit
	Seed     p2p.Digest // of the challenge
	Verdicts []Vote     // by witness
	Passed   bool       // more than half of the stake that may judge said NoFault
}

// A Vote is the verdict of one witness.
type Vote struct {
	Witness uint16
	Fault   Fault
}

// compare orders commits by storm, then by ID.
func (f *Filed) compare(other *Filed) int {
	return cmp.Or(cmp.Compare(f.Commit.Storm(), other.Commit.Storm()), f.ID.Compare(other.ID))
}

// touch says that the leaf of the commit changes.
func (f *Filed) touch(tx *ledger.Tx) { tx.Touch(append([]byte("c"), f.ID[:]...)) }

// A deviceKey names a device: the account's 32 bytes, then the class.
type deviceKey string

func keyOf(account ledger.Account, class ledger.Class) deviceKey {
	return deviceKey(string(account[:]) + string(class))
}

// touch says that the leaf of the device changes.
func (k deviceKey) touch(tx *ledger.Tx) { tx.Touch(append([]byte("d"), k...)) }

// A history is what a device has done.
type history struct {
	latest *Filed
	passed uint32
	rates  []rate // of the latest passed storms
}

// Kinds returns the kinds of operation the contract handles.
func (c *Contract) Kinds() []ledger.Kind {
	return []ledger.Kind{ledger.KindProofCommit, ledger.KindProofVerdict}
}

// Decode returns the *Commit or *Verdict of a body.
func (c *Contract) Decode(k ledger.Kind, body []byte) (any, error) {
	if k == ledger.KindProofCommit {
		return DecodeCommit(body)
	}
	if k == ledger.KindProofVerdict {
		return DecodeVerdict(body)
	}
	return nil, fmt.Errorf("decode %v: not a kind of proofs", k)
}

// Check says whether the operation counts. Every answer but OK that another
// operation can still turn into OK is UnknownDevice or UnknownCommit.
func (c *Contract) Check(s *ledger.State, op *ledger.Op, body any) ledger.Result {
	if op.Lane != proofLane {
		return ledger.BadLane
	}
	switch b := body.(type) {
	case *Commit:
		return c.checkCommit(s, op, b)
	case *Verdict:
		return c.checkVerdict(op, b)
	default:
		return ledger.BadBody
	}
}

// Spends implements ledger.Spender: proofs cost nothing but fees. They may be
// followed, but follow nothing.
func (c *Contract) Spends(*ledger.Op, any) (most ledger.Amount, alone bool) { return 0, false }

func (c *Contract) checkCommit(s *ledger.State, op *ledger.Op, b *Commit) ledger.Result {
	if b.Params != c.rules || b.Rounds == 0 || b.Rounds > c.p.MaxRounds {
		return ledger.BadProof
	}
	if d, ok := s.Device(op.Account, b.Class); !ok || d.Retired() {
		return ledger.UnknownDevice
	}
	if h := c.devices[keyOf(op.Account, b.Class)]; h != nil {
		switch latest := h.latest.Commit.Storm(); {
		case b.Storm() == latest:
			return ledger.AlreadyDone
		case b.Storm() < latest:
			return ledger.TooLate
		}
	}
	if b.Storm() > slotMax {
		return ledger.BadBeat
	}
	output, ok := c.beats.verify(&b.Beat)
	if !ok || !IsStorm(&c.p, output) {
		return ledger.BadBeat
	}
	return ledger.OK
}

func (c *Contract) checkVerdict(op *ledger.Op, b *Verdict) ledger.Result {
	f := c.commits[b.Commit]
	if f == nil {
		return ledger.UnknownCommit
	}
	witness, ok := c.genesis.WitnessOf(op.Account)
	if !ok || op.Account == f.Device {
		return ledger.NotYours
	}
	if _, voted := f.vote(witness); voted {
		return ledger.AlreadyDone
	}
	switch storm := f.Commit.Storm(); {
	case b.Beat.Slot < c.p.SampleFrom(storm):
		return ledger.TooEarly
	case b.Beat.Slot > c.p.SampleUntil(storm):
		return ledger.TooLate
	}
	if _, ok := c.beats.verify(&b.Beat); !ok {
		return ledger.BadBeat
	}
	return ledger.OK
}

// vote returns the place of a witness among the verdicts and whether it is taken.
func (f *Filed) vote(witness uint16) (int, bool) {
	return slices.BinarySearchFunc(f.Verdicts, witness, func(v Vote, w uint16) int {
		return cmp.Compare(v.Witness, w)
	})
}

// Apply files a commit or counts a verdict. It must be called only after Check
// said OK.
func (c *Contract) Apply(tx *ledger.Tx, op *ledger.Op, body any) {
	switch b := body.(type) {
	case *Commit:
		c.file(tx, op, b)
	case *Verdict:
		c.judge(tx, op, b)
	default:
		panic(fmt.Sprintf("proofs: apply of %T", body))
	}
}

func (c *Contract) file(tx *ledger.Tx, op *ledger.Op, b *Commit) {
	output, ok := c.beats.verify(&b.Beat)
	if !ok {
		panic(fmt.Sprintf("proofs: file a commit with a bad beat of slot %d", b.Beat.Slot))
	}
	f := &Filed{
		ID: tx.ID(), Device: op.Account, Commit: *b,
		Seed: c.p.Seed(c.network, output, op.Account, b.Class),
	}
	c.commits[f.ID] = f
	at, _ := slices.BinarySearchFunc(c.order, f, (*Filed).compare)
	c.order = slices.Insert(c.order, at, f)
	key := keyOf(op.Account, b.Class)
	h := c.devices[key]
	if h == nil {
		h = &history{}
		c.devices[key] = h
	}
	h.latest = f
	f.touch(tx)
	key.touch(tx)
}

// judge counts a verdict. All are counted, those after the decision too: else it
// would depend on their order which of them count.
func (c *Contract) judge(tx *ledger.Tx, op *ledger.Op, b *Verdict) {
	f := c.commits[b.Commit]
	witness, ok := c.genesis.WitnessOf(op.Account)
	if f == nil || !ok {
		panic(fmt.Sprintf("proofs: judge commit %s by %s", b.Commit.Short(), op.Account.Short()))
	}
	at, _ := f.vote(witness)
	f.Verdicts = slices.Insert(f.Verdicts, at, Vote{Witness: witness, Fault: b.Fault})
	f.touch(tx)
	if f.Passed || 2*c.inFavour(f) <= c.judges(f.Device) { // twice the supply fits
		return
	}
	f.Passed = true
	key := keyOf(f.Device, f.Commit.Class)
	key.touch(tx)
	h := c.devices[key]
	h.passed++
	h.rates = addRate(h.rates, rate{
		storm: f.Commit.Storm(), mCU: c.p.Rate(f.Commit.Rounds, c.genesis),
	})
	if d, ok := tx.State().Device(f.Device, f.Commit.Class); ok {
		d.Passed, d.Proven = h.passed, medianRate(h.rates)
		tx.SetDevice(d)
	}
}

// inFavour returns the stake of the witnesses whose verdicts say NoFault.
func (c *Contract) inFavour(f *Filed) ledger.Amount {
	sum := ledger.Amount(0)
	for _, v := range f.Verdicts {
		if v.Fault == NoFault {
			sum += c.genesis.Witnesses[v.Witness].Stake
		}
	}
	return sum
}

// judges returns the stake of the witnesses that may judge a device: all but its
// owner's.
func (c *Contract) judges(device ledger.Account) ledger.Amount {
	sum := c.genesis.Stake()
	if w, ok := c.genesis.WitnessOf(device); ok {
		sum -= c.genesis.Witnesses[w].Stake
	}
	return sum
}

// Commit returns a commit on the ledger.
func (c *Contract) Commit(id ledger.OpID) (Filed, bool) {
	f := c.commits[id]
	if f == nil {
		return Filed{}, false
	}
	return f.copy(), true
}

// copy returns the commit with verdicts that later ones do not change.
func (f *Filed) copy() Filed {
	g := *f
	g.Verdicts = slices.Clone(f.Verdicts)
	return g
}

// Commits returns the commits to storms of the given slot and later, by storm and
// then by ID. The contract must not change while they are walked.
func (c *Contract) Commits(from ledger.Slot) iter.Seq[Filed] {
	first := &Filed{Commit: Commit{Beat: ledger.Beat{Slot: from}}}
	return func(yield func(Filed) bool) {
		at, _ := slices.BinarySearchFunc(c.order, first, (*Filed).compare)
		for _, f := range c.order[at:] {
			if !yield(f.copy()) {
				return
			}
		}
	}
}

// Latest returns the commit of a device to the latest storm it answered.
func (c *Contract) Latest(device ledger.Account, class ledger.Class) (Filed, bool) {
	h := c.devices[keyOf(device, class)]
	if h == nil {
		return Filed{}, false
	}
	return h.latest.copy(), true
}

// Passed returns the number of storms that a device has passed.
func (c *Contract) Passed(device ledger.Account, class ledger.Class) uint32 {
	if h := c.devices[keyOf(device, class)]; h != nil {
		return h.passed
	}
	return 0
}

// Leaf implements ledger.Contract: commits with their verdicts are under "c", devices
// with what they have proven under "d".
func (c *Contract) Leaf(key []byte) ([]byte, bool) {
	if key[0] == 'd' {
		h := c.devices[deviceKey(key[1:])]
		if h == nil {
			return nil, false
		}
		return h.leaf(), true
	}
	f := c.commits[ledger.OpID(key[1:])]
	if f == nil {
		return nil, false
	}
	return f.leaf(), true
}

// leaf returns what the state holds of the commit.
func (f *Filed) leaf() []byte {
	w := wire.NewWriter(256)
	w.Fixed(f.Device[:])
	w.Blob(f.Commit.Encode())
	w.Bool(f.Passed)
	w.Count(len(f.Verdicts))
	for _, v := range f.Verdicts {
		w.U16(v.Witness)
		w.U8(uint8(v.Fault))
	}
	return w.Bytes()
}

// leaf returns what the state holds of the device.
func (h *history) leaf() []byte {
	w := wire.NewWriter(256)
	w.Fixed(h.latest.ID[:])
	w.U32(h.passed)
	w.Count(len(h.rates))
	for _, r := range h.rates {
		w.U64(uint64(r.storm))
		w.U64(r.mCU)
	}
	return w.Bytes()
}
