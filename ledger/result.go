package ledger

import "fmt"

// A Result says whether an operation counts, or why not. Results are data: they
// travel to peers and users, and their numbers are append-only.
type Result uint8

// The results. Contracts use the same ones; a new reason is appended here.
const (
	OK                  Result = 1
	BadChain            Result = 2  // signed for another network
	BadEpoch            Result = 3  // signed for another epoch
	BadSeq              Result = 4  // not the next of its lane
	BadPrev             Result = 5  // does not name the lane's head
	BadSignature        Result = 6  // not signed by its account
	BadBody             Result = 7  // body does not decode, or holds a value out of bounds
	BadLane             Result = 8  // this kind, or a claim, belongs on another lane
	BadClaim            Result = 9  // claims credits that are not there yet
	UnknownKind         Result = 10 // no contract handles the kind
	FeeTooLow           Result = 11
	InsufficientBalance Result = 12
	Overflow            Result = 13 // a sum does not fit
	TooLarge            Result = 14 // larger than MaxOp
	UnknownLease        Result = 15
	UnknownDevice       Result = 16
	UnknownCommit       Result = 17
	NotYours            Result = 18 // only another account may do this
	AlreadyDone         Result = 19
	BadState            Result = 20 // what it acts on is not in a state that allows it
	BadPrice            Result = 21
	NoCapacity          Result = 22
	BadVoucher          Result = 23
	BadBeat             Result = 24
	BadProof            Result = 25
	TooEarly            Result = 26
	TooLate             Result = 27
	Equivocation        Result = 28 // rivals of one slot were both certified; neither counts
	Full                Result = 29 // no room: as many as there may be, or its account owns nothing
	Stale               Result = 30 // its place in the lane is taken
	Reverted            Result = 31 // counted, until what it rested on turned out to equivocate
	UnknownLock         Result = 32
	BadPreimage         Result = 33 // does not hash to what the lock names
)

// resultTexts are the texts of the results, by number.
var resultTexts = [...]string{
	OK: "ok", BadChain: "wrong network", BadEpoch: "wrong epoch", BadSeq: "sequence number is not the next",
	BadPrev: "does not follow the lane's head", BadSignature: "bad signature", BadBody: "bad body",
	BadLane: "wrong lane", BadClaim: "claims credits that are not there", UnknownKind: "unknown kind",
	FeeTooLow: "fee too low", InsufficientBalance: "insufficient balance", Overflow: "amount overflows",
	TooLarge: "too large", UnknownLease: "unknown lease", UnknownDevice: "unknown device",
	UnknownCommit: "unknown commit", NotYours: "not yours", AlreadyDone: "already done", BadState: "wrong state",
	BadPrice: "wrong price", NoCapacity: "no capacity", BadVoucher: "bad voucher", BadBeat: "bad beat",
	BadProof: "bad proof", TooEarly: "too early", TooLate: "too late", Equivocation: "equivocation",
	Full: "no room", Stale: "place in the lane is taken", Reverted: "reverted",
	UnknownLock: "unknown lock", BadPreimage: "wrong preimage",
}

// String returns a few words for people. Programs compare the number.
func (r Result) String() string {
	if r == 0 || int(r) >= len(resultTexts) {
		return fmt.Sprintf("result(%d)", uint8(r))
	}
	return resultTexts[r]
}

// MarshalText writes the result as String does.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
