// Package check holds the oracles of a simulated network: what must be true of all
// nodes together, whatever the weather, and what must be true in the end.
//
// It is not part of any node, and it trusts none: it sees every machine at once
// and every effect that was carried out, and does its own sums. The calls you need
// are New, Watch for each step's effects, Storm for what must hold at any time, and
// Calm for what must hold once faults have stopped. The invariant: an oracle never
// changes what it looks at, so a run with oracles is the run without.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// An Oracle names one thing that must be true.
type Oracle uint8

// The oracles. The first ones hold at any time, those from Finished on in the end.
const (
	Supply    Oracle = iota + 1 // there is as much money as at genesis, in every replica
	Chains                      // no two replicas have another operation in one place
	Rivals                      // no two operations of one place are certified
	Memory                      // no honest node signs two things for one place
	PaidOnce                    // a lease is closed at most once, and pays and returns its escrow exactly
	Promised                    // a lease pays for no second that its client has not promised
	Capacity                    // no provider has more units out than its device may ever have had
	Accused                     // nobody holds evidence against an honest node
	Finished                    // every job has ended well and its leases are closed
	Settled                     // no lease is open and nothing is in escrow anywhere
	Agreement                   // all replicas have one root
	Outputs                     // every output is what the task writes, and checks matched
	Earned                      // whoever delivered a task's output was paid for it
	Running                     // every node is up
	Forged                      // nothing of an honest account is applied that it did not sign; at any time
	Kept                        // what any replica applied is applied by all in the end
	Guilt                       // all replicas hold the same proofs, against more than a third for two certificates
)

// String returns the oracle's name.
func (o Oracle) String() string {
	names := [...]string{
		"supply", "chains", "rivals", "memory", "paid-once", "promised", "capacity", "accused",
		"finished", "settled", "agreement", "outputs", "earned", "running", "forged", "kept", "guilt",
	}
	if o < 1 || int(o) > len(names) {
		return fmt.Sprintf("oracle(%d)", uint8(o))
	}
	return names[o-1]
}

// A Violation is an oracle that said no.
type Violation struct {
	Oracle Oracle
	At     time.Duration // virtual time at which it was seen
	Node   int           // whose view it was seen in; -1: nobody's alone
	Text   string
}

// String returns one line.
func (v Violation) String() string {
	if v.Node < 0 {
		return fmt.Sprintf("%v: %v: %s", v.At, v.Oracle, v.Text)
	}
	return fmt.Sprintf("%v: %v: node %d: %s", v.At, v.Oracle, v.Node, v.Text)
}

// A Config says what is to be checked.
type Config struct {
	Genesis *machine.Genesis
	Nodes   []p2p.PeerID          // by index
	Owners  []p2p.PeerID          // accounts without a node that the oracles look at, too
	Outlaw  map[p2p.PeerID]bool   // nodes whose script breaks the rules; nothing is asked of them
	Orders  map[int][]machine.Job // what is submitted, by node
	Ignore  []Oracle              // oracles that are not listened to, so that slower ones are heard
	Patient bool                  // providers wait for their pay for longer than faults last
	Output  func(module, input p2p.Digest, task, tasks uint32) p2p.Digest
}

// A Checker is the oracles of one run and what they remember.
type Checker struct {
	cfg     Config
	total   ledger.Amount
	at      time.Duration
	found   []Violation
	said    map[string]bool // what was found already, so that it is told once
	watched watched

	chain  map[place]ledger.OpID       // operations that some replica has applied
	closes map[ledger.OpID]ledger.OpID // the LeaseClose of each lease
	tops   map[top]ledger.OpID         // heads that were walked, by node
	most   map[seller]uint64           // largest capacity seen, in mCU
	ends   map[ledger.OpID]market.Lease

	ever    []ledger.OpID // what some replica has applied, as it was seen
	weighed map[int]int   // by node, how many pieces of evidence were looked at
}

// A place is where one operation stands.
type place struct {
	account ledger.Account
	lane    ledger.Lane
	seq     uint64
}

