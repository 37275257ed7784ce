package actor

import (
	"cmp"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A chain is the frames of a member, in sides that are one until it forks.
type chain struct {
	of    *Member
	sides []*side
}

// A side is one line of frames.
type side struct {
	told   []*replica.Frame
	inSlot uint32
	voted  map[ledger.OpID]bool
	packed map[replica.BundleID]bool
	seen   map[uint16]uint32 // by witness, the place of the last frame named
}

func newChain(m *Member, sides int) *chain {
	c := &chain{of: m}
	for range sides {
		c.sides = append(c.sides, &side{
			voted: map[ledger.OpID]bool{}, packed: map[replica.BundleID]bool{}, seen: map[uint16]uint32{},
		})
	}
	return c
}

// add appends a frame to a side.
func (s *side) add(f *replica.Frame) {
	s.inSlot++
	if n := len(s.told); n == 0 || s.told[n-1].Slot < f.Slot {
		s.inSlot = 1
	}
	s.told = append(s.told, f)
	for _, id := range f.Votes {
		s.voted[id] = true
	}
	for i := range f.Bundles {
		s.packed[f.Bundles[i].ID] = true
	}
	for _, w := range f.Seen {
		s.seen[w.Witness] = max(s.seen[w.Witness], w.Seq)
	}
}

// speak makes a member's next frame on one of its sides, and shows it to a part of the
// others.
func (g *Gang) speak(at time.Duration, c *chain) []machine.Effect {
	n := g.dice.below(len(c.sides))
	united := at < g.habits.forks
	s := c.sides[n]
	slot := ledger.Slot(at / (time.Duration(g.cfg.Genesis.SlotMillis) * time.Millisecond))
	f := &replica.Frame{
		Chain: ledger.ChainOf(g.cfg.Network), Witness: c.of.Witness, Seq: 1, Slot: slot,
		Votes: g.ballot(s, n, united), Bundles: g.packs(s),
	}
	if k := len(s.told); k > 0 {
		last := s.told[k-1]
		f.Seq, f.Prev, f.Slot = last.Seq+1, last.ID(), max(slot, last.Slot)
		if f.Slot == last.Slot && s.inSlot >= g.cfg.Genesis.SlotMillis/20 {
			return nil
		}
	}
	if len(f.Votes)+len(f.Bundles) == 0 {
		return nil
	}
	f.Seen = g.sights(s, c.of.Witness)
	f.Sig = c.of.Key.Sign(f.SigningDigest())
	g.learnFrame(f)
	sides, mask := c.sides[n:n+1], g.part(n)
	if united {
		sides, mask = c.sides, g.everyone()
	}
	for _, s := range sides {
		s.add(f)
	}
	if g.dice.hits(g.habits.withhold / 4) {
		return nil // nobody hears of it before what comes after it
	}
	return g.sendSome(mask, parcel{frames: []*replica.Frame{f}})
}

// ballot draws what a frame votes for: rivals, each on its side or all on one, what is
// against the rules, and what honest owners want.
func (g *Gang) ballot(s *side, n int, united bool) []ledger.OpID {
	var ops []*ledger.Op
	for _, t := range g.thefts {
		for i := range t.rows {
			mine := united || n > 1 || n == i || len(g.chains[0].sides) == 1 || g.dice.hits(g.habits.both)
			if mine && t.shown[i] && (g.nearly(t.rows[i][0].ID()) || g.dice.hits(20)) {
				ops = append(ops, g.vote(t, i)...)
			}
		}
	}
	if g.dice.hits(g.habits.rot) && len(g.rotten) > 0 {
		ops = append(ops, pick(&g.dice, g.rotten))
	}
	for _, op := range g.recent {
		if g.dice.hits(g.habits.help) {
			ops = append(ops, op)
		}
	}
	var votes []ledger.OpID
	for _, op := range ops {
		if id := op.ID(); !s.voted[id] {
			votes = append(votes, id)
		}
	}
	slices.SortFunc(votes, ledger.OpID.Compare)
	votes = slices.Compact(votes)
	return votes[:min(len(votes), replica.MaxVotes)]
}

// vote returns what to vote for of one row of a theft: a vote for the last operation is
// one for all.
func (g *Gang) vote(t *theft, i int) []*ledger.Op {
	row := t.rows[i]
	if i == 1 && g.habits.sly {
		return row[len(row)-1:]
	}
	return row
}

// packs draws votes for bundles, with places left out.
func (g *Gang) packs(s *side) []replica.BundleVote {
	if !g.dice.hits(g.habits.bundle) || len(g.bundles) == 0 {
		return nil
	}
	b := pick(&g.dice, g.bundles)
	v := replica.BundleVote{ID: b.ID()}
	if s.packed[v.ID] {
		return nil
	}
	for i := range len(b.Ops) + 1 { // one place more than there is
		if g.dice.hits(30) {
			v.Rejects = append(v.Rejects, uint16(i))
		}
	}
	return []replica.BundleVote{v}
}

// sights draws what a frame says that the member has seen: frames of anybody, one side
// of a friend's fork among them, seen or not.
func (g *Gang) sights(s *side, self uint16) []replica.Seen {
	if !g.dice.hits(g.habits.seen) {
		return nil
	}
	var out []replica.Seen
	for range 1 + g.dice.below(3) {
		f := pick(&g.dice, g.words)
		if f == nil || f.Witness == self || f.Seq <= s.seen[f.Witness] {
			continue
		}
		out = append(out, replica.Seen{Witness: f.Witness, Seq: f.Seq, ID: f.ID()})
	}
	slices.SortFunc(out, replica.Seen.Compare)
	return slices.Compact(out)
}

// scheme begins thefts, and shows rivals when it hurts.
func (g *Gang) scheme(at time.Duration) []machine.Effect {
	var fx []machine.Effect
	if g.dice.hits(g.habits.theft) {
		if t := g.plan(at); t != nil {
			g.thefts = append(g.thefts, t)
		}
	}
	for _, t := range g.thefts {
		fx = append(fx, g.show(at, t)...)
	}
	return fx
}

// plan signs two rivals and what follows them, for an account of the gang.
func (g *Gang) plan(at time.Duration) *theft {
	key := pick(&g.dice, g.cfg.Owners)
	st := g.book.State()
	t := &theft{begun: at, wait: g.dice.below(3)}
	lane := ledger.Lane(g.dice.below(2))
	claims := claimsOf(st, key.ID)
	seq, _ := st.Head(key.ID, lane)
	busy := func(o *theft) bool {
		op := o.rows[0][0]
		return op.Account == key.ID && op.Lane == lane && op.Seq > seq
	}
	if lane > 0 {
		claims = nil
	}
	if slices.ContainsFunc(g.thefts, busy) {
		return nil
	}
	for i := range t.rows {
		var last *ledger.Op
		for range 1 + g.dice.below(3) {
			d := draft{kind: ledger.KindTransfer, lane: lane, claims: claims}
			to := pick(&g.dice, g.cfg.Victims)
			if g.dice.hits(40) {
				to = pick(&g.dice, g.cfg.Owners).ID
			}
			amount := g.dice.part(st.Spendable(key.ID, lane), 20, 60)
			d.body = ledger.Transfer{To: to, Amount: amount}.Encode()
			if g.dice.hits(25) {
				d.kind, d.body = ledger.KindLaneMove, ledger.LaneMove{To: 1 - lane, Amount: amount}.Encode()
			}
			op := key.sign(d.write(st, key.ID, last))
			t.rows[i], last, claims = append(t.rows[i], op), op, nil
			g.made = append(g.made, op)
		}
		if lane == 0 {
			claims = claimsOf(st, key.ID)
		}
	}
	if t.rows[0][0].ID() == t.rows[1][0].ID() {
		return nil
	}
	return t
}

// show shows one half the first rival, and the other half the second, at the time that
// was planned; what follows a rival may be held back.
func (g *Gang) show(at time.Duration, t *theft) []machine.Effect {
	const late = 1500 * time.Millisecond
	var fx []machine.Effect
	due := [2]bool{true, t.wait == 0 || t.wait == 1 && g.nearly(t.rows[0][0].ID()) || at > t.begun+late}
	parts := [2]uint64{g.habits.half, g.everyone() &^ g.habits.half}
	for i := range t.rows {
		if !t.shown[i] && due[i] {
			t.shown[i] = true
			fx = append(fx, g.showRow(t.rows[i], parts[i])...)
		}
	}
	if !t.done && at > t.begun+2*late && g.dice.hits(10) {
		t.done = true
		for _, row := range t.rows {
			fx = append(fx, publish(g.cfg.Network, bundleMessage(&replica.Bundle{Ops: row})))
		}
	}
	return fx
}

// showRow shows a rival, and perhaps what follows it, to a part of the others.
func (g *Gang) showRow(row []*ledger.Op, part uint64) []machine.Effect {
	var fx []machine.Effect
	for k, op := range row {
		g.learnOp(op)
		if k == 0 || !g.dice.hits(g.habits.withhold) {
			fx = append(fx, g.sendSome(part, parcel{ops: []*ledger.Op{op}})...)
		}
	}
	return fx
}

// rot publishes something that is against the rules.
func (g *Gang) rot() []machine.Effect {
	key, st := pick(&g.dice, g.cfg.Owners), g.book.State()
	body := ledger.Transfer{To: pick(&g.dice, g.cfg.Victims), Amount: 1 + g.dice.part(st.Spendable(key.ID, 0), 0, 50)}
	d := draft{kind: ledger.KindTransfer}
	var last *ledger.Op
	switch g.dice.below(4) {
	case 0: // more than there is
		body.Amount = st.Spendable(key.ID, 0) + 1 + g.dice.part(ledger.Token, 1, 100)
	case 1: // claims what is not there
		d.claims = []ledger.Claim{{From: body.To, Upto: 1_000}}
	case 2: // follows what nobody has
		seq, _ := st.Head(key.ID, 0)
		last = &ledger.Op{Seq: seq + 1, Account: key.ID, Body: []byte{1}}
	default: // from a lane that has nothing
		d.lane = 7
	}
	d.body = body.Encode()
	op := d.write(st, key.ID, last)
	data := g.bend(key, op)
	if data != nil {
		return []machine.Effect{publish(g.cfg.Network, data)}
	}
	key.sign(op)
	g.learnOp(op)
	g.rotten = keep(g.rotten, op)
	g.made = append(g.made, op)
	if g.dice.hits(g.habits.withhold) {
		return nil
	}
	return []machine.Effect{publish(g.cfg.Network, opMessage(op))}
}

// bend makes a message that is refused at sight of an operation; nil: it is left as it
// is.
func (g *Gang) bend(key Key, op *ledger.Op) []byte {
	switch g.dice.below(12) {
	case 0: // another network's
		op.Chain++
	case 1: // another epoch's
		op.Epoch++
	case 2: // in the name of a victim, with a wrong signature
		if old := pick(&g.dice, g.recent); old != nil {
			*op = *old
			op.Fee++
		}
	case 3: // more operations than a bundle may hold
		key.sign(op)
		return wire.Seal(wire.KindBundle, func(w *wire.Writer) {
			w.U16(replica.MaxBundleOps + 1)
			w.Blob(op.Encode())
		})
	case 4: // what others made, in the wrong order, with one forged among it
		b := &replica.Bundle{Ops: slices.Clone(g.recent[:min(len(g.recent), 8)])}
		forged := *op
		forged.Fee += 7
		b.Ops = append(b.Ops, &forged)
		slices.SortStableFunc(b.Ops, func(x, y *ledger.Op) int { return cmp.Compare(y.Seq, x.Seq) })
		return bundleMessage(b)
	case 5: // the same, with nothing forged
		b := &replica.Bundle{Ops: slices.Clone(g.recent[max(0, len(g.recent)-8):])}
		if len(b.Ops) == 0 {
			return nil
		}
		slices.Reverse(b.Ops)
		g.learnBundle(b)
		return bundleMessage(b)
	default:
		return nil
	}
	key.sign(op)
	return opMessage(op)
}
