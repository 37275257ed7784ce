package proofs

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// A town is a ledger with four witnesses, of which the first owns a device too.
type town struct {
	p        *Params
	genesis  *ledger.Genesis
	network  p2p.Network
	contract *Contract
	state    *ledger.State
	proved   int // times a beat's proof was checked
}

// fakeVRF stands in for the random outputs: the proof names key and input.
func fakeVRF(key p2p.VRFKey, alpha p2p.Digest) (proof p2p.VRFProof) {
	sum := p2p.Sum("fake vrf", key[:], alpha[:])
	copy(proof[:], sum[:])
	return proof
}

func newTown() *town {
	tn := &town{p: newParams(), network: p2p.Network{7}}
	tn.p.StormPer = 1
	tn.genesis = &ledger.Genesis{Name: "town", SlotMillis: 500, EpochMillis: 3000}
	for i := range 4 {
		tn.genesis.Witnesses = append(tn.genesis.Witnesses, ledger.Witness{
			Account: ledger.Account{1, byte(i)}, Stake: 100, VRF: p2p.VRFKey{byte(i)},
		})
	}
	verify := func(key p2p.VRFKey, alpha p2p.Digest, proof p2p.VRFProof) (out p2p.VRFOutput, ok bool) {
		tn.proved++
		copy(out[:], proof[:])
		return out, proof == fakeVRF(key, alpha)
	}
	tn.contract = NewContract(tn.p, tn.network, tn.genesis, verify)
	state, err := ledger.New(tn.network, tn.genesis, []ledger.Contract{tn.contract})
	if err != nil {
		panic(err)
	}
	tn.state = state
	return tn
}

// beat returns the beat of a slot.
func (tn *town) beat(slot ledger.Slot) ledger.Beat {
	beacon := ledger.GenesisBeacon(tn.network)
	w := ledger.Schedule(tn.genesis, beacon, slot)
	return ledger.Beat{
		Slot: slot, Witness: w, Proof: fakeVRF(tn.genesis.Witnesses[w].VRF, ledger.BeatAlpha(beacon, slot)),
	}
}

// next returns the operation that comes next in lane 0 of an account.
func (tn *town) next(account ledger.Account, kind ledger.Kind, body []byte) *ledger.Op {
	seq, head := tn.state.Head(account, 0)
	return &ledger.Op{
		Chain: tn.state.Chain(), Kind: kind, Account: account, Seq: seq + 1, Prev: head, Body: body,
	}
}

func (tn *town) register(account ledger.Account, class ledger.Class) {
	body := ledger.DeviceRegister{Class: class, Declared: 1000}.Encode()
	if r := tn.state.Apply(tn.next(account, ledger.KindDeviceRegister, body)); r != ledger.OK {
		panic(r)
	}
}

func (tn *town) commitTo(storm ledger.Slot, rounds uint32) *Commit {
	return &Commit{Class: "cpu", Beat: tn.beat(storm), Params: tn.p.Hash(), Rounds: rounds}
}

// commit files a commit and returns its id.
func (tn *town) commit(t *testing.T, account ledger.Account, storm ledger.Slot, rounds uint32) ledger.OpID {
	t.Helper()
	op := tn.next(account, ledger.KindProofCommit, tn.commitTo(storm, rounds).Encode())
	if r := tn.state.Apply(op); r != ledger.OK {
		t.Fatalf("commit to storm %d: %v", storm, r)
	}
	return op.ID()
}

// judge lets a witness give a verdict and returns what the ledger says.
func (tn *town) judge(witness int, id ledger.OpID, slot ledger.Slot, f Fault) ledger.Result {
	v := &Verdict{Commit: id, Beat: tn.beat(slot), Fault: f}
	op := tn.next(tn.genesis.Witnesses[witness].Account, ledger.KindProofVerdict, v.Encode())
	return tn.state.Apply(op)
}

