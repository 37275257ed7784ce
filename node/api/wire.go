package api

import (
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market/curve"
	"github.com/pinfi/pinfi/p2p"
)

// This file holds what travels: plain structs, with amounts as decimal strings of
// atoms, capacities in mCU, ids and digests as 64 hexadecimal digits.

// A Status tells how a node stands.
type Status struct {
	Version  string        `json:"version"`
	Self     p2p.PeerID    `json:"self"`
	Role     Role          `json:"role" enum:"full,light" doc:"full: sells or witnesses"`
	Network  Network       `json:"network"`
	Slot     uint64        `json:"slot"`
	Peers    []Peer        `json:"peers" nullable:"false"`
	Reached  int           `json:"peers_reached" doc:"peers that messages can be sent to"`
	Listen   []string      `json:"listen" nullable:"false" doc:"addresses at which others reach the node"`
	Ledger   Ledger        `json:"ledger"`
	Balance  ledger.Amount `json:"balance" doc:"own money, neither bonded nor escrowed"`
	Bond     ledger.Amount `json:"bond" doc:"own stake"`
	Offers   int           `json:"offers" doc:"offers known"`
	Sales    int           `json:"sales" doc:"leases that the node serves"`
	Jobs     int           `json:"jobs" doc:"jobs that the node ordered"`
	Devices  []Device      `json:"devices" nullable:"false" doc:"own devices"`
	Counts   Counts        `json:"counts"`
	Watchers int           `json:"watchers" doc:"open streams of events"`
}

// A Role says what a node does for others.
type Role string

// The roles.
const (
	RoleFull  Role = "full"  // sells computing power, or is a witness
	RoleLight Role = "light" // buys only
)

// A Network names a network and holds the rules that a client needs to check
// what it paid.
type Network struct {
	Name     string         `json:"name"`
	Digest   p2p.Digest     `json:"digest" doc:"of the genesis"`
	Classes  []ledger.Class `json:"classes" nullable:"false"`
	BetaBps  uint16         `json:"beta_bps" doc:"part of each payment that is burned"`
	SigmaBps uint16         `json:"sigma_bps" doc:"part of the rest that goes to the serving provider"`
	Window   uint32         `json:"window_seconds" doc:"an early end burns the unused part of a window"`
	MinFee   ledger.Amount  `json:"min_fee"`
}

// A Peer is a connected peer.
type Peer struct {
	ID        p2p.PeerID `json:"id"`
	Addrs     []string   `json:"addrs" nullable:"false"`
	RTTMicros int64      `json:"rtt_us" doc:"0 before the first measurement"`
}

// Counts are what a node has done since it started.
type Counts struct {
	Steps   uint64 `json:"steps" doc:"events that the machine took"`
	Dropped uint64 `json:"dropped" doc:"messages for which there was no room"`
	Unsent  uint64 `json:"unsent" doc:"messages that the transport did not take"`
	Refused uint64 `json:"refused" doc:"messages that arrived broken, too large, or against the rules"`
}

// A Device is one provider's capacity of one class.
type Device struct {
	Owner    p2p.PeerID    `json:"owner"`
	Class    ledger.Class  `json:"class"`
	Declared uint64        `json:"declared" doc:"mCU"`
	Proven   uint64        `json:"proven" doc:"mCU"`
	Passed   uint32        `json:"passed" doc:"storms"`
	Capacity uint64        `json:"capacity" doc:"what it may sell, in mCU"`
	Taken    uint64        `json:"taken" doc:"what it has sold, in mCU"`
	Position uint64        `json:"position" doc:"demand that its next lease starts from, in mCU"`
	Price    string        `json:"price" doc:"there, in atoms per CU-hour, rounded up"`
	Reserve  ledger.Amount `json:"reserve" doc:"its least price as far as this node knows"`
}

// Devices are all devices of a network.
type Devices struct {
	Devices []Device `json:"devices" nullable:"false"`
}

