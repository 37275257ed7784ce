package machine

import (
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
)

// The views below only read. A host calls them between two Steps.

// Self returns the node's own id.
func (m *Machine) Self() p2p.PeerID { return m.cfg.Self }

// Network returns the digest of the genesis.
func (m *Machine) Network() p2p.Network { return m.network }

// Replica returns the ledger. The caller must not change it.
func (m *Machine) Replica() *replica.Replica { return m.replica }

// Leases returns the lease contract. The caller must not change it.
func (m *Machine) Leases() *market.Contract { return m.leases }

// Book returns the offers that the node holds. The caller must not change it.
func (m *Machine) Book() *market.Book { return m.book }

// Peers returns the number of connected peers.
func (m *Machine) Peers() int { return len(m.peers) }

// Sales returns the number of leases that the node serves now.
func (m *Machine) Sales() int { return len(m.sales) }

// A Cause says why a job ended without all its output. Causes are append-only;
// the zero Cause is none.
type Cause uint8

// The causes.
const (
	CauseNobody    Cause = 1 // nobody offers what a task needs
	CauseBudget    Cause = 2 // it would cost more than the order allows
	CauseLedger    Cause = 3 // the ledger would refuse the lease
	CauseProviders Cause = 4 // too many providers failed a task
	CauseMismatch  Cause = 5 // a task that ran twice gave two outputs
)

// causeNames are the names of the causes, by number.
var causeNames = [...]string{
	CauseNobody: "nobody", CauseBudget: "budget", CauseLedger: "ledger", CauseProviders: "providers",
	CauseMismatch: "mismatch",
}

// String returns the cause's name, and nothing for none.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "unknown"
}

// MarshalText writes the cause as String does.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// A JobView tells how a job stands.
type JobView struct {
	Order   Job
	Done    bool   // every task's output is here, or the job has failed
	Settled bool   // no lease of the job is open
	Cause   Cause  // why the job failed; zero: it did not
	Failure string // the same in words
	Tasks   []TaskView
	Leases  []LeaseView
}

// A TaskView tells how a task stands.
type TaskView struct {
	Index    uint32
	Of       uint32 // the task that it runs; another than Index for a check
	Done     bool
	Provider p2p.PeerID // who has it; zero: nobody yet
	Lease    ledger.OpID
	Exit     uint32
	Source   market.ExitSource // zero until Done
	Output   p2p.Digest
	Log      p2p.Digest
}

// A LeaseView tells what a lease of a job was for and what it cost.
type LeaseView struct {
	Task  uint32
	Lease market.Lease
}

// Job returns how a job stands, and false when there is none of the id.
func (m *Machine) Job(id p2p.Digest) (JobView, bool) {
	j := m.jobs[id]
	if j == nil {
		return JobView{}, false
	}
	v := JobView{Order: j.Job, Done: j.ended, Settled: j.ended && m.settled(j), Cause: j.cause, Failure: j.failure}
	for _, t := range j.tasks {
		tv := TaskView{Index: t.index, Of: t.of, Done: t.phase == taskDone, Lease: t.lease}
		if t.phase == taskHired || t.phase == taskDone {
			tv.Provider = t.by
		}
		if tv.Done {
			tv.Exit, tv.Source, tv.Output, tv.Log = t.result.Exit, t.result.Source, t.result.Output, t.result.Log
		}
		v.Tasks = append(v.Tasks, tv)
	}
	ordered := slices.SortedFunc(slices.Values(j.leases), func(a, b *purchase) int { return a.lease.Compare(b.lease) })
	for _, p := range ordered {
		if l, ok := m.leases.Lease(p.lease); ok {
			v.Leases = append(v.Leases, LeaseView{Task: p.task.index, Lease: l})
		}
	}
	return v, true
}

// Jobs returns the ids of the node's jobs in the order in which they came.
func (m *Machine) Jobs() []p2p.Digest {
	var ids []p2p.Digest
	for _, j := range m.sortedJobs() {
		ids = append(ids, j.ID)
	}
	return ids
}