// [PRF-16] A storm is passed when witnesses with more than half of the stake but
// the device's owner's say NoFault; the device's count and proven rate follow.
func TestStormPassed(t *testing.T) {
	for _, c := range []struct {
		account ledger.Account
		need    int
	}{{ledger.Account{9}, 3}, {ledger.Account{1, 0}, 2}} {
		tn := newTown()
		tn.register(c.account, "cpu")
		id := tn.commit(t, c.account, 10, 8)
		from := tn.p.SampleFrom(10)
		for i := range c.need {
			if got := tn.contract.Passed(c.account, "cpu"); got != 0 {
				t.Fatalf("passed with %d of %d verdicts", i, c.need)
			}
			if r := tn.judge(3-i, id, from+ledger.Slot(i), NoFault); r != ledger.OK {
				t.Fatalf("verdict %d: %v", i, r)
			}
		}
		f, ok := tn.contract.Commit(id)
		if !ok || !f.Passed || len(f.Verdicts) != c.need || f.Device != c.account {
			t.Errorf("commit %+v, want passed with %d verdicts", f, c.need)
		}
		beat := tn.beat(10)
		output := ledger.BeatOutput(p2p.VRFOutput(append(beat.Proof[:], make([]byte, 64)...)))
		if want := tn.p.Seed(tn.network, output, c.account, "cpu"); f.Seed != want {
			t.Errorf("seed %v, want %v", f.Seed, want)
		}
		d, _ := tn.state.Device(c.account, "cpu")
		if want := tn.p.Rate(8, tn.genesis); d.Passed != 1 || d.Proven != want || d.Declared != 1000 {
			t.Errorf("device %+v, want one storm passed, %d mCU proven", d, want)
		}
	}
}

// [PRF-16] Stake decides, not heads, and an owner's own is left out.
func TestStormPassedByStake(t *testing.T) {
	for _, c := range []struct {
		name   string
		owner  ledger.Account
		stakes [4]ledger.Amount
		judges []int
		want   bool
	}{
		{"dust outvotes nobody", ledger.Account{9}, [4]ledger.Amount{1, 1, 1, 100}, []int{0, 1, 2}, false},
		{"the stake of one", ledger.Account{9}, [4]ledger.Amount{1, 1, 1, 100}, []int{3}, true},
		{"just half", ledger.Account{9}, [4]ledger.Amount{1, 2, 3, 6}, []int{3}, false},
		{"the owner's does not count", ledger.Account{1, 3}, [4]ledger.Amount{1, 1, 1, 100}, []int{0, 1}, true},
		{"half of the others'", ledger.Account{1, 3}, [4]ledger.Amount{1, 1, 2, 100}, []int{2}, false},
	} {
		tn := newTown()
		for i, s := range c.stakes {
			tn.genesis.Witnesses[i].Stake = s
		}
		tn.register(c.owner, "cpu")
		id := tn.commit(t, c.owner, 10, 8)
		for _, w := range c.judges {
			if r := tn.judge(w, id, tn.p.SampleFrom(10), NoFault); r != ledger.OK {
				t.Fatalf("%s: verdict of witness %d: %v", c.name, w, r)
			}
		}
		if got := tn.contract.Passed(c.owner, "cpu") == 1; got != c.want {
			t.Errorf("%s: passed %v, want %v", c.name, got, c.want)
		}
	}
}

// Verdicts against a commit keep it from passing, and do not undo what passed.
func TestStormFailed(t *testing.T) {
	tn := newTown()
	provider := ledger.Account{9}
	tn.register(provider, "cpu")
	id := tn.commit(t, provider, 10, 8)
	for i, fault := range []Fault{NoFault, WrongTile, NoFault, Late} {
		if r := tn.judge(i, id, tn.p.SampleFrom(10), fault); r != ledger.OK {
			t.Fatal(r)
		}
	}
	if f, _ := tn.contract.Commit(id); f.Passed || tn.contract.Passed(provider, "cpu") != 0 {
		t.Error("passed with two of four in favour")
	}
	id = tn.commit(t, provider, 20, 8)
	for i, fault := range []Fault{NoFault, NoFault, NoFault, NoReveal} {
		if r := tn.judge(i, id, tn.p.SampleFrom(20), fault); r != ledger.OK {
			t.Fatal(r)
		}
	}
	if f, _ := tn.contract.Commit(id); !f.Passed || len(f.Verdicts) != 4 {
		t.Errorf("%+v: not passed with three of four in favour", f)
	}
}

