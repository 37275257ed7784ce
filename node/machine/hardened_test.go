package machine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs"
)

// selling returns a market that has come to rest: its client, its provider.
func selling(t *testing.T, change func(p *player)) (s *stage, c, p *player) {
	t.Helper()
	s = newMarket(t, never, 1)
	c, p = s.player("client"), s.player("provider1")
	if change != nil {
		change(p)
	}
	s.startAll()
	s.run(1200*time.Millisecond, nil)
	return s, c, p
}

// leaseOf opens a lease of a minute whose terms are as change leaves them.
func (s *stage) leaseOf(c, p *player, units uint64, change func(*market.Terms)) market.Start {
	s.t.Helper()
	terms := market.Terms{Module: p2p.Sum("module"), Tasks: 1, MemoryPages: 64, Seconds: 60}
	if change != nil {
		change(&terms)
	}
	charge, _ := c.m.leases.Charge(p.key.id, testClass, units, 60, 0)
	seq, prev := c.m.replica.State().Head(c.key.id, 0)
	op := &ledger.Op{
		Chain: ledger.ChainOf(s.g.Network()), Kind: ledger.KindLeaseOpen, Account: c.key.id, Seq: seq + 1, Prev: prev,
		Fee: s.g.Ledger.MinFee,
		Body: market.LeaseOpen{
			Provider: p.key.id, Class: testClass, Units: units, Seconds: 60, Escrow: 2 * charge, Terms: terms.Digest(),
		}.Encode(),
	}
	op.Sig = cheapSign(c.key.id, op.SigningDigest())
	for _, to := range s.players {
		s.transmit(c, to, sealOp(op), Gossiped{Data: sealOp(op)})
	}
	s.run(time.Second, nil)
	return market.Start{Lease: op.ID(), Terms: terms}
}

// begin hands a Start to a provider, and reports whether it runs the job at once.
func (s *stage) begin(c, p *player, st market.Start) bool {
	s.step(p, Received{From: c.key.id, Data: wire.Seal(wire.KindStart, st.Put)})
	return p.alive[st.Lease]
}

// wantRefund demands that a lease is closed for a reason, and paid back whole.
func (s *stage) wantRefund(c *player, id ledger.OpID, reason market.EndReason) {
	s.t.Helper()
	l, _ := c.m.leases.Lease(id)
	if l.State != market.StateClosed || l.Reason != reason || l.Refund != l.Escrow {
		s.t.Errorf("lease is %v, %v, refund %v of %v; want %v", l.State, l.Reason, l.Refund, l.Escrow, reason)
	}
}

// [MCH-31] A provider refuses terms that are not those of the lease, its seconds
// included, or that want more memory than 2 GiB a CU, and runs nothing.
func TestHardenedTerms(t *testing.T) {
	for name, change := range map[string]func(*market.Terms){
		"a longer term":   func(v *market.Terms) { v.Seconds = 61 },
		"a page too much": func(v *market.Terms) { v.MemoryPages = memoryMax + 1 },
		"all that it has": func(v *market.Terms) { v.MemoryPages = memoryMax },
	} {
		s, c, p := selling(t, nil)
		st := s.leaseOf(c, p, 1000, change)
		bad := st.Terms.Seconds != 60 || st.Terms.MemoryPages > memoryMax
		if ran := s.begin(c, p, st); ran == bad {
			t.Errorf("%s: the job was run: %v", name, ran)
		}
		s.run(2*time.Second, nil)
		if bad {
			s.wantRefund(c, st.Lease, market.EndPolicy)
		}
	}
}

// [MCH-32] A provider declines a lease that does not fit beside those it serves, or
// that is below 500 mCU, before its job runs.
func TestHardenedFits(t *testing.T) {
	s, c, p := selling(t, func(p *player) { p.hangs = true })
	starts := s.leaseUnasked(c, p, 2000, 3)
	s.run(2*time.Second, nil)
	for i, st := range starts { // at once: none is accepted yet
		if ran := s.begin(c, p, st); ran != (i < 2) {
			t.Errorf("lease %d of 2000 mCU on a provider of 4000 mCU: its job was run: %v", i+1, ran)
		}
	}
	s.run(2*time.Second, nil)
	s.wantRefund(c, starts[2].Lease, market.EndDeclined)

	s, c, p = selling(t, nil)
	small, least := s.leaseOf(c, p, leastUnits-1, nil), s.leaseOf(c, p, leastUnits, nil)
	if s.begin(c, p, small) || !s.begin(c, p, least) {
		t.Error("a lease of 499 mCU was run, or one of 500 was not")
	}
	s.run(2*time.Second, nil)
	s.wantRefund(c, small.Lease, market.EndDeclined)
}