// A Blob names a file by its content.
type Blob struct {
	Digest p2p.Digest `json:"digest"`
	Size   int64      `json:"size" doc:"bytes"`
}

// An Output is the manifest of the files that a task wrote.
type Output struct {
	Digest p2p.Digest `json:"digest"`
	Files  []File     `json:"files" nullable:"false"`
}

// A File is one file of an Output.
type File struct {
	Path   string     `json:"path" doc:"relative, with slashes"`
	Size   uint64     `json:"size" doc:"bytes"`
	Digest p2p.Digest `json:"digest"`
}

// An Order is what a user wants done. A field that may be left out has a default.
// Module and Input must be among the node's files: PUT /v1/blobs puts them there.
type Order struct {
	ID        p2p.Digest    `json:"id,omitzero" pattern:"^[0-9a-f]{64}$" doc:"idempotency key; default: a random one"`
	Class     ledger.Class  `json:"class,omitempty" doc:"default: the network's first"`
	Region    string        `json:"region,omitempty" doc:"default: the node's"`
	Units     uint64        `json:"units" minimum:"1" doc:"capacity of each task, in mCU"`
	Seconds   uint32        `json:"seconds" minimum:"1" doc:"longest time of each task"`
	Max       ledger.Amount `json:"max" pattern:"^(0|[1-9][0-9]{0,19})$" doc:"most that all leases may set aside"`
	Module    p2p.Digest    `json:"module" pattern:"^[0-9a-f]{64}$" doc:"WASM module"`
	Input     p2p.Digest    `json:"input,omitzero" pattern:"^[0-9a-f]{64}$" doc:"input file"`
	InputName string        `json:"input_name,omitempty" maxLength:"255" doc:"name of the input under /in"`
	Tasks     uint32        `json:"tasks,omitempty" doc:"default 1"`
	Check     uint32        `json:"check,omitempty" doc:"tasks to run again on another provider and compare"`
	Pages     uint32        `json:"memory_pages,omitempty" doc:"most memory, in pages of 64 KiB; default 1024"`
}

// A Ticket answers an Order.
type Ticket struct {
	ID    p2p.Digest `json:"id"`
	Known bool       `json:"known" doc:"the node had the job already; nothing was ordered"`
}

// A JobState says where a job stands.
type JobState string

// The states of a job.
const (
	JobRunning JobState = "running" // ends when every task has its output here, or cannot get it
	JobDone    JobState = "done"    // every output is here
	JobFailed  JobState = "failed"  // Failure says why
)

// Jobs are the jobs that a node ordered, in the order in which they came.
type Jobs struct {
	Jobs []Summary `json:"jobs" nullable:"false"`
}

// A Summary tells in short how a job stands.
type Summary struct {
	ID      p2p.Digest    `json:"id"`
	State   JobState      `json:"state" enum:"running,done,failed"`
	Settled bool          `json:"settled" doc:"no lease of it is open"`
	Cause   string        `json:"cause,omitempty" doc:"why it failed: nobody, budget, ledger, providers or mismatch"`
	Failure string        `json:"failure,omitempty" doc:"the same in words"`
	Tasks   int           `json:"tasks" doc:"checks are tasks too"`
	Ended   int           `json:"ended" doc:"tasks whose output is here"`
	Escrow  ledger.Amount `json:"escrow" doc:"what its leases set aside"`
	Paid    ledger.Amount `json:"paid"`
	Burned  ledger.Amount `json:"burned" doc:"part of paid"`
	Refund  ledger.Amount `json:"refund"`
}

// A Job tells how a job stands.
type Job struct {
	Summary
	Order  Order   `json:"order"`
	Runs   []Run   `json:"runs" nullable:"false" doc:"one for each task, then one for each check"`
	Leases []Lease `json:"leases" nullable:"false"`
}

