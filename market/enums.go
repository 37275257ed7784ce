package market

import "fmt"

// An EndReason says why a lease ended. Reasons are append-only; the numbers stand
// in signed operations.
type EndReason uint8

// The reasons. The provider signs them in LeaseClose.
const (
	EndClientStop       EndReason = 1  // the client wanted no more
	EndBudgetExhausted  EndReason = 2  // the term or the escrow was used up
	EndProviderFault    EndReason = 3  // the provider could not go on
	EndProviderReclaim  EndReason = 4  // the provider wanted its machine back
	EndJobExit          EndReason = 5  // the job ended by itself
	EndOOM              EndReason = 6  // the job wanted more memory than it had leased
	EndImagePull        EndReason = 7  // the job or its input could not be fetched
	EndPolicy           EndReason = 8  // the job did what the provider does not allow
	EndProofFailed      EndReason = 9  // the provider's device failed a proof
	EndPartitionTimeout EndReason = 10 // the parties lost sight of each other
	EndDeclined         EndReason = 11 // the provider did not take the lease, or never started it
)

// endTexts are the texts of the reasons, by number.
var endTexts = [...]string{
	EndClientStop: "client_stop", EndBudgetExhausted: "budget_exhausted", EndProviderFault: "provider_fault",
	EndProviderReclaim: "provider_reclaim", EndJobExit: "job_exit", EndOOM: "oom", EndImagePull: "image_pull",
	EndPolicy: "policy", EndProofFailed: "proof_failed", EndPartitionTimeout: "partition_timeout",
	EndDeclined: "declined",
}

// String returns the reason as people and JSON see it.
func (r EndReason) String() string { return text(endTexts[:], uint8(r), "end reason") }

// MarshalText writes the reason as String does.
func (r EndReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Valid reports whether the reason is one of the list.
func (r EndReason) Valid() bool { return r >= EndClientStop && r <= EndDeclined }

// ByProvider reports whether the provider is the one to blame: the client is then
// spared the burn of the unused part of its window.
func (r EndReason) ByProvider() bool {
	switch r {
	case EndProviderFault, EndProviderReclaim, EndProofFailed, EndDeclined:
		return true
	case EndClientStop, EndBudgetExhausted, EndJobExit, EndOOM, EndImagePull, EndPolicy, EndPartitionTimeout:
		return false
	default:
		return false
	}
}

// A LeaseState says how far a lease has come.
type LeaseState uint8

// The states of a lease.
const (
	// StateOpen: the client's money is in escrow. LeaseAccept or LeaseClose of the
	// named provider ends it.
	StateOpen LeaseState = 1
	// StateAccepted: the provider works, and its units count as demand. LeaseClose
	// ends it.
	StateAccepted LeaseState = 2
	// StateClosed: the escrow is paid out. It never ends.
	StateClosed LeaseState = 3
)

// stateTexts are the texts of the states, by number.
var stateTexts = [...]string{StateOpen: "open", StateAccepted: "accepted", StateClosed: "closed"}

// String returns the state as people and JSON see it.
func (s LeaseState) String() string { return text(stateTexts[:], uint8(s), "lease state") }

// MarshalText writes the state as String does.
func (s LeaseState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Phase says how a provider's job stands. Phases are append-only.
type Phase uint8

// The phases, in their order. A job that could not be run goes to PhaseFailed
// from any of them but PhaseDone.
const (
	PhaseAccepted Phase = 1 // the terms were taken; nothing is charged yet
	PhaseRunning  Phase = 2 // the process has started
	PhaseDone     Phase = 3 // the process has ended; its output can be fetched
	PhaseFailed   Phase = 4 // the job could not be run
)

// phaseTexts are the texts of the phases, by number.
var phaseTexts = [...]string{
	PhaseAccepted: "accepted", PhaseRunning: "running", PhaseDone: "done", PhaseFailed: "failed",
}

// String returns the phase as people and JSON see it.
func (p Phase) String() string { return text(phaseTexts[:], uint8(p), "phase") }

// MarshalText writes the phase as String does.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// An ExitSource says what ended a process. Sources are append-only.
type ExitSource uint8

// The sources.
const (
	ExitJob      ExitSource = 1 // the job itself; its exit code is its own
	ExitTime     ExitSource = 2 // the end of the term
	ExitTrap     ExitSource = 3 // a fault inside the job
	ExitMemory   ExitSource = 4 // the memory limit
	ExitProvider ExitSource = 5 // the provider
)

// exitTexts are the texts of the sources, by number.
var exitTexts = [...]string{
	ExitJob: "job", ExitTime: "time", ExitTrap: "trap", ExitMemory: "memory", ExitProvider: "provider",
}

// String returns the source as people and JSON see it.
func (s ExitSource) String() string { return text(exitTexts[:], uint8(s), "exit source") }

// MarshalText writes the source as String does.
func (s ExitSource) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// text returns the text of the number n of an enumeration.
func text(texts []string, n uint8, what string) string {
	if n == 0 || int(n) >= len(texts) {
		return fmt.Sprintf("%s(%d)", what, n)
	}
	return texts[n]
}