// [MCH-33] A provider quotes for no less than 500 mCU, or for all it sells where that
// is less.
func TestHardenedLeastUnits(t *testing.T) {
	for _, v := range []struct {
		sells, asked uint64
		quoted       int
	}{{4000, 499, 0}, {4000, 500, 1}, {300, 299, 0}, {300, 300, 1}} {
		s, c, p := selling(t, func(p *player) { p.cfg.Sell.Units = v.sells })
		a := market.Ask{Client: c.key.id, Bid: p2p.Sum("bid"), Nonce: 1, Class: testClass, Units: v.asked, Seconds: 60}
		fx := s.step(p, Received{From: c.key.id, Data: wire.Seal(wire.KindAsk, a.Put)})
		if n := sent(fx, wire.KindQuoted); n != v.quoted {
			t.Errorf("%d of %d mCU: %d quotes, want %d", v.asked, v.sells, n, v.quoted)
		}
	}
}

// [MCH-34] A job that no provider may take is refused with what would be right.
func TestHardenedJob(t *testing.T) {
	for _, v := range []struct {
		change func(*Job)
		want   string // "": it is right
	}{
		{func(*Job) {}, ""},
		{func(j *Job) { j.Units = 499 }, "499 mCU, want 500 to"},
		{func(j *Job) { j.Units = market.MaxCapacity + 1 }, "mCU, want 500 to 1000000000000"},
		{func(j *Job) { j.Units, j.MemoryPages = 500, memoryMax/2 }, ""},
		{func(j *Job) { j.MemoryPages = memoryMax + 1 }, "1000 mCU have 32768"},
		{func(j *Job) { j.Units, j.MemoryPages = 500, memoryMax/2+1 }, "500 mCU have 16384"},
		{func(j *Job) { j.Region = "no region" }, "a-z 0-9"},
		{func(j *Job) { j.InputName = "../in" }, "want a file name"},
		{func(j *Job) { j.Input = p2p.Digest{} }, "and no input"},
		{func(j *Job) { j.Input, j.InputName = p2p.Digest{}, "" }, ""},
		{func(j *Job) { j.Tasks = MaxTasks + 1 }, "257 tasks, want 1 to 256"},
	} {
		j := testJob("a", 1, 0)
		v.change(&j)
		err := j.Validate(&testGenesis(never).Market)
		if v.want == "" && err != nil || v.want != "" && (err == nil || !strings.Contains(err.Error(), v.want)) {
			t.Errorf("%+v: %v, want %q", j, err, v.want)
		}
	}
}

// reports lets f see every report that a provider sends.
func (s *stage) reports(p *player, f func(market.Report)) {
	s.twists = append(s.twists, func(from, _ *player, kind wire.Kind, data []byte) []byte {
		if _, r, _ := wire.Open(data); from == p && kind == wire.KindReport {
			f(market.TakeReport(r))
		}
		return data
	})
}

// [MCH-35] A client is told what the output of an ended job is called only when all
// but one interval of its seconds is paid; an unpaid lease is closed after Grace.
func TestHardenedUnpaidOutput(t *testing.T) {
	s, c, p := selling(t, func(p *player) { p.takes = 5 * time.Second })
	told := 0
	s.reports(p, func(r market.Report) {
		if !r.Output.IsZero() || !r.Log.IsZero() || r.Phase == market.PhaseDone {
			told++
		}
	})
	st := s.leaseOf(c, p, 1000, nil)
	s.begin(c, p, st)
	pay := func(used uint64) {
		v := market.Voucher{Lease: st.Lease, Used: used}
		v.Sig = cheapSign(c.key.id, v.SigningDigest(s.g.Network()))
		s.step(p, Received{From: c.key.id, Data: wire.Seal(wire.KindPay, v.Put)})
	}
	s.run(7*time.Second, nil)
	pay(3)
	if told != 0 || p.m.sales[st.Lease].report.Used != 5 {
		t.Fatalf("the output was told %d times for 3 of %d s", told, p.m.sales[st.Lease].report.Used)
	}
	s.run(24*time.Second, nil) // Grace, from the last voucher on, and the close
	if l, _ := c.m.leases.Lease(st.Lease); told != 0 || l.State != market.StateClosed {
		t.Errorf("the output was told %d times for 3 of 5 s; the lease is %v", told, l.State)
	}

	told, st = 0, s.leaseOf(c, p, 1000, nil)
	s.begin(c, p, st)
	s.run(7*time.Second, nil)
	if pay(4); told != 1 {
		t.Errorf("the output was told %d times after a voucher of 4 of 5 s, want at once", told)
	}
	s.run(25*time.Second, nil)
	s.wantBalance()
}