// A top is a lane as one node sees it.
type top struct {
	node    int
	account ledger.Account
	lane    ledger.Lane
}

// A seller is a provider in one class.
type seller struct {
	account ledger.Account
	class   ledger.Class
}

// New returns the oracles of a run that has not begun.
func New(cfg Config) *Checker {
	c := &Checker{
		cfg:     cfg,
		said:    make(map[string]bool),
		watched: newWatched(),
		chain:   make(map[place]ledger.OpID),
		closes:  make(map[ledger.OpID]ledger.OpID),
		tops:    make(map[top]ledger.OpID),
		most:    make(map[seller]uint64),
		ends:    make(map[ledger.OpID]market.Lease),
		weighed: make(map[int]int),
	}
	g := &cfg.Genesis.Ledger
	for _, a := range g.Alloc {
		c.total += a.Amount
	}
	c.total += g.Stake()
	return c
}

// Found returns everything that any oracle has said so far.
func (c *Checker) Found() []Violation { return c.found }

// fault records a violation, once for each wording.
func (c *Checker) fault(o Oracle, node int, format string, args ...any) {
	if slices.Contains(c.cfg.Ignore, o) {
		return
	}
	v := Violation{Oracle: o, At: c.at, Node: node, Text: fmt.Sprintf(format, args...)}
	key := fmt.Sprint(o, node, v.Text)
	if !c.said[key] {
		c.said[key] = true
		c.found = append(c.found, v)
	}
}

// Storm asks the oracles that hold at any time, of every machine that is up; nil
// stands for one that is down. It returns what was found since the run began.
func (c *Checker) Storm(at time.Duration, nodes []*machine.Machine) []Violation {
	c.at = at
	for i, m := range nodes {
		if m == nil {
			continue
		}
		c.supply(i, m)
		c.chains(i, m)
		c.leases(i, m)
		c.capacity(i, m)
		c.evidence(i, m)
	}
	c.rivals(nodes)
	return c.found
}

// supply does its own sum of where the money is.
func (c *Checker) supply(node int, m *machine.Machine) {
	st := m.Replica().State()
	s := st.Supply()
	var sum ledger.Amount
	for _, part := range [...]ledger.Amount{s.Lanes, s.Credits, s.Escrowed, s.Pots, s.Bonded, s.Burned} {
		next, ok := sum.Add(part)
		if !ok || part > c.total {
			c.fault(Supply, node, "a part of the supply is out of bounds: %+v", s)
			return
		}
		sum = next
	}
	if sum != c.total || s.Total != c.total || !st.Conserved() {
		c.fault(Supply, node, "%d atoms, %d at genesis: %+v", sum, c.total, s)
	}
	if err := st.Audit(); err != nil {
		c.fault(Supply, node, "%v", err)
	}
}

// lanes is how many lanes of an account the market uses: one for payments and one
// for each class.
func (c *Checker) lanes() ledger.Lane { return ledger.Lane(len(c.cfg.Genesis.Market.Classes)) + 1 }

// chains looks at every lane whose head has moved.
func (c *Checker) chains(node int, m *machine.Machine) {
	for _, account := range slices.Concat(c.cfg.Nodes, c.cfg.Owners) {
		for lane := range c.lanes() {
			seq, id := m.Replica().State().Head(account, lane)
			where := top{node, account, lane}
			if seq > 0 && c.tops[where] != id {
				c.tops[where] = id
				c.walk(node, m, place{account, lane, seq}, id)
			}
		}
	}
}

// walk follows a lane from its head back to what is known. Since each operation
// names the one before it, two replicas that agree on a head agree on all before
// it.
func (c *Checker) walk(node int, m *machine.Machine, at place, id ledger.OpID) {
	for ; at.seq > 0; at.seq-- {
		if known, ok := c.chain[at]; ok {
			if known != id {
				c.fault(Chains, node, "%s lane %d has %s at %d, another replica has %s",
					at.account.Short(), at.lane, id.Short(), at.seq, known.Short())
			}
			return
		}
		op, ok := m.Replica().Op(id)
		if !ok {
			c.fault(Chains, node, "%s lane %d: %s at %d is applied and not held",
				at.account.Short(), at.lane, id.Short(), at.seq)
			return
		}
		c.chain[at] = id
		c.applied(node, id, op)
		id = op.Prev
	}
}

