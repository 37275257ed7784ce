package machine

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs"
)

// A stage is a small network for tests: machines, a clock that jumps, links that
// take 10 ms, and hosts that do what a script says. It is in virtual time and
// deterministic; simulations/world has the storms.
type stage struct {
	t       tester
	g       *Genesis
	now     time.Time
	players []*player
	queue   []*arrival // by time, then as sent
	sent    int
	rules   []*rule
	twists  []twist
	watch   []func(p *player, ev Event, fx []Effect) // called after every step
	before  func()                                   // called before every step; may be nil
}

// A tester is a *testing.T, a *testing.B or a *rapid.T.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// A player is a machine and its host.
type player struct {
	name  string
	key   key
	cfg   Config
	seed  uint64 // of the next life's chance
	m     *Machine
	life  int
	disk  map[string][]byte // records by kind and key
	spins int               // ticks without time passing
	made  map[ledger.Slot]*proofs.Transcript
	alive map[ledger.OpID]bool // jobs that run

	takes time.Duration // length of each job
	hangs bool          // jobs start and never end
	stuck bool          // jobs never start
	fails string        // jobs cannot be run, and this is why
	wrong bool          // outputs are not what the job writes
	keeps bool          // outputs are not handed over

	dieAfter int // dies after so many more Saves, before anything else of the step; 0: never
}

// An arrival is an event on its way to a player.
type arrival struct {
	at   time.Time
	to   *player
	life int // of the player; -1: any
	from *player
	make func() Event
}

// A rule drops messages: the first count of those that match, or all when count
// is negative.
type rule struct {
	kind     wire.Kind // 0: all
	from, to string    // "": anybody
	count    int
}

// A twist changes a message on its way out; nil drops it.
type twist func(from, to *player, kind wire.Kind, data []byte) []byte

// A key is a cheap stand-in for an identity: whoever knows the id can sign. The
// tests forge only on purpose.
type key struct {
	id  p2p.PeerID
	vrf p2p.VRFKey
}

func keyOf(name string) key {
	return key{
		id:  p2p.PeerID(p2p.Sum("stage/id", []byte(name))),
		vrf: p2p.VRFKey(p2p.Sum("stage/vrf", []byte(name))),
	}
}

func cheapSign(id p2p.PeerID, d p2p.Digest) (sig p2p.Signature) {
	sum := p2p.Sum("stage/sign", id[:], d[:])
	copy(sig[:], sum[:])
	return sig
}

func cheapVerify(id p2p.PeerID, d p2p.Digest, sig p2p.Signature) bool { return cheapSign(id, d) == sig }

func cheapProve(vrf p2p.VRFKey, alpha p2p.Digest) (proof p2p.VRFProof) {
	sum := p2p.Sum("stage/proof", vrf[:], alpha[:])
	copy(proof[:], sum[:])
	return proof
}

func cheapVRF(vrf p2p.VRFKey, alpha p2p.Digest, proof p2p.VRFProof) (out p2p.VRFOutput, ok bool) {
	if cheapProve(vrf, alpha) != proof {
		return out, false
	}
	sum := p2p.Sum("stage/output", proof[:])
	copy(out[:], sum[:])
	return out, true
}

func (k key) crypto() p2p.Crypto {
	return p2p.Crypto{
		Sign:        func(d p2p.Digest) p2p.Signature { return cheapSign(k.id, d) },
		Verify:      cheapVerify,
		VerifyBatch: p2p.VerifyEach(cheapVerify),
		ProveVRF:    func(alpha p2p.Digest) p2p.VRFProof { return cheapProve(k.vrf, alpha) },
		VerifyVRF:   cheapVRF,
	}
}

const (
	testClass  ledger.Class = "cpu.small"
	testRegion              = "lab"
	linkDelay               = 10 * time.Millisecond
	startDelay              = 20 * time.Millisecond // from RunJob to JobStarted
	never                   = 1 << 31               // StormPer of a network without storms
)

// testGenesis returns a network whose beats are storms with chance 1/stormPer. It
// has neither money nor witnesses yet.
func testGenesis(stormPer uint32) *Genesis {
	return &Genesis{
		Ledger: ledger.Genesis{
			Name: "stage", Start: 1_750_000_000_000, SlotMillis: 500, EpochMillis: 3000, MinFee: 1000,
		},
		Market: market.Params{
			Quarters: 3, BetaBps: 2000, SigmaBps: 9000, FloorPPM: 50_000, Window: 600,
			Classes: []market.ClassParams{
				{Name: testClass, P0: 2 * ledger.Token, Demand: 4000, Capacity: 16_000, Probation: 4000},
				{Name: "gpu.24", P0: 20 * ledger.Token, Demand: 4000, Capacity: 16_000, Probation: 4000},
			},
		},
		Proofs: proofs.Params{
			M: 16, N: 16, K: 64, MaxRounds: 2, Samples: 2, Window: 1, Delta: 3, Sample: 1, StormPer: stormPer,
			Admission: 3, Reference: 1024,
		},
	}
}