// [MCH-36] An honest client has the output within two reports after the end of its
// job, even when all its vouchers before were lost.
func TestHardenedHonestOutput(t *testing.T) {
	s, c, p := selling(t, func(p *player) { p.takes = 5 * time.Second })
	lost := &rule{kind: wire.KindPay, count: -1}
	s.rules = append(s.rules, lost)
	var ended time.Time
	n := 0
	s.reports(p, func(market.Report) {
		for _, sale := range p.m.sales {
			if sale.phase == saleDone {
				n++
			}
		}
		if n == 1 {
			ended, lost.count = s.now, 0
		}
	})
	j := testJob("a", 1, 0)
	s.order(c, j)
	s.run(10*time.Second, func() bool { v, _ := c.m.Job(j.ID); return v.Done })
	if took := s.now.Sub(ended); n != 2 || took != 4*linkDelay { // with the fetch
		t.Errorf("the output was there after %d reports and %v, want 2 and %v", n, took, 4*linkDelay)
	}
	s.wantSettled(c, j, 5*time.Second)
}

// [MCH-37] A lease whose process has not started within Load ends with a full refund.
func TestHardenedLoad(t *testing.T) {
	s, c, p := selling(t, func(p *player) { p.stuck, p.cfg.Timing.Load = true, 15*time.Second })
	st := s.leaseOf(c, p, 1000, nil)
	s.begin(c, p, st)
	s.run(14*time.Second, nil)
	if l, _ := c.m.leases.Lease(st.Lease); l.State != market.StateAccepted {
		t.Fatalf("lease is %v before Load has passed", l.State)
	}
	s.run(4*time.Second, nil)
	s.wantRefund(c, st.Lease, market.EndImagePull)
}

// [MCH-38] A node claims the largest sources first: a stranger's dust cannot stand
// before them.
func TestHardenedClaims(t *testing.T) {
	s := newStage(t, never)
	s.add("witness", true, 0, nil)
	payers := make([]*player, 20)
	for i := range payers {
		payers[i] = s.add(fmt.Sprint("payer", i), false, 1, nil)
	}
	slices.SortFunc(payers, func(a, b *player) int { return a.key.id.Compare(b.key.id) })
	c := s.add("client", false, 0, nil)
	s.startAll()
	for i, p := range payers { // the larger the id, the larger the credit
		body := ledger.Transfer{To: c.key.id, Amount: 1000 * ledger.Amount(i+1)}
		p.m.want(0, intent{kind: ledger.KindTransfer, body: func() ([]byte, bool) { return body.Encode(), true }})
		s.step(p, PeerUp{s.players[0].key.id}) // sends what was queued again
	}
	s.run(3*time.Second, nil)
	claims := c.m.claims()
	if len(claims) != ledger.MaxClaims {
		t.Fatalf("%d claims, want %d", len(claims), ledger.MaxClaims)
	}
	for i, cl := range claims {
		if want := payers[len(payers)-ledger.MaxClaims+i]; cl.From != want.key.id {
			t.Errorf("claim %d is not of %s", i, want.name)
		}
	}
}

// beatOf returns the true beat of a slot.
func (s *stage) beatOf(slot ledger.Slot) ledger.Beat {
	beacon := ledger.GenesisBeacon(s.g.Network())
	b := ledger.Beat{Slot: slot, Witness: ledger.Schedule(&s.g.Ledger, beacon, slot)}
	b.Proof = cheapProve(s.g.Ledger.Witnesses[b.Witness].VRF, ledger.BeatAlpha(beacon, slot))
	return b
}

// [MCH-39] A witness checks tiles that the first or the second beat picks which it
// holds from SampleFrom on, and refuses those of later ones: a prover that could wait
// would take the beat that it likes.
func TestHardenedPicks(t *testing.T) {
	s, _, p := selling(t, nil)
	s.run(20*time.Second, nil)
	w, from := s.player("witness1"), s.g.SlotAt(s.now)-6
	storm := from - s.g.Proofs.SampleFrom(0)
	for _, v := range []struct {
		slot, missed ledger.Slot // 0: none
		checked      bool
	}{{from - 1, 0, false}, {from, 0, true}, {from + 1, 0, true}, {from + 2, 0, false}, {from + 2, from, true}} {
		delete(w.m.beats.held, v.missed)
		id := opNamed(fmt.Sprint(v))
		w.m.audits[id] = &audit{
			owner: p.key.id, commit: proofs.Commit{Class: testClass, Beat: s.beatOf(storm), Rounds: 2}, seen: storm,
		}
		w.m.reveal(p.key.id, revealing{commit: id, beat: s.beatOf(v.slot), reveal: &proofs.Reveal{}})
		if checked := w.m.audits[id].checking; checked != v.checked {
			t.Errorf("beat %d from SampleFrom, slot %d missed: checked %v", int(v.slot)-int(from), v.missed, checked)
		}
	}
}