// applied looks at an operation that some replica has applied for the first time.
func (c *Checker) applied(node int, id ledger.OpID, op *ledger.Op) {
	c.ever = append(c.ever, id)
	if slices.Contains(c.cfg.Owners, op.Account) && !c.cfg.Outlaw[op.Account] && !c.watched.honest[id] {
		c.fault(Forged, node, "%v %s of %s, which never signed it", op.Kind, id.Short(), op.Account.Short())
	}
	if op.Kind != ledger.KindLeaseClose || len(op.Body) < len(ledger.OpID{}) {
		return
	}
	lease := ledger.OpID(op.Body[:len(ledger.OpID{})])
	if before, ok := c.closes[lease]; ok && before != id {
		c.fault(PaidOnce, node, "lease %s is closed by %s and by %s", lease.Short(), before.Short(), id.Short())
	}
	c.closes[lease] = id
}

// leases checks that leases pay what they may, and the same in every replica.
func (c *Checker) leases(node int, m *machine.Machine) {
	for l := range m.Leases().Leases() {
		if l.State != market.StateClosed {
			if l.State == market.StateAccepted && l.Charge > l.Escrow {
				c.fault(PaidOnce, node, "lease %s costs %d, its escrow is %d", l.ID.Short(), l.Charge, l.Escrow)
			}
			continue
		}
		if before, ok := c.ends[l.ID]; ok {
			if before != l {
				c.fault(PaidOnce, node, "lease %s ended otherwise elsewhere: %+v, %+v", l.ID.Short(), l, before)
			}
			continue
		}
		c.ends[l.ID] = l
		sum := l.Paid.Burn + l.Paid.Serve + l.Paid.Stakers + l.Refund
		biggest := max(l.Paid.Burn, l.Paid.Serve, l.Paid.Stakers, l.Refund)
		if sum != l.Escrow || biggest > l.Escrow || m.Replica().State().EscrowOf(l.ID) != 0 {
			c.fault(PaidOnce, node, "lease %s of %d pays %+v and returns %d", l.ID.Short(), l.Escrow, l.Paid, l.Refund)
		}
		if promised := c.watched.promised[l.ID]; l.Used > promised && !c.cfg.Outlaw[l.Client] {
			c.fault(Promised, node, "lease %s pays %d s, its client promised %d s", l.ID.Short(), l.Used, promised)
		}
	}
}

// capacity compares what is out with the most that the device may have had.
func (c *Checker) capacity(node int, m *machine.Machine) {
	for _, class := range c.cfg.Genesis.Market.Classes {
		for d := range m.Replica().State().Devices(class.Name) {
			who := seller{d.Owner, class.Name}
			c.most[who] = max(c.most[who], m.Leases().Capacity(m.Replica().State(), d.Owner, class.Name),
				min(d.Declared, class.Probation))
			if taken := m.Leases().Demand(d.Owner, class.Name); taken > c.most[who] {
				c.fault(Capacity, node, "%s has %d mCU of %s out, its device had at most %d",
					d.Owner.Short(), taken, class.Name, c.most[who])
			}
		}
	}
}

// rivals counts certificates for operations of one place, over all replicas and
// over all time: what was applied once was certified then.
func (c *Checker) rivals(nodes []*machine.Machine) {
	for _, at := range c.watched.contested {
		var certified []ledger.OpID
		for _, id := range c.watched.made[at] {
			if c.chain[at] == id {
				certified = append(certified, id)
			}
			for _, m := range nodes {
				if m != nil && m.Replica().Certified(id) && !slices.Contains(certified, id) {
					certified = append(certified, id)
				}
			}
		}
		if len(certified) > 1 {
			c.fault(Rivals, -1, "%s lane %d number %d: %d certified operations",
				at.account.Short(), at.lane, at.seq, len(certified))
		}
	}
}

