package proofs

import "fmt"

// A Fault says what is wrong with a proof. The set is closed, the numbers are
// append-only, and 0 is none of them.
type Fault uint8

// The faults. Those up to BrokenChain are facts that anybody can recompute; Late
// and NoReveal are what one witness saw.
const (
	NoFault     Fault = 1 // all is well
	WrongTile   Fault = 2 // a sampled tile holds other sums than the product's
	BrokenPath  Fault = 3 // tiles do not lie under their round's root
	BrokenChain Fault = 4 // rounds do not follow from the challenge, or are not those committed to
	WrongSample Fault = 5 // opens other tiles than those picked
	BadLength   Fault = 6 // too few or too many rounds, or a path of a length that cannot be
	Late        Fault = 7 // the commit came after its last slot
	NoReveal    Fault = 8 // no answer to the request for a reveal
)

// faultTexts are the texts of the faults, by number.
var faultTexts = [...]string{
	NoFault: "no fault", WrongTile: "wrong tile", BrokenPath: "broken path", BrokenChain: "broken chain",
	WrongSample: "wrong sample", BadLength: "bad length", Late: "late", NoReveal: "no reveal",
}

// Valid reports whether the fault is one of the set.
func (f Fault) Valid() bool { return f >= NoFault && int(f) < len(faultTexts) }

// String returns a few words for people. Programs compare the number.
func (f Fault) String() string {
	if !f.Valid() {
		return fmt.Sprintf("fault(%d)", uint8(f))
	}
	return faultTexts[f]
}

// MarshalText writes the fault as String does.
func (f Fault) MarshalText() ([]byte, error) { return []byte(f.String()), nil }