// [MCH-40] A task that has left 64 providers fails its job, whoever was to blame and
// however often its node was started.
func TestHardenedMoves(t *testing.T) {
	s, c, _, j := running(t, 1)
	for i := range movesMax {
		if c.m.jobs[j.ID].ended {
			t.Fatalf("the job ended after %d moves", i)
		}
		if i == movesMax/2 {
			s.stop(c)
			s.start(c)
		}
		c.m.release(c.m.jobs[j.ID].tasks[0], false, "for the test")
		s.step(c, Tick{}) // saves it
	}
	if end := c.m.jobs[j.ID]; !end.ended || end.cause != CauseProviders {
		t.Errorf("after %d moves the job has ended: %v, cause %v", movesMax, end.ended, end.cause)
	}
}

// [MCH-41] An own operation of a life that was forgotten is saved when peers bring it
// back, and frees the lane of what this life has signed in its place.
func TestHardenedForgotten(t *testing.T) {
	for name, units := range map[string]uint64{"a rival in its place": 3000, "nothing in its place": 0} {
		s, c, p := selling(t, nil)
		_, first := p.m.replica.State().Head(p.key.id, 0)
		s.stop(p)
		p.disk, p.cfg.Sell = map[string][]byte{}, nil
		if units != 0 {
			p.cfg.Sell = sells(units, 0)
		}
		s.start(p)
		s.run(3*time.Second, nil)
		if _, saved := p.disk[string([]byte{byte(RecordOp)})+string(opKey(first))]; !saved {
			t.Error(name + ": what peers have brought back is not saved")
		}
		for range 2 {
			if q := p.m.lane(0); len(q.flying) > 0 || p.m.replica.State().Root() != c.m.replica.State().Root() {
				t.Fatalf("%s, life %d: %v is under way", name, p.life, q.flying)
			}
			s.stop(p)
			s.start(p)
			s.run(2*time.Second, nil)
		}
	}
}

// What was to be bought with an operation that has lost its place is looked for again.
func TestHardenedLost(t *testing.T) {
	_, c, _, j := running(t, 1)
	task := c.m.jobs[j.ID].tasks[0]
	c.m.lost(task.lease)
	if len(c.m.purchases) != 0 || task.phase != taskWaiting || task.fails != 0 || c.m.escrowed(c.m.jobs[j.ID]) != 0 {
		t.Errorf("%d purchases, task %+v", len(c.m.purchases), task)
	}
}

// [MCH-42] The offer of an account that has no device of its class on the ledger
// does not enter the book.
func TestHardenedOffer(t *testing.T) {
	s, c, _ := selling(t, nil)
	for name, want := range map[string]bool{"stranger": false, "provider1": true} {
		k := keyOf(name)
		o := market.Offer{
			Provider: k.id, Class: testClass, Region: "elsewhere", Seq: uint64(s.now.UnixMilli()) + 1,
			Declared: 4000, Free: 4000, Expires: s.now.Add(time.Minute).UnixMilli(),
		}
		o.Sig = cheapSign(k.id, o.SigningDigest(s.g.Network()))
		s.step(c, Gossiped{Data: wire.Seal(wire.KindOffer, o.Put)})
		if got, in := c.m.book.Offer(k.id, testClass); (in && got.Region == "elsewhere") != want {
			t.Errorf("the offer of %s is in the book: %v", name, in)
		}
	}
}

// [MCH-43] A witness judges no commit to a storm that is later than the next slot, and
// the beginning of no slot overflows.
func TestHardenedStorm(t *testing.T) {
	s, _, p := selling(t, nil)
	w, now := s.player("witness1"), s.g.SlotAt(s.now)
	for slot, want := range map[ledger.Slot]int{now: 1, now + 1: 1, now + 2: 0, slotMax: 0, 1<<64 - 100: 0} {
		clear(w.m.audits)
		c := proofs.Commit{Class: testClass, Beat: ledger.Beat{Slot: slot}, Rounds: 1}
		w.m.commitApplied(&ledger.Op{Kind: ledger.KindProofCommit, Account: p.key.id, Body: c.Encode()})
		if len(w.m.audits) != want {
			t.Errorf("storm %d in slot %d: %d audits, want %d", slot, now, len(w.m.audits), want)
		}
	}
	last := time.UnixMilli(s.g.Ledger.Start)
	for _, slot := range []ledger.Slot{1, slotMax - 1, slotMax, 1 << 54, 1 << 62, 1 << 63, 1<<64 - 1} {
		at := s.g.SlotStart(slot)
		if at.Before(last) || slot <= slotMax && !at.After(last) {
			t.Errorf("slot %d begins at %v, an earlier one at %v", slot, at, last)
		}
		last = at
	}
}
