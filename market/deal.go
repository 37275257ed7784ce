package market

import "github.com/pinfi/pinfi/ledger"

// A Refusal says why a question got no quote, or why a quote is not good. Refusals
// are append-only; the zero Refusal is none.
type Refusal uint8

// The refusals: first those of a provider, then those of a client.
const (
	RefusedClass     Refusal = 1  // the provider does not sell the class, or nobody does
	RefusedDevice    Refusal = 2  // the provider has no device of the class on the ledger
	RefusedCapacity  Refusal = 3  // more units than the provider has left
	RefusedTerm      Refusal = 4  // a term that a device on probation may not sell
	RefusedOverflow  Refusal = 5  // a charge that fits no amount
	RefusedMismatch  Refusal = 6  // the answer to another question, or by another provider
	RefusedExpired   Refusal = 7  // the quote's time is over
	RefusedSignature Refusal = 8  // not signed by the provider, for this network
	RefusedBehind    Refusal = 9  // the provider has seen operations that this replica has not: ask the ledger again
	RefusedMoved     Refusal = 10 // the provider's demand has moved since: ask the provider again
	RefusedCharge    Refusal = 11 // a charge, or a place on the curve, that is not the true one
	RefusedBudget    Refusal = 12 // more than the client will pay
)

// refusalTexts are the texts of the refusals, by number.
var refusalTexts = [...]string{
	RefusedClass: "class is not sold here", RefusedDevice: "no device of the class on the ledger",
	RefusedCapacity: "not enough capacity", RefusedTerm: "term too long for a device on probation",
	RefusedOverflow: "charge fits no amount", RefusedMismatch: "answers another question",
	RefusedExpired: "quote has expired", RefusedSignature: "bad signature",
	RefusedBehind: "provider knows operations not seen here yet", RefusedMoved: "provider's demand has moved",
	RefusedCharge: "charge is not what the curve says", RefusedBudget: "over budget",
}

// String returns a few words for people. Programs compare the number.
func (r Refusal) String() string {
	if r == 0 {
		return "not refused"
	}
	return text(refusalTexts[:], uint8(r), "refusal")
}

// MarshalText writes the refusal as String does.
func (r Refusal) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// A Seller is what a provider's node knows of its own sale.
type Seller struct {
	Provider ledger.Account
	Class    ledger.Class
	Units    uint64        // most it sells at once, in mCU; 0: what the ledger lets it
	Reserve  ledger.Amount // least price, in atoms per CU-hour; 0: the pool's price is enough
}

// MakeQuote answers an Ask with a quote that is good until expires, a Unix time in
// milliseconds, or with the reason why there is none. The caller signs it. The
// state must be the one that the contract was handed to.
func MakeQuote(c *Contract, s *ledger.State, from Seller, ask Ask, expires int64) (Quote, Refusal) {
	lane, ok := c.params.Lane(ask.Class)
	if !ok || ask.Class != from.Class {
		return Quote{}, RefusedClass
	}
	if from.Units != 0 && !within(c.Demand(from.Provider, ask.Class), ask.Units, from.Units) {
		return Quote{}, RefusedCapacity
	}
	if no := refusalOf(c.fits(s, from.Provider, ask.Class, ask.Units, ask.Seconds)); no != 0 {
		return Quote{}, no
	}
	charge, ok := c.Charge(from.Provider, ask.Class, ask.Units, ask.Seconds, from.Reserve)
	if !ok {
		return Quote{}, RefusedOverflow
	}
	seq, _ := s.Head(from.Provider, lane)
	d0 := c.Position(from.Provider, ask.Class)
	return Quote{
		Provider: from.Provider, Client: ask.Client, Bid: ask.Bid, Nonce: ask.Nonce,
		Class: ask.Class, Units: ask.Units, Seconds: ask.Seconds,
		Lane: lane, LaneSeq: seq, D0: d0, D1: d0 + ask.Units, Reserve: from.Reserve, Charge: charge, Expires: expires,
	}, 0
}

// refusalOf translates what Contract.fits says.
func refusalOf(r ledger.Result) Refusal {
	if r == ledger.OK {
		return 0
	}
	if r == ledger.UnknownDevice {
		return RefusedDevice
	}
	if r == ledger.NoCapacity {
		return RefusedCapacity
	}
	return RefusedTerm
}

// A Question is what a client remembers of an Ask to judge the answer by.
type Question struct {
	Ask      Ask
	Provider ledger.Account // who was asked
	Max      ledger.Amount  // most the client will pay, in atoms; 0: anything
	Now      int64          // Unix time in milliseconds
}

// CheckQuote says whether a quote is the true answer to a question: signed by the
// provider, at the provider's place on the curve as this replica knows it, and at
// the charge that follows, which the client computes itself. It returns 0 for a
// good quote.
func CheckQuote(c *Contract, s *ledger.State, q *Quote, asked Question, verify Verify) Refusal {
	lane, ok := c.params.Lane(q.Class)
	switch {
	case !ok:
		return RefusedClass
	case q.Provider != asked.Provider || q.Lane != lane || q.ask() != asked.Ask:
		return RefusedMismatch
	case q.Expires <= asked.Now:
		return RefusedExpired
	case !q.Signed(s.Network(), verify):
		return RefusedSignature
	}
	if no := checkPlace(c, s, q); no != 0 {
		return no
	}
	charge, ok := c.Charge(q.Provider, q.Class, q.Units, q.Seconds, q.Reserve)
	switch {
	case !ok || charge != q.Charge:
		return RefusedCharge
	case asked.Max != 0 && charge > asked.Max:
		return RefusedBudget
	}
	return refusalOf(c.fits(s, q.Provider, q.Class, q.Units, q.Seconds))
}

// ask returns the question that the quote says it answers.
func (q *Quote) ask() Ask {
	return Ask{Client: q.Client, Bid: q.Bid, Nonce: q.Nonce, Class: q.Class, Units: q.Units, Seconds: q.Seconds}
}

// checkPlace compares the quote's place on the curve with the replica's. Demand
// moves only with the provider's lane, so at the lane's head the place is right or
// a lie; elsewhere one of the two is behind.
func checkPlace(c *Contract, s *ledger.State, q *Quote) Refusal {
	if q.D1 != q.D0+q.Units {
		return RefusedCharge
	}
	if q.D0 == c.Position(q.Provider, q.Class) {
		return 0
	}
	seq, _ := s.Head(q.Provider, q.Lane)
	switch {
	case q.LaneSeq > seq:
		return RefusedBehind
	case q.LaneSeq < seq:
		return RefusedMoved
	default:
		return RefusedCharge
	}
}