func newStage(t tester, stormPer uint32) *stage {
	g := testGenesis(stormPer)
	return &stage{t: t, g: g, now: time.UnixMilli(g.Ledger.Start)}
}

// add declares a player before the first one starts.
func (s *stage) add(name string, witness bool, tokens ledger.Amount, sell *Sell) *player {
	p := &player{name: name, key: keyOf(name), disk: map[string][]byte{}, takes: 300 * time.Millisecond}
	p.cfg = Config{Self: p.key.id, Genesis: s.g, Crypto: p.key.crypto(), Sell: sell}
	if witness {
		s.g.Ledger.Witnesses = append(s.g.Ledger.Witnesses,
			ledger.Witness{Account: p.key.id, Stake: 1000 * ledger.Token, VRF: p.key.vrf})
	}
	if tokens > 0 {
		s.g.Ledger.Alloc = append(s.g.Ledger.Alloc, ledger.Alloc{Account: p.key.id, Amount: tokens * ledger.Token})
	}
	s.players = append(s.players, p)
	return p
}

// sells returns what a provider of the stage offers.
func sells(units uint64, reserve ledger.Amount) *Sell {
	return &Sell{Class: testClass, Region: testRegion, Units: units, Reserve: reserve}
}

// newMarket returns a running network of three witnesses, providers of 4000 mCU,
// and a client with 1000 tokens.
func newMarket(t tester, stormPer uint32, providers int) *stage {
	s := newStage(t, stormPer)
	for i := range 3 {
		s.add(fmt.Sprintf("witness%d", i+1), true, 0, nil)
	}
	for i := range providers {
		s.add(fmt.Sprintf("provider%d", i+1), false, 0, sells(4000, 0))
	}
	s.add("client", false, 1000, nil)
	return s
}

func (s *stage) player(name string) *player {
	for _, p := range s.players {
		if p.name == name {
			return p
		}
	}
	s.t.Fatalf("no player %q", name)
	return nil
}

func (s *stage) byID(id p2p.PeerID) *player {
	for _, p := range s.players {
		if p.key.id == id {
			return p
		}
	}
	return nil
}

// startAll starts every player that is down.
func (s *stage) startAll() {
	for _, p := range s.players {
		if p.m == nil {
			s.start(p)
		}
	}
}

// start makes a machine from a player's disk and connects it to the others.
func (s *stage) start(p *player) {
	s.t.Helper()
	p.seed++
	cfg := p.cfg
	cfg.Rand = rand.New(rand.NewPCG(p.seed, uint64(p.key.id[0])))
	m, err := New(cfg, p.snapshot())
	if err != nil {
		s.t.Fatalf("start %s: %v", p.name, err)
	}
	if !m.Deadline().IsZero() {
		s.t.Fatalf("%s wants a tick before its first step", p.name)
	}
	p.m, p.made, p.alive, p.spins = m, map[ledger.Slot]*proofs.Transcript{}, map[ledger.OpID]bool{}, 0
	s.step(p, Tick{})
	for _, other := range s.players {
		if other != p && other.m != nil {
			s.step(p, PeerUp{other.key.id})
			s.step(other, PeerUp{p.key.id})
		}
	}
}

// stop ends a player's life. What it has not saved is gone.
func (s *stage) stop(p *player) {
	p.m = nil
	p.life++
	for _, other := range s.players {
		if other.m != nil {
			s.step(other, PeerDown{p.key.id})
		}
	}
}

// snapshot returns what the disk holds, by kind and key.
func (p *player) snapshot() Snapshot {
	var saved Snapshot
	for _, k := range slices.Sorted(maps.Keys(p.disk)) {
		saved = append(saved, Record{Kind: RecordKind(k[0]), Key: []byte(k[1:]), Value: p.disk[k]})
	}
	return saved
}

func (p *player) save(batch []Record) {
	for _, r := range batch {
		k := string([]byte{byte(r.Kind)}) + string(r.Key)
		if r.Value == nil {
			delete(p.disk, k)
			continue
		}
		p.disk[k] = bytes.Clone(r.Value)
	}
}