// Calm asks what must hold in the end, and returns what does not hold yet. Unlike
// the oracles of Storm it may be asked again and again until it has no complaint.
func (c *Checker) Calm(at time.Duration, nodes []*machine.Machine) []Violation {
	c.at = at
	var open []Violation
	say := func(o Oracle, node int, format string, args ...any) {
		open = append(open, Violation{Oracle: o, At: at, Node: node, Text: fmt.Sprintf(format, args...)})
	}
	var first p2p.Digest
	for i, m := range nodes {
		if m == nil {
			say(Running, i, "the node is down")
			return open
		}
		c.ended(i, m, say)
		c.closed(i, m, say)
		root := m.Replica().State().Root()
		if i == 0 {
			first = root
		} else if root != first {
			say(Agreement, i, "root %s, node 0 has %s", root.Short(), first.Short())
		}
	}
	slices.SortStableFunc(open, func(a, b Violation) int { return cmp.Compare(a.Oracle, b.Oracle) })
	return open
}

type complain func(o Oracle, node int, format string, args ...any)

// ended checks the jobs that were submitted at a node.
func (c *Checker) ended(node int, m *machine.Machine, say complain) {
	for _, order := range c.cfg.Orders[node] {
		job, ok := m.Job(order.ID)
		switch {
		case !ok:
			say(Finished, node, "job %s is unknown", order.ID.Short())
			continue
		case job.Failure != "":
			say(Finished, node, "job %s has failed: %s", order.ID.Short(), job.Failure)
			continue
		case !job.Done || !job.Settled:
			say(Finished, node, "job %s: done %v, settled %v, %s", order.ID.Short(), job.Done, job.Settled, undone(job))
			continue
		case len(job.Tasks) != int(order.Tasks+order.Check):
			say(Outputs, node, "job %s has %d tasks, want %d and %d checks",
				order.ID.Short(), len(job.Tasks), order.Tasks, order.Check)
		}
		for _, t := range job.Tasks {
			if want := c.cfg.Output(order.Module, order.Input, t.Of, order.Tasks); !t.Done || t.Output != want {
				say(Outputs, node, "job %s task %d: done %v, output %s, want %s",
					order.ID.Short(), t.Index, t.Done, t.Output.Short(), want.Short())
			}
			if l, _ := m.Leases().Lease(t.Lease); l.Used == 0 && c.cfg.Patient {
				say(Earned, node, "job %s task %d: %s delivered, and lease %s was closed with nothing paid (%v)",
					order.ID.Short(), t.Index, t.Provider.Short(), t.Lease.Short(), l.Reason)
			}
			if t.Index >= order.Tasks && t.Provider == job.Tasks[t.Of].Provider {
				say(Outputs, node, "job %s task %d was checked by its own provider", order.ID.Short(), t.Of)
			}
		}
	}
}

// undone lists the tasks and leases of a job that are not at their end.
func undone(job machine.JobView) string {
	var list []string
	for _, t := range job.Tasks {
		if !t.Done {
			list = append(list, fmt.Sprintf("task %d of %d is with %s under lease %s",
				t.Index, t.Of, t.Provider.Short(), t.Lease.Short()))
		}
	}
	for _, l := range job.Leases {
		if l.Lease.State != market.StateClosed {
			list = append(list, fmt.Sprintf("lease %s of task %d by %s is %v",
				l.Lease.ID.Short(), l.Task, l.Lease.Provider.Short(), l.Lease.State))
		}
	}
	return strings.Join(list, ", ")
}

// closed checks that nothing is left open.
func (c *Checker) closed(node int, m *machine.Machine, say complain) {
	for l := range m.Leases().Leases() {
		if l.State != market.StateClosed {
			say(Settled, node, "lease %s by %s is %v", l.ID.Short(), l.Provider.Short(), l.State)
		}
	}
	if held := m.Replica().State().Supply().Escrowed; held != 0 {
		say(Settled, node, "%d atoms in escrow", held)
	}
	if n := m.Sales(); n != 0 {
		say(Settled, node, "%d sales are not closed", n)
	}
}
