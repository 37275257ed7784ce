package machine

import (
	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
)

// An Event is something that happened. The set is closed.
//
//sumtype:decl
type Event interface{ event() }

type (
	// Gossiped reports a message that was published by anybody and came by way of
	// anybody. What it holds signs itself. The machine keeps Data.
	Gossiped struct{ Data []byte }

	// Received reports a message that the peer From sent to this node alone. The
	// transport vouches for From. The machine keeps Data.
	Received struct {
		From p2p.PeerID
		Data []byte
	}

	// PeerUp reports that messages can be sent to a peer.
	PeerUp struct{ Peer p2p.PeerID }

	// PeerDown reports that a peer is out of reach.
	PeerDown struct{ Peer p2p.PeerID }

	// Submit is the local user's order for a job. The job's id is its idempotency
	// key: the second Submit of an id does nothing.
	Submit struct{ Job Job }

	// JobStarted reports that the process of a RunJob effect has started.
	JobStarted struct{ Lease ledger.OpID }

	// JobDone reports how the process of a RunJob effect ended.
	JobDone struct {
		Lease  ledger.OpID
		Failed bool // the job could not be run at all; Text says why
		Exit   uint32
		Source market.ExitSource
		Output p2p.Digest // manifest of the output files
		Log    p2p.Digest
		Text   string
	}

	// Fetched answers a Fetch effect. The output is on this machine unless Text
	// says why not.
	Fetched struct {
		Lease ledger.OpID
		OK    bool
		Text  string
	}

	// Proved answers a Prove effect.
	Proved struct {
		Storm  ledger.Slot
		Rounds uint32
		Root   p2p.Digest
		Last   p2p.Digest
	}

	// Opened answers an Open effect with the tiles that were asked for.
	Opened struct {
		Commit ledger.OpID
		Reveal *proofs.Reveal
	}

	// Checked answers a Check effect.
	Checked struct {
		Commit ledger.OpID
		Fault  proofs.Fault
	}

	// Verified answers a Verify effect: for each signature whether it is right.
	Verified struct {
		ID uint64
		OK []bool
	}

	// Tick reports that the Deadline has passed. It carries nothing.
	Tick struct{}
)

func (Gossiped) event()   {}
func (Received) event()   {}
func (PeerUp) event()     {}
func (PeerDown) event()   {}
func (Submit) event()     {}
func (JobStarted) event() {}
func (JobDone) event()    {}
func (Fetched) event()    {}
func (Proved) event()     {}
func (Opened) event()     {}
func (Checked) event()    {}
func (Verified) event()   {}
func (Tick) event()       {}

// A Job is what a user wants done: a WASM module run on an input, in one or more
// tasks that differ only in their number.
type Job struct {
	ID          p2p.Digest    // picked by the user's side; the idempotency key
	Class       ledger.Class  // class of device to run on
	Region      string        // region to look in
	Units       uint64        // capacity of each task, in mCU
	Seconds     uint32        // longest time of each task, in seconds
	Max         ledger.Amount // most that all leases together may hold in escrow, in atoms
	Module      p2p.Digest    // WASM module
	Input       p2p.Digest    // input file; zero: no input
	InputName   string        // its name under /in
	Tasks       uint32        // number of tasks, from 1 to MaxTasks
	Check       uint32        // tasks to run again on another provider and compare, at most Tasks
	MemoryPages uint32        // most memory of each task, in pages of 64 KiB
}

// MaxTasks is the largest number of tasks of one job.
const MaxTasks = 256