// after queues an event for a player's present life.
func (s *stage) after(d time.Duration, p *player, f func() Event) {
	s.post(&arrival{at: s.now.Add(d), to: p, life: p.life, make: f})
}

func (s *stage) post(a *arrival) {
	i, _ := slices.BinarySearchFunc(s.queue, a.at, func(b *arrival, at time.Time) int {
		return cmp.Or(b.at.Compare(at), -1) // behind those of the same time
	})
	s.queue = slices.Insert(s.queue, i, a)
}

// next returns when something happens next, and to whom if it is a tick.
func (s *stage) next() (at time.Time, tick *player) {
	for _, p := range s.players {
		if p.m == nil {
			continue
		}
		if d := p.m.Deadline(); at.IsZero() || d.Before(at) {
			at, tick = d, p
		}
	}
	if at.Before(s.now) {
		at = s.now
	}
	if len(s.queue) > 0 && !s.queue[0].at.After(at) {
		return s.queue[0].at, nil
	}
	return at, tick
}

// run lets time pass until stop says so, at most for d.
func (s *stage) run(d time.Duration, stop func() bool) {
	s.t.Helper()
	end := s.now.Add(d)
	for stop == nil || !stop() {
		at, tick := s.next()
		if at.After(end) || at.IsZero() {
			s.now = end
			return
		}
		if at.After(s.now) {
			for _, p := range s.players {
				p.spins = 0
			}
		}
		s.now = at
		if tick != nil {
			if tick.spins++; tick.spins > 1000 {
				s.t.Fatalf("%s asks for ticks without end", tick.name)
			}
			s.step(tick, Tick{})
			continue
		}
		a := s.queue[0]
		s.queue = s.queue[1:]
		if a.to.m == nil || a.life >= 0 && a.life != a.to.life {
			continue
		}
		if ev := a.make(); ev != nil {
			s.step(a.to, ev)
		}
	}
}

// step lets a machine take an event, checks what must hold after every step, and
// carries out what it wants.
//
// [MCH-23] After its first step a machine always says when it wants a tick.
func (s *stage) step(p *player, ev Event) []Effect {
	s.t.Helper()
	if s.before != nil {
		s.before()
	}
	fx := stepped(p.m, s.now, ev, func(ev Event, fx []Effect) {
		if p.m.Deadline().IsZero() {
			s.t.Fatalf("%s wants no tick after %T", p.name, ev)
		}
		if err := saveFirst(p, fx); err != nil {
			s.t.Fatalf("%s after %T: %v", p.name, ev, err)
		}
		if err := sane(p.m); err != nil {
			s.t.Fatalf("%s after %T: %v", p.name, ev, err)
		}
	})
	for _, w := range s.watch {
		w(p, ev, fx)
	}
	for _, f := range fx {
		s.carryOut(p, f)
		if _, ok := f.(Save); ok && p.dieAfter > 0 {
			if p.dieAfter--; p.dieAfter == 0 {
				s.stop(p)
				return nil
			}
		}
	}
	return fx
}

// stepped lets a machine take an event, and verifies for it at once, as if a step did
// it all: the effects are those of all steps, without Verify. Each, if set, sees the
// steps as they are.
func stepped(m *Machine, now time.Time, ev Event, each func(Event, []Effect)) (all []Effect) {
	todo := []Event{ev}
	for len(todo) > 0 {
		fx := m.Step(now, todo[0])
		if each != nil {
			each(todo[0], fx)
		}
		todo = todo[1:]
		for _, f := range fx {
			if v, ok := f.(Verify); ok {
				todo = append(todo, Verified{ID: v.ID, OK: m.cfg.Crypto.VerifyBatch(v.Batch)})
			} else {
				all = append(all, f)
			}
		}
		if len(todo) == 0 && !m.due.inbox.IsZero() {
			todo = append(todo, Tick{})
		}
	}
	return all
}

// saveFirst checks that what a step promises is saved before anything else happens.
//
// [MCH-1] A step saves what it promises in one batch, before its other effects.
func saveFirst(p *player, fx []Effect) error {
	for i, f := range fx {
		save, ok := f.(Save)
		if !ok || i == 0 {
			continue
		}
		for _, r := range save.Batch {
			if own(p, r) {
				return fmt.Errorf("record of kind %d is saved after %T", r.Kind, fx[0])
			}
		}
		if i != len(fx)-1 {
			return fmt.Errorf("what others made is saved before %T", fx[i+1])
		}
	}
	return nil
}

