package actor

import (
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// A Member is a hostile witness.
type Member struct {
	Witness uint16 // in the genesis
	Node    int    // in the world
	Key     Key
}

// A GangConfig says who is hostile, and towards whom.
type GangConfig struct {
	Seed    uint64
	Network p2p.Network
	Genesis *ledger.Genesis
	Members []Member
	Owners  []Key            // hostile accounts
	Honest  []p2p.PeerID     // nodes
	Victims []ledger.Account // honest owners
	Sides   int              // most sides of a member's chain
	Until   time.Duration    // then all of them fall silent for ever
}

// A Gang is all hostile witnesses and owners of a world with one mind. It hears every
// word that is said anywhere as soon as it is said, knows what everybody voted for, and
// answers: it signs rivals and shows one to each part of the network, in the moment when
// one of them is about to be certified; it forks its frames, votes for rivals, for what
// is not allowed and for parts of bundles, says that it has seen what it has not,
// withholds what it voted for, repeats what is old, and is silent for a while. How much
// of which the seed decides. It is an agent of a world with a node for each member.
type Gang struct {
	cfg    GangConfig
	dice   dice
	habits habits

	book    *replica.Replica // all that anybody said
	ops     map[ledger.OpID]*ledger.Op
	recent  []*ledger.Op // of all, the latest
	rotten  []*ledger.Op // made by the gang, and against the rules
	bundles []*replica.Bundle
	words   []*replica.Frame // frames with votes, of anybody
	heard   [][]byte         // messages, to be repeated
	backers map[ledger.OpID]uint64
	thefts  []*theft
	made    []*ledger.Op
	chains  []*chain // by member
}

// habits say how often the gang does what, in percent, and in which parts it splits
// the others.
type habits struct {
	speak, theft, help, both, rot, bundle, seen, replay, withhold, answer, late int

	sides  int              // of each member's chain
	forks  time.Duration    // when they part
	silent [2]time.Duration // from when to when all are silent
	half   uint64           // honest nodes that are shown the first rival
	sly    bool             // votes for what rests on the second rival, never for it
}

// A theft is two rivals for one place, and what follows them.
type theft struct {
	begun time.Duration
	rows  [2][]*ledger.Op // rivals, each with what follows it
	shown [2]bool
	wait  int  // when the second is shown: 0 at once, 1 when the first is nearly certified, 2 late
	done  bool // everybody has been shown everything
}

// wordsMax bounds what the gang keeps in mind of each kind.
const wordsMax = 48

// NewGang returns a gang that has not heard anything yet. It panics when the genesis is
// not valid: it is the world's own.
func NewGang(cfg GangConfig) *Gang {
	book, err := replica.New(replica.Config{Network: cfg.Network, Genesis: cfg.Genesis})
	if err != nil {
		panic("actor: " + err.Error())
	}
	g := &Gang{
		cfg: cfg, dice: dice{seed: cfg.Seed, agent: 2}, book: book,
		ops: make(map[ledger.OpID]*ledger.Op), backers: make(map[ledger.OpID]uint64),
	}
	d := &g.dice
	from := d.between(0, cfg.Until)
	g.habits = habits{
		speak: 10 + d.below(60), theft: 5 + d.below(40), help: d.below(101), both: pick(d, []int{0, 10, 100}),
		rot: d.below(20), bundle: d.below(60), seen: d.below(60), replay: d.below(15), withhold: d.below(50),
		sly: d.hits(30), answer: d.below(101), late: pick(d, []int{0, 0, 100}),
		sides: min(cfg.Sides, pick(d, []int{1, 2, 2, 3, 4})),
		forks: d.between(0, cfg.Until/2), silent: [2]time.Duration{from, from + d.between(0, cfg.Until/3)},
	}
	for g.habits.half == 0 || g.habits.half == 1<<len(cfg.Honest)-1 {
		g.habits.half = uint64(d.below(1 << len(cfg.Honest)))
	}
	for i := range cfg.Members {
		g.chains = append(g.chains, newChain(&cfg.Members[i], g.habits.sides))
	}
	return g
}

// Made returns the operations that the gang signed and that are well formed.
func (g *Gang) Made() []*ledger.Op { return g.made }

// Overhear takes what any node of the world says, the gang's own included.
func (g *Gang) Overhear(fx []machine.Effect) {
	for _, f := range fx {
		if p, ok := f.(machine.Publish); ok {
			g.learn(p.Data)
		}
	}
}

// learn keeps what a message says.
func (g *Gang) learn(data []byte) {
	kind, r, err := wire.Open(data)
	if err != nil {
		return
	}
	body := r.Fixed(r.Rest())
	switch kind {
	case wire.KindOp:
		if op, err := ledger.DecodeOp(body); err == nil {
			g.learnOp(op)
		}
	case wire.KindBundle:
		if b, err := replica.DecodeBundle(body); err == nil {
			g.learnBundle(b)
		}
	case wire.KindFrame:
		if f, err := replica.DecodeFrame(body); err == nil {
			g.learnFrame(f)
		}
	default:
		return
	}
	g.heard = keep(g.heard, data)
}

// keep appends to a list of the latest.
func keep[T any](list []T, v T) []T {
	if len(list) == wordsMax {
		list = without(list, 1)
	}
	return append(list, v)
}

func (g *Gang) learnOp(op *ledger.Op) {
	id := op.ID()
	if g.ops[id] == nil {
		g.ops[id] = op
		g.recent = keep(g.recent, op)
		g.book.AddOp(op)
	}
}

func (g *Gang) learnBundle(b *replica.Bundle) {
	for _, op := range b.Ops {
		g.learnOp(op)
	}
	if items, out := g.book.ScreenBundle(b); out == 0 {
		g.book.AddBundle(b, items)
		g.bundles = keep(g.bundles, b)
	}
}

func (g *Gang) learnFrame(f *replica.Frame) {
	if g.book.AddFrame(f) == replica.Known {
		return
	}
	if len(f.Votes)+len(f.Bundles) > 0 {
		g.words = keep(g.words, f)
	}
	for _, id := range f.Votes {
		g.backers[id] |= 1 << f.Witness
	}
	for i := range f.Bundles {
		b, ok := g.book.Bundle(f.Bundles[i].ID)
		for at := range bundleLen(b, ok) {
			if _, out := slices.BinarySearch(f.Bundles[i].Rejects, uint16(at)); !out {
				g.backers[b.Ops[at].ID()] |= 1 << f.Witness
			}
		}
	}
}

func bundleLen(b *replica.Bundle, ok bool) int {
	if !ok {
		return 0
	}
	return len(b.Ops)
}

// nearly reports whether the gang's votes would certify an operation.
func (g *Gang) nearly(id ledger.OpID) bool {
	voters := g.backers[id]
	for i := range g.cfg.Members {
		voters |= 1 << g.cfg.Members[i].Witness
	}
	var stake ledger.Amount
	for i, w := range g.cfg.Genesis.Witnesses {
		if voters>>i&1 == 1 {
			stake += w.Stake
		}
	}
	return 3*stake > 2*g.cfg.Genesis.Stake()
}

// Hear answers a peer that asks for operations or frames, when the gang is in the mood.
func (g *Gang) Hear(at time.Duration, node int, ev machine.Event) []machine.Effect {
	msg, ok := ev.(machine.Received)
	if !ok || g.quiet(at) || !g.dice.hits(g.habits.answer) {
		return nil
	}
	kind, _, err := wire.Open(msg.Data)
	if err != nil {
		return nil
	}
	p := &parcel{}
	if kind == wire.KindHeads {
		c := g.chainOf(node)
		p.frames = pick(&g.dice, c.sides).told
	}
	ids, names, words := wants(msg.Data)
	for _, id := range words {
		if f, ok := g.book.Frame(id); ok && !g.dice.hits(g.habits.withhold) {
			p.frames = append(p.frames, f)
		}
	}
	for _, id := range ids {
		if op := g.ops[id]; op != nil && !g.dice.hits(g.habits.withhold) {
			p.ops = append(p.ops, op)
		}
	}
	for _, id := range names {
		if b, ok := g.book.Bundle(id); ok && !g.dice.hits(g.habits.withhold) {
			p.bundles = append(p.bundles, b)
		}
	}
	return g.sendTo(msg.From, p)
}

// sendTo sends what a parcel holds, if anything, in pieces that a message may hold.
func (g *Gang) sendTo(to p2p.PeerID, p *parcel) []machine.Effect {
	var fx []machine.Effect
	const piece = 64
	for len(p.ops)+len(p.bundles)+len(p.frames) > 0 {
		nf, no, nb := min(piece, len(p.frames)), min(piece, len(p.ops)), min(1, len(p.bundles))
		part := parcel{ops: p.ops[:no], bundles: p.bundles[:nb], frames: p.frames[:nf]}
		p.ops, p.bundles, p.frames = p.ops[no:], p.bundles[nb:], p.frames[nf:]
		fx = append(fx, machine.Send{To: to, Protocol: g.cfg.Network.Protocol(p2p.Sync), Data: part.message()})
	}
	return fx
}

// sendSome sends a parcel to the honest nodes of a mask.
func (g *Gang) sendSome(mask uint64, p parcel) []machine.Effect {
	var fx []machine.Effect
	for i, to := range g.cfg.Honest {
		if mask>>i&1 == 1 {
			copied := p
			fx = append(fx, g.sendTo(to, &copied)...)
		}
	}
	return fx
}

// everyone is the mask of all honest nodes.
func (g *Gang) everyone() uint64 { return 1<<len(g.cfg.Honest) - 1 }

// part returns the honest nodes that see a side: the first one half, the second the
// other, more of them what comes.
func (g *Gang) part(side int) uint64 {
	switch {
	case g.habits.sides == 1:
		return g.everyone()
	case side == 0:
		return g.habits.half
	case side == 1:
		return g.everyone() &^ g.habits.half
	default:
		return uint64(g.dice.below(int(g.everyone()) + 1))
	}
}

// quiet reports whether the gang says nothing now.
func (g *Gang) quiet(at time.Duration) bool {
	return at >= g.cfg.Until || at >= g.habits.silent[0] && at < g.habits.silent[1]
}

func (g *Gang) chainOf(node int) *chain {
	i := slices.IndexFunc(g.cfg.Members, func(m Member) bool { return m.Node == node })
	return g.chains[i]
}

// Act lets one member do what it has in mind. The first plans for all.
func (g *Gang) Act(at time.Duration, node int) (fx []machine.Effect, next time.Duration) {
	if at >= g.cfg.Until {
		if g.habits.late > 0 { // in the end everything comes to light
			fx = g.confess(g.chainOf(node))
		}
		return fx, 0
	}
	next = at + g.dice.between(30*time.Millisecond, 150*time.Millisecond)
	if g.quiet(at) {
		return nil, next
	}
	if node == g.cfg.Members[0].Node {
		fx = append(fx, g.scheme(at)...)
	}
	if g.dice.hits(g.habits.rot) {
		fx = append(fx, g.rot()...)
	}
	if g.dice.hits(g.habits.replay) && len(g.heard) > 0 {
		fx = append(fx, publish(g.cfg.Network, g.stale()))
	}
	if g.dice.hits(g.habits.speak) {
		fx = append(fx, g.speak(at, g.chainOf(node))...)
	}
	return fx, next
}

// stale returns an old message, with a flipped bit now and then.
func (g *Gang) stale() []byte {
	data := pick(&g.dice, g.heard)
	if g.dice.hits(30) {
		data = slices.Clone(data)
		data[g.dice.below(len(data))] ^= 1 << g.dice.below(8)
	}
	return data
}

// confess shows everybody all that a member ever said, and all operations.
func (g *Gang) confess(c *chain) []machine.Effect {
	var p parcel
	for _, s := range c.sides {
		p.frames = append(p.frames, s.told...)
	}
	p.ops = slices.Clone(g.made)
	return g.sendSome(g.everyone(), p)
}