// [PRF-17] A device commits once to a storm, in the order of storms, to a beat of
// the schedule that is a storm, on lane 0.
func TestCommitRefused(t *testing.T) {
	tn := newTown()
	provider := ledger.Account{9}
	apply := func(change func(c *Commit)) ledger.Result {
		c := tn.commitTo(20, 3)
		change(c)
		return tn.state.Apply(tn.next(provider, ledger.KindProofCommit, c.Encode()))
	}
	same := func(*Commit) {}
	if got := apply(same); got != ledger.UnknownDevice {
		t.Errorf("commit of an unknown device: %v", got)
	}
	tn.register(provider, "cpu")
	tn.commit(t, provider, 10, 3)
	for what, c := range map[string]struct {
		change func(c *Commit)
		want   ledger.Result
	}{
		"same storm, same work":    {func(c *Commit) { c.Beat = tn.beat(10) }, ledger.AlreadyDone},
		"same storm, another root": {func(c *Commit) { c.Beat, c.Root[0] = tn.beat(10), 1 }, ledger.AlreadyDone},
		"an earlier storm":         {func(c *Commit) { c.Beat = tn.beat(9) }, ledger.TooLate},
		"no rounds":                {func(c *Commit) { c.Rounds = 0 }, ledger.BadProof},
		"too many rounds":          {func(c *Commit) { c.Rounds = tn.p.MaxRounds + 1 }, ledger.BadProof},
		"other rules":              {func(c *Commit) { c.Params[0]++ }, ledger.BadProof},
		"an unknown class":         {func(c *Commit) { c.Class = "gpu" }, ledger.UnknownDevice},
		"no class":                 {func(c *Commit) { c.Class = "" }, ledger.BadBody},
		"a forged beat":            {func(c *Commit) { c.Beat.Proof[0]++ }, ledger.BadBeat},
		"a beat out of turn":       {func(c *Commit) { c.Beat.Witness = (c.Beat.Witness + 1) % 4 }, ledger.BadBeat},
		"a witness that is none":   {func(c *Commit) { c.Beat.Witness = 4 }, ledger.BadBeat},
		"a beat far too late":      {func(c *Commit) { c.Beat = tn.beat(1<<40 + 1) }, ledger.BadBeat},
		"a beat of no time":        {func(c *Commit) { c.Beat = tn.beat(1<<64 - 1) }, ledger.BadBeat},
	} {
		if got := apply(c.change); got != c.want {
			t.Errorf("commit with %s: %v, want %v", what, got, c.want)
		}
	}
	op := tn.next(provider, ledger.KindProofCommit, tn.commitTo(20, 3).Encode())
	op.Lane, op.Seq, op.Prev = 1, 1, ledger.OpID{}
	if got := tn.state.Apply(op); got != ledger.BadLane {
		t.Errorf("commit on lane 1: %v", got)
	}
	tn.contract.p.StormPer = 1 << 31
	if got := apply(same); got != ledger.BadBeat {
		t.Errorf("commit to a beat that is no storm: %v", got)
	}
	tn.contract.p.StormPer = 1
	if got := apply(same); got != ledger.OK {
		t.Errorf("the honest commit: %v", got)
	}
	if got := apply(func(c *Commit) { c.Beat = tn.beat(1 << 40) }); got != ledger.OK {
		t.Errorf("a commit to the last storm there may be: %v", got)
	}
}

// [LED-44] A retired device commits to nothing. What it committed to before is judged
// as if it were not retired, and with the same state whatever came first.
func TestRetiredDevice(t *testing.T) {
	var roots []p2p.Digest
	for _, early := range []bool{true, false} {
		tn := newTown()
		provider := ledger.Account{9}
		retire := func() {
			body := ledger.DeviceRetire{Class: "cpu"}.Encode()
			if r := tn.state.Apply(tn.next(provider, ledger.KindDeviceRetire, body)); r != ledger.OK {
				t.Fatal(r)
			}
		}
		tn.register(provider, "cpu")
		id := tn.commit(t, provider, 10, 8)
		if early {
			retire()
		}
		for i := range 3 {
			if r := tn.judge(i, id, tn.p.SampleFrom(10), NoFault); r != ledger.OK {
				t.Fatalf("verdict %d: %v", i, r)
			}
		}
		if !early {
			retire()
		}
		d, _ := tn.state.Device(provider, "cpu")
		if want := tn.p.Rate(8, tn.genesis); !d.Retired() || d.Passed != 1 || d.Proven != want {
			t.Errorf("device %+v, want it retired, with one storm passed and %d mCU proven", d, want)
		}
		roots = append(roots, tn.state.Root())
		commit := tn.commitTo(20, 8).Encode()
		if r := tn.state.Apply(tn.next(provider, ledger.KindProofCommit, commit)); r != ledger.UnknownDevice {
			t.Errorf("commit of a retired device: %v", r)
		}
		tn.register(provider, "cpu")
		if r := tn.state.Apply(tn.next(provider, ledger.KindProofCommit, commit)); r != ledger.OK {
			t.Errorf("commit of a device that is back: %v", r)
		}
	}
	if roots[0] != roots[1] {
		t.Error("retiring before and after the verdicts gives two states")
	}
}