// own reports whether a record holds something that the player itself has decided.
func own(p *player, r Record) bool {
	switch r.Kind {
	case RecordOp:
		op, err := ledger.DecodeOp(r.Value)
		return err != nil || op.Account == p.key.id
	case RecordFrame:
		return p.m.witness >= 0 && int(r.Key[0])<<8|int(r.Key[1]) == p.m.witness
	case RecordBundle, RecordOutline, RecordEvidence: // the own operations in a bundle have records of their own
		return false
	default:
		return true
	}
}

// sane checks what must hold in every machine after every step.
func sane(m *Machine) error {
	if !m.replica.State().Conserved() {
		return fmt.Errorf("money is not conserved: %+v", m.replica.State().Supply())
	}
	sums := map[*job]ledger.Amount{}
	for _, p := range m.purchases {
		if sums[p.job] += m.committed(p); sums[p.job] > p.job.Max {
			return fmt.Errorf("the leases of a job hold %v, at most %v are allowed", sums[p.job], p.job.Max)
		}
	}
	return nil
}

// carryOut does what a machine wants.
func (s *stage) carryOut(p *player, fx Effect) {
	switch fx := fx.(type) {
	case Publish:
		for _, to := range s.players {
			if to != p {
				s.transmit(p, to, fx.Data, Gossiped{Data: fx.Data})
			}
		}
	case Send:
		if to := s.byID(fx.To); to != nil {
			s.transmit(p, to, fx.Data, Received{From: p.key.id, Data: fx.Data})
		}
	case Save:
		p.save(fx.Batch)
	case RunJob:
		s.runJob(p, fx)
	case StopJob:
		if p.alive[fx.Lease] {
			delete(p.alive, fx.Lease)
			s.after(5*time.Millisecond, p, func() Event {
				return JobDone{Lease: fx.Lease, Exit: 124, Source: market.ExitTime, Text: "stopped before its end"}
			})
		}
	case Fetch:
		s.after(linkDelay, p, func() Event {
			if from := s.byID(fx.Provider); from == nil || from.m == nil || from.keeps {
				return Fetched{Lease: fx.Lease, Text: "the provider does not hand it over"}
			}
			return Fetched{Lease: fx.Lease, OK: true}
		})
	case Prove:
		s.after(fx.Deadline.Sub(s.now), p, func() Event {
			pr := proofs.NewProver(&s.g.Proofs, fx.Seed, plainMultiply)
			for pr.Round() {
			}
			t := pr.Finish()
			p.made[fx.Storm] = t
			return Proved{Storm: fx.Storm, Rounds: t.Rounds, Root: t.Root, Last: t.Last}
		})
	case Open:
		s.after(time.Millisecond, p, func() Event {
			reveal := p.made[fx.Storm].Open(fx.Samples)
			if p.wrong {
				reveal.Opened[0].Tiles[0].Leaf[0] ^= 1
			}
			return Opened{Commit: fx.Commit, Reveal: reveal}
		})
	case Check:
		s.after(time.Millisecond, p, func() Event {
			return Checked{Commit: fx.ID, Fault: proofs.Verify(&s.g.Proofs, fx.Seed, &fx.Commit, fx.Samples, fx.Reveal)}
		})
	case Verify: // stepped has done it
	case Note:
	}
}

// transmit sends one message along a link, unless a rule drops it.
func (s *stage) transmit(from, to *player, data []byte, ev Event) {
	kind, _, err := wire.Open(data)
	if err != nil {
		s.t.Fatalf("%s sends %x: %v", from.name, data, err)
	}
	for _, r := range s.rules {
		if r.count != 0 && (r.kind == 0 || r.kind == kind) && (r.from == "" || r.from == from.name) &&
			(r.to == "" || r.to == to.name) {
			r.count--
			return
		}
	}
	for _, change := range s.twists {
		if data = change(from, to, kind, data); data == nil {
			return
		}
		switch ev.(type) {
		case Gossiped:
			ev = Gossiped{Data: data}
		default:
			ev = Received{From: from.key.id, Data: data}
		}
	}
	s.sent++
	s.post(&arrival{at: s.now.Add(linkDelay), to: to, life: -1, from: from, make: func() Event { return ev }})
}

// runJob lets a job run as the player's script says.
func (s *stage) runJob(p *player, fx RunJob) {
	if p.alive[fx.Lease] || p.stuck {
		return
	}
	p.alive[fx.Lease] = true
	s.after(startDelay, p, func() Event {
		if p.fails != "" {
			delete(p.alive, fx.Lease)
			return JobDone{Lease: fx.Lease, Failed: true, Text: p.fails}
		}
		if !p.hangs {
			s.after(p.takes, p, func() Event {
				if !p.alive[fx.Lease] {
					return nil
				}
				delete(p.alive, fx.Lease)
				return JobDone{
					Lease: fx.Lease, Source: market.ExitJob, Output: outputOf(p, fx.Terms), Log: p2p.Sum("log"),
				}
			})
		}
		return JobStarted{Lease: fx.Lease}
	})
}

