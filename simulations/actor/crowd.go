package actor

import (
	"crypto/sha256"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// A CrowdConfig says who the honest owners are.
type CrowdConfig struct {
	Seed    uint64
	Network p2p.Network
	Owners  []Key
	Payees  []ledger.Account              // whom they pay
	View    func(owner int) *ledger.State // the ledger as the owner's node has it; nil: it is down
	Until   time.Duration                 // from then on nothing new is signed
}

// A Crowd is honest owners: each signs one operation for a place, and repeats it until
// its node has applied it. It is an agent of a world, with one node for all.
type Crowd struct {
	cfg   CrowdConfig
	dice  dice
	lines []*line
	made  []*ledger.Op
	locks []ledger.OpID // by HashLock, not claimed yet
	said  map[ledger.OpID][32]byte
}

// A line is one lane of an owner.
type line struct {
	owner  int
	lane   ledger.Lane
	signed []*ledger.Op // all of them, in order: none is signed again, whatever is taken back
	flying []*ledger.Op // the last of signed, not applied yet
	resend time.Duration
}

// crowdLanes is how many lanes an owner uses.
const crowdLanes = 2

// NewCrowd returns owners who have not signed anything yet.
func NewCrowd(cfg CrowdConfig) *Crowd {
	c := &Crowd{cfg: cfg, dice: dice{seed: cfg.Seed, agent: 1}, said: make(map[ledger.OpID][32]byte)}
	for i := range cfg.Owners {
		for lane := range ledger.Lane(crowdLanes) {
			c.lines = append(c.lines, &line{owner: i, lane: lane})
		}
	}
	return c
}

// Made returns the operations that were signed.
func (c *Crowd) Made() []*ledger.Op { return c.made }

// Hear does nothing: what owners know, their nodes tell them.
func (c *Crowd) Hear(time.Duration, int, machine.Event) []machine.Effect { return nil }

// Act lets every owner look at the ledger, sign what comes next, and repeat what is
// under way. What is signed at one time may travel as one bundle.
func (c *Crowd) Act(at time.Duration, _ int) (fx []machine.Effect, next time.Duration) {
	var fresh []*ledger.Op
	for _, l := range c.lines {
		st := c.cfg.View(l.owner)
		if st == nil {
			continue
		}
		head, _ := st.Head(c.cfg.Owners[l.owner].ID, l.lane)
		l.flying = l.signed[min(int(head), len(l.signed)):]
		switch {
		case len(l.flying) == 0:
			fresh = append(fresh, c.begin(at, l, st)...)
		case at >= l.resend:
			for _, op := range l.flying {
				fx = append(fx, publish(c.cfg.Network, opMessage(op)))
			}
			l.resend = at + crowdPatience
		}
	}
	c.made = append(c.made, fresh...)
	if len(fresh) > 1 && c.dice.hits(60) {
		b := &replica.Bundle{Ops: fresh}
		fx = append(fx, publish(c.cfg.Network, bundleMessage(b)))
	} else {
		for _, op := range fresh {
			fx = append(fx, publish(c.cfg.Network, opMessage(op)))
		}
	}
	return fx, at + c.dice.between(100*time.Millisecond, 300*time.Millisecond)
}

// crowdPatience is how long an owner waits before it repeats itself.
const crowdPatience = 800 * time.Millisecond

// begin signs up to three operations in a row.
func (c *Crowd) begin(at time.Duration, l *line, st *ledger.State) (made []*ledger.Op) {
	if at >= c.cfg.Until || !c.dice.hits(35) {
		return nil
	}
	key := c.cfg.Owners[l.owner]
	var before []*ledger.Item
	var last *ledger.Op
	for range 1 + c.dice.below(3) {
		d, secret := c.draft(l, st, len(before) == 0)
		op := d.write(st, key.ID, last)
		it, res := st.Prepare(op)
		if res != ledger.OK || st.CheckAfter(it, before) != ledger.OK {
			break
		}
		key.sign(op)
		if d.kind == ledger.KindHashLock {
			c.said[it.ID] = secret
			c.locks = append(c.locks, it.ID)
		}
		before, last = append(before, it), op
		l.signed, made = append(l.signed, op), append(made, op)
	}
	l.resend = at + crowdPatience
	return made
}

// draft draws what an owner does next. First says that nothing of the lane is under
// way, so that anything goes.
func (c *Crowd) draft(l *line, st *ledger.State, first bool) (d draft, secret [32]byte) {
	self := c.cfg.Owners[l.owner].ID
	d.lane = l.lane
	if first && l.lane == 0 {
		d.claims = claimsOf(st, self)
		if claim, ok := c.unlocked(self, st); ok {
			d.kind, d.body = ledger.KindHashClaim, claim.Encode()
			return d, secret
		}
	}
	amount := c.dice.part(st.Spendable(self, l.lane), 1, 40)
	switch to := pick(&c.dice, c.cfg.Payees); c.dice.below(10) {
	case 0:
		d.kind, d.body = ledger.KindBurn, ledger.Burn{Amount: 1 + amount/10}.Encode()
	case 1, 2:
		d.kind, d.body = ledger.KindLaneMove, ledger.LaneMove{To: 1 - l.lane, Amount: amount}.Encode()
	case 3:
		secret[0], secret[1] = byte(len(c.said)), byte(l.owner)
		lock := ledger.HashLock{To: to, Amount: amount, Hash: sha256.Sum256(secret[:])}
		d.kind, d.body = ledger.KindHashLock, lock.Encode()
	default:
		d.kind, d.body = ledger.KindTransfer, ledger.Transfer{To: to, Amount: amount}.Encode()
	}
	return d, secret
}

// unlocked returns the claim of a lock for the account, if there is one in the ledger.
func (c *Crowd) unlocked(self ledger.Account, st *ledger.State) (ledger.HashClaim, bool) {
	for _, id := range c.locks {
		if l, ok := st.Lock(id); ok && l.To == self && l.Claim.IsZero() {
			return ledger.HashClaim{Lock: id, Preimage: c.said[id]}, true
		}
	}
	return ledger.HashClaim{}, false
}