// [PRF-18] A witness judges a commit once, by a beat of the slots that may pick
// tiles; nobody else does, and no owner his own device.
func TestVerdictRefused(t *testing.T) {
	tn := newTown()
	owner := tn.genesis.Witnesses[0].Account
	tn.register(owner, "cpu")
	id := tn.commit(t, owner, 10, 3)
	from, until := tn.p.SampleFrom(10), tn.p.SampleUntil(10)
	for what, c := range map[string]struct {
		witness int
		id      ledger.OpID
		slot    ledger.Slot
		want    ledger.Result
	}{
		"of an unknown commit":        {1, ledger.OpID{1}, from, ledger.UnknownCommit},
		"of the owner":                {0, id, from, ledger.NotYours},
		"by a beat before the commit": {1, id, 11, ledger.TooEarly},
		"by a beat too early":         {1, id, from - 1, ledger.TooEarly},
		"by a beat too late":          {1, id, until + 1, ledger.TooLate},
	} {
		if got := tn.judge(c.witness, c.id, c.slot, NoFault); got != c.want {
			t.Errorf("verdict %s: %v, want %v", what, got, c.want)
		}
	}
	v := &Verdict{Commit: id, Beat: tn.beat(from), Fault: NoFault}
	if got := tn.state.Apply(tn.next(ledger.Account{9}, ledger.KindProofVerdict, v.Encode())); got != ledger.NotYours {
		t.Errorf("verdict of a stranger: %v", got)
	}
	v.Beat.Proof[3]++
	witness := tn.genesis.Witnesses[1].Account
	if got := tn.state.Apply(tn.next(witness, ledger.KindProofVerdict, v.Encode())); got != ledger.BadBeat {
		t.Errorf("verdict by a forged beat: %v", got)
	}
	if got := tn.judge(1, id, until, NoFault); got != ledger.OK {
		t.Errorf("the first verdict: %v", got)
	}
	if got := tn.judge(1, id, from, WrongTile); got != ledger.AlreadyDone {
		t.Errorf("the second verdict: %v", got)
	}
}

// Commits, Latest and Commit tell the same, and what they return does not change.
func TestCommits(t *testing.T) {
	tn := newTown()
	a, b := ledger.Account{8}, ledger.Account{9}
	tn.register(a, "cpu")
	tn.register(b, "cpu")
	first := tn.commit(t, a, 10, 1)
	tn.commit(t, b, 10, 1)
	last := tn.commit(t, a, 30, 2)
	before, _ := tn.contract.Commit(first)
	if r := tn.judge(2, first, tn.p.SampleFrom(10), NoFault); r != ledger.OK {
		t.Fatal(r)
	}
	if len(before.Verdicts) != 0 {
		t.Error("a commit handed out before has changed")
	}
	for from, want := range map[ledger.Slot]int{0: 3, 10: 3, 11: 1, 31: 0} {
		all := slices.Collect(tn.contract.Commits(from))
		if len(all) != want || !slices.IsSortedFunc(all, func(x, y Filed) int { return x.compare(&y) }) {
			t.Errorf("%d commits from slot %d, want %d in order", len(all), from, want)
		}
	}
	if f, ok := tn.contract.Latest(a, "cpu"); !ok || f.ID != last {
		t.Errorf("latest %v, want %v", f.ID, last)
	}
	if _, ok := tn.contract.Latest(a, "gpu"); ok {
		t.Error("a device that never committed has a latest commit")
	}
	for range tn.contract.Commits(0) {
		break
	}
}

// [PRF-19] Proofs of beats are checked once while they are remembered, and no more
// than a fixed number are.
func TestBeatsAreRemembered(t *testing.T) {
	tn := newTown()
	for i := range 50 {
		account := ledger.Account{9, byte(i)}
		tn.register(account, "cpu")
		tn.commit(t, account, 10, 1)
	}
	if tn.proved != 1 {
		t.Errorf("50 commits to one storm: %d proofs checked, want 1", tn.proved)
	}
	m := tn.contract.beats
	for slot := range ledger.Slot(beatsMax + 100) {
		b := tn.beat(slot)
		if slot%3 == 0 {
			b.Proof[1]++
		}
		if _, ok := m.verify(&b); ok != (slot%3 != 0) {
			t.Fatalf("beat of slot %d: %v", slot, ok)
		}
	}
	if len(m.known) != beatsMax || len(m.ring) != beatsMax {
		t.Errorf("%d beats remembered in a ring of %d, want %d", len(m.known), len(m.ring), beatsMax)
	}
}