// outputOf names what a task writes.
func outputOf(p *player, t market.Terms) p2p.Digest {
	if p.wrong {
		return p2p.Sum("output", t.Module[:], t.Input[:], []byte{byte(t.Task)}, []byte("wrong"))
	}
	return p2p.Sum("output", t.Module[:], t.Input[:], []byte{byte(t.Task)})
}

// plainMultiply is the exact product in its plainest form.
func plainMultiply(c []int32, a, b []int8, m, n, k int) {
	for i := range m {
		for j := range n {
			var sum int32
			for x := range k {
				sum += int32(a[i*k+x]) * int32(b[j*k+x])
			}
			c[i*n+j] = sum
		}
	}
}

// testJob returns an order of tasks that run on 1000 mCU for at most a minute.
func testJob(name string, tasks, check uint32) Job {
	return Job{
		ID: p2p.Sum("job", []byte(name)), Class: testClass, Region: testRegion, Units: 1000, Seconds: 60,
		Max: 10 * ledger.Token, Module: p2p.Sum("module"), Input: p2p.Sum("input"), InputName: "in",
		Tasks: tasks, Check: check, MemoryPages: 64,
	}
}

// order hands a job to a player.
func (s *stage) order(p *player, j Job) { s.step(p, Submit{Job: j}) }

// settled reports whether a job has ended and all its leases are closed.
func (p *player) settled(j Job) bool {
	at := p.m.jobs[j.ID]
	return at != nil && at.ended && p.m.settled(at)
}

// wantSettled lets the network run until a job is settled, and demands that it
// ended without fault.
func (s *stage) wantSettled(p *player, j Job, within time.Duration) JobView {
	s.t.Helper()
	s.run(within, func() bool { return p.m != nil && p.settled(j) })
	v, ok := p.m.Job(j.ID)
	if !ok || !v.Settled || v.Failure != "" {
		s.t.Fatalf("job after %v: settled %v, failure %q", within, v.Settled, v.Failure)
	}
	return v
}

// wantBalance lets the network come to rest and compares all books.
func (s *stage) wantBalance() {
	s.t.Helper()
	var first *player
	for _, p := range s.players {
		if p.m == nil {
			continue
		}
		if first == nil {
			first = p
			if escrowed := p.m.replica.State().Supply().Escrowed; escrowed != 0 {
				s.t.Fatalf("%v atoms stay in escrow", escrowed)
			}
		}
		if p.m.replica.State().Root() != first.m.replica.State().Root() {
			s.t.Fatalf("%s and %s have other states", first.name, p.name)
		}
	}
}

// leaseUnasked lets a client open leases of a minute on a provider without asking
// for quotes, and returns what starts them.
func (s *stage) leaseUnasked(client, provider *player, units uint64, n int) []market.Start {
	return s.leaseUnaskedFor(client, provider, units, 60, n)
}

func (s *stage) leaseUnaskedFor(client, provider *player, units uint64, seconds uint32, n int) []market.Start {
	charge, ok := client.m.leases.Charge(provider.key.id, testClass, units, seconds, 0)
	if !ok {
		s.t.Fatal("no charge")
	}
	terms := market.Terms{Module: p2p.Sum("module"), Tasks: 1, MemoryPages: 64, Seconds: seconds}
	open := market.LeaseOpen{
		Provider: provider.key.id, Class: testClass, Units: units, Seconds: seconds, Escrow: charge + charge/10,
		Terms: terms.Digest(),
	}
	seq, prev := client.m.replica.State().Head(client.key.id, 0)
	starts := make([]market.Start, n)
	for i := range starts {
		op := &ledger.Op{
			Chain: ledger.ChainOf(s.g.Network()), Kind: ledger.KindLeaseOpen, Account: client.key.id,
			Seq: seq + 1 + uint64(i), Prev: prev, Fee: s.g.Ledger.MinFee, Body: open.Encode(),
		}
		op.Sig = client.cfg.Crypto.Sign(op.SigningDigest())
		prev = op.ID()
		data := sealOp(op)
		for _, to := range s.players {
			s.transmit(client, to, data, Gossiped{Data: data})
		}
		starts[i] = market.Start{Lease: prev, Terms: terms}
	}
	return starts
}
