package machine

import (
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
)

// An Effect is something to be done. The set is closed. The host carries effects
// out in order, and a Save must be durable before any later effect of the same
// Step starts.
//
//sumtype:decl
type Effect interface{ effect() }

type (
	// Publish asks that a message reach every node that listens on the topic. It
	// may be lost.
	Publish struct {
		Topic p2p.Topic
		Data  []byte
	}

	// Send asks that a message reach one node. It may be lost.
	Send struct {
		To       p2p.PeerID
		Protocol p2p.Protocol
		Data     []byte
	}

	// Save asks that records be made durable, all or none. A node that cannot
	// carry out a Save must stop.
	Save struct{ Batch []Record }

	// RunJob asks that a job be run for a client: get the module and the input from
	// the client, start the process, say JobStarted, and say JobDone when it ends.
	// A second RunJob of a lease that is running does nothing.
	RunJob struct {
		Lease  ledger.OpID
		Client p2p.PeerID
		Terms  market.Terms
	}

	// StopJob asks that the process of a lease be killed. JobDone still follows.
	StopJob struct{ Lease ledger.OpID }

	// Fetch asks that a job's output and log be brought here from its provider.
	// Fetched answers it.
	Fetch struct {
		Lease    ledger.OpID
		Provider p2p.PeerID
		Output   p2p.Digest
		Log      p2p.Digest
	}

	// Prove asks for rounds of proof work from Seed until the deadline. Proved
	// answers it. The host keeps the transcript for Open until the machine asks for
	// another eight.
	Prove struct {
		Storm    ledger.Slot
		Seed     p2p.Digest
		Deadline time.Time
	}

	// Open asks for sampled tiles of the transcript of a storm. Opened answers it.
	Open struct {
		Storm   ledger.Slot
		Commit  ledger.OpID
		Samples []proofs.Sample
	}

	// Check asks that a reveal be checked. Checked answers it.
	Check struct {
		ID      ledger.OpID
		Seed    p2p.Digest
		Commit  proofs.Commit
		Samples []proofs.Sample
		Reveal  *proofs.Reveal
	}

	// Verify asks which of the signatures are right, by Crypto.VerifyBatch. Verified
	// answers it: what comes from others waits until it has, so the host answers each.
	// Answers may come in any order. There are at most two questions at a time.
	Verify struct {
		ID    uint64
		Batch []p2p.Signed
	}

	// Note tells a fact. The host makes logs, counters and progress lines of it.
	Note struct {
		Fact   Fact
		Peer   p2p.PeerID
		Lease  ledger.OpID // the lease, or the operation
		Job    p2p.Digest
		Task   uint32
		Amount ledger.Amount
		Text   string
	}
)

func (Publish) effect() {}
func (Send) effect()    {}
func (Save) effect()    {}
func (RunJob) effect()  {}
func (StopJob) effect() {}
func (Fetch) effect()   {}
func (Prove) effect()   {}
func (Open) effect()    {}
func (Check) effect()   {}
func (Verify) effect()  {}
func (Note) effect()    {}

// A Fact says what a Note tells.
type Fact uint8

// The facts, with the Note fields that they fill.
const (
	FactRefused   Fact = iota + 1 // a message was refused: Peer, Text
	FactApplied                   // an operation was applied: Peer (account), Lease (operation), Text (kind)
	FactDropped                   // an own operation was refused before it was signed: Text
	FactEvidence                  // a witness signed two frames for one number, or an account two operations: Peer
	FactQuoted                    // a quote was chosen: Job, Task, Peer, Amount
	FactHired                     // a lease was opened: Job, Task, Peer, Lease, Amount (escrow)
	FactStarted                   // a task's process has started: Job, Task, Peer, Lease
	FactFinished                  // a task's output is here: Job, Task, Peer, Lease
	FactAbandoned                 // a provider was given up: Job, Task, Peer, Lease, Text
	FactMatched                   // a task run twice gave the same output: Job, Task, Peer (the second)
	FactMismatch                  // a task run twice gave two outputs: Job, Task, Peer (the second)
	FactClosed                    // a lease was closed: Job, Task, Peer, Lease, Amount (paid)
	FactJobDone                   // every task is done: Job, Text when it failed
	FactSold                      // provider: a lease was taken: Peer (client), Lease, Amount
	FactServed                    // provider: a job ended: Peer (client), Lease, Text
	FactProved                    // prover: a commit was made: Lease (operation)
	FactJudged                    // verifier: a commit was judged: Peer (prover), Lease (operation), Text (fault)
	FactPassed                    // a storm was passed: Peer (prover)
	FactReverted                  // an applied operation counts no more: Peer (account), Lease (operation), Text (kind)
)

// A Record is one thing that survives a crash. A nil Value deletes the record of
// the Key.
type Record struct {
	Kind  RecordKind
	Key   []byte
	Value []byte
}

// A RecordKind says what a Record remembers. Kinds are append-only.
type RecordKind uint8

// The kinds of record.
const (
	RecordFrame    RecordKind = 1  // witness frame, by witness, number and id
	RecordOp       RecordKind = 2  // ledger operation, by id; the frames that vote for it come first
	RecordSale     RecordKind = 3  // lease that this node serves, by lease
	RecordJob      RecordKind = 4  // job that this node ordered, by job
	RecordPurchase RecordKind = 5  // lease that this node pays, by lease
	RecordTask     RecordKind = 6  // task that somebody has or had, by job and index
	RecordPay      RecordKind = 7  // order to pay, by order
	RecordPaid     RecordKind = 8  // payment that was signed or refused, by order and index
	RecordEvidence RecordKind = 10 // proof of an offence, by offence
	RecordBundle   RecordKind = 9  // operations that were voted for together, by bundle
	RecordOutline  RecordKind = 11 // the same, some of which stand in other such records; by bundle
)

// A Snapshot is what a former life saved: the last value of every record, in the
// order of kind and key.
type Snapshot []Record

var factNames = [...]string{
	FactRefused: "refused", FactApplied: "applied", FactDropped: "dropped", FactEvidence: "evidence",
	FactQuoted: "quoted", FactHired: "hired", FactStarted: "started", FactFinished: "finished",
	FactAbandoned: "abandoned", FactMatched: "matched", FactMismatch: "mismatch", FactClosed: "closed",
	FactJobDone: "job done", FactSold: "sold", FactServed: "served", FactProved: "proved", FactJudged: "judged",
	FactPassed: "passed", FactReverted: "reverted",
}

// String returns the fact's name.
func (f Fact) String() string {
	if int(f) < len(factNames) && f > 0 {
		return factNames[f]
	}
	return "fact"
}