// [PRF-20] Any order of the same operations that respects lanes gives the same
// state, and Reset gives back the first.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tn := newTown()
		blank := tn.state.Root()
		lanes := newStory(tn)
		var roots []p2p.Digest
		for run := range 3 {
			tn.state.Reset()
			if got := tn.state.Root(); got != blank {
				t.Fatal("reset leaves something behind")
			}
			left := slices.Clone(lanes)
			for steps := 0; len(left) > 0; steps++ {
				i := rapid.IntRange(0, len(left)-1).Draw(t, "lane")
				if tn.state.Apply(left[i][0]) == ledger.OK {
					left[i] = left[i][1:]
				}
				left = slices.DeleteFunc(left, func(ops []*ledger.Op) bool { return len(ops) == 0 })
				if steps > 20000 {
					t.Fatalf("run %d: stuck", run)
				}
			}
			roots = append(roots, tn.state.Root())
		}
		if roots[0] != roots[1] || roots[0] != roots[2] {
			t.Fatalf("three orders, roots %v", roots)
		}
	})
}

// [LED-54] The root covers what the contract holds now: commits and devices.
func TestRootCoversContract(t *testing.T) {
	tn := newTown()
	lanes := newStory(tn)
	tn.state.Reset()
	for n := 1; n > 0; {
		n = 0
		for i, ops := range lanes {
			for len(ops) > 0 && tn.state.Apply(ops[0]) == ledger.OK {
				ops = ops[1:]
				n++
				tn.wantLeaves(t)
			}
			lanes[i] = ops
		}
	}
	if left := len(slices.Concat(lanes...)); left > 0 {
		t.Fatalf("%d operations never apply", left)
	}
}

// wantLeaves fails unless the root has what the contract holds.
func (tn *town) wantLeaves(t *testing.T) {
	t.Helper()
	var keys [][]byte
	for f := range tn.contract.Commits(0) {
		keys = append(keys, append([]byte("c"), f.ID[:]...))
	}
	for k := range tn.contract.devices {
		keys = append(keys, append([]byte("d"), k...))
	}
	for _, b := range keys {
		key := ledger.ContractKey(0, b)
		want, _ := tn.contract.Leaf(b)
		p := tn.state.Prove(key)
		if got, there, err := p.Verify(tn.state.Root(), key); err != nil || !there || !bytes.Equal(got, want) {
			t.Fatalf("the root has %x of %q, %v, %v; want %x", got, b, there, err, want)
		}
	}
}

// newStory applies a year of three devices, and returns the operations by lane.
func newStory(tn *town) [][]*ledger.Op {
	var lanes [][]*ledger.Op
	apply := func(lane int, account ledger.Account, kind ledger.Kind, body []byte) ledger.OpID {
		op := tn.next(account, kind, body)
		if r := tn.state.Apply(op); r != ledger.OK {
			panic(r)
		}
		lanes[lane] = append(lanes[lane], op)
		return op.ID()
	}
	lanes = make([][]*ledger.Op, 6) // witnesses 0 to 3, the first with a device; providers 4 and 5
	accounts := []ledger.Account{{1, 0}, {1, 1}, {1, 2}, {1, 3}, {8}, {9}}
	devices := []int{0, 4, 5}
	for _, d := range devices {
		apply(d, accounts[d], ledger.KindDeviceRegister, ledger.DeviceRegister{Class: "cpu", Declared: 5}.Encode())
	}
	for storm := ledger.Slot(10); storm < 120; storm += 10 {
		for _, d := range devices {
			rounds := uint32(storm/10)*3%8 + 1
			id := apply(d, accounts[d], ledger.KindProofCommit, tn.commitTo(storm, rounds).Encode())
			for w := range 4 {
				if w == d {
					continue
				}
				v := &Verdict{Commit: id, Beat: tn.beat(tn.p.SampleFrom(storm)), Fault: NoFault}
				if (int(storm)/10+w+d)%4 == 0 {
					v.Fault = WrongTile
				}
				apply(w, accounts[w], ledger.KindProofVerdict, v.Encode())
			}
		}
	}
	return lanes
}