// A Run is one task of a job, or the check of one.
type Run struct {
	Index    uint32      `json:"index"`
	Task     uint32      `json:"task" doc:"number that the module is given"`
	Check    bool        `json:"check" doc:"runs an earlier task again"`
	Done     bool        `json:"done"`
	Provider p2p.PeerID  `json:"provider,omitzero"`
	Lease    ledger.OpID `json:"lease,omitzero"`
	Exit     uint32      `json:"exit" doc:"exit code once done"`
	Source   string      `json:"exit_source,omitempty" doc:"what ended it: job, time, trap, memory or provider"`
	Output   p2p.Digest  `json:"output,omitzero" doc:"manifest; see GET /v1/outputs"`
	Log      p2p.Digest  `json:"log,omitzero" doc:"what it wrote to its standard output and error"`
}

// A Lease is what one provider was hired for and what it cost.
type Lease struct {
	ID       ledger.OpID   `json:"id"`
	Run      uint32        `json:"run" doc:"index of the run that it is for"`
	Provider p2p.PeerID    `json:"provider"`
	Class    ledger.Class  `json:"class"`
	Units    uint64        `json:"units" doc:"mCU"`
	Seconds  uint32        `json:"seconds" doc:"the term"`
	State    string        `json:"state" doc:"open, accepted or closed"`
	Escrow   ledger.Amount `json:"escrow"`
	Charge   ledger.Amount `json:"charge" doc:"price of the whole term; 0: not accepted"`
	D0       uint64        `json:"d0" doc:"place on the curve, in mCU"`
	D1       uint64        `json:"d1"`
	Used     uint64        `json:"used" doc:"seconds of the last voucher"`
	Paid     Paid          `json:"paid"`
	Refund   ledger.Amount `json:"refund"`
	Reason   string        `json:"reason,omitempty" doc:"why it ended"`
	Curve    *Curve        `json:"curve,omitempty" doc:"gives the charge; missing: not accepted"`
}

// Recomputed returns the charge of the lease as the curve gives it, which must be
// Charge. It is 0 for a lease that nobody accepted. It fails when the node sent
// figures that are none of a curve.
func (l *Lease) Recomputed() (ledger.Amount, error) {
	if l.Curve == nil {
		return 0, nil
	}
	c := l.Curve
	line := curve.Params{P0: c.P0, Quarters: c.Quarters, Capacity: c.Capacity, Floor: c.Floor, Reserve: c.Reserve}
	return line.Charge(l.D0, l.D1, uint64(l.Seconds))
}

// A Paid says where the money of a lease went.
type Paid struct {
	Burn    ledger.Amount `json:"burn"`
	Serve   ledger.Amount `json:"serve" doc:"to the provider"`
	Stakers ledger.Amount `json:"stakers" doc:"to all who stake in the class"`
	Total   ledger.Amount `json:"total"`
}

// A Curve holds what a price is computed from: P0 (D/R)^(quarters/4), see
// docs/spec/market.md.
type Curve struct {
	P0       ledger.Amount `json:"p0" doc:"price at demand = capacity, in atoms per CU-hour"`
	Quarters uint8         `json:"quarters" doc:"the exponent, in quarters"`
	Capacity uint64        `json:"capacity" doc:"R, in mCU"`
	Floor    uint64        `json:"demand_floor" doc:"demand below which the price falls no further, in mCU"`
	Reserve  ledger.Amount `json:"reserve" doc:"least price, in atoms per CU-hour"`
}

// An Event is a fact that a node noted. Which fields are set depends on the fact;
// machine.Fact lists them.
type Event struct {
	Seq    uint64        `json:"seq" doc:"rises with every event of the node"`
	Fact   string        `json:"fact"`
	Peer   p2p.PeerID    `json:"peer,omitzero"`
	Lease  ledger.OpID   `json:"lease,omitzero" doc:"the lease, or the operation"`
	Job    p2p.Digest    `json:"job,omitzero"`
	Task   uint32        `json:"task"`
	Amount ledger.Amount `json:"amount"`
	Text   string        `json:"text,omitempty"`
	Time   time.Time     `json:"time"`
}

// A Stopping answers POST /v1/stop.
type Stopping struct {
	Stopping bool `json:"stopping"`
}
