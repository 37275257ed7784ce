package market

import (
	"cmp"
	"slices"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// A Need is what a client looks for.
type Need struct {
	Class   ledger.Class
	Region  string        // empty: any
	Units   uint64        // in mCU
	Seconds uint32        // the term
	Max     ledger.Amount // most it may cost, in atoms; 0: anything
	Most    int           // most candidates wanted; 0: all
}

// A Candidate is an offer that meets a need, and what it would cost.
type Candidate struct {
	Offer  Offer
	Charge ledger.Amount // in atoms
}

// A MissReason says in which one respect an offer does not meet a need. Reasons
// are append-only.
type MissReason uint8

// The reasons, the nearest misses first.
const (
	MissPrice    MissReason = 1 // all but its charge: Have is the charge, in atoms
	MissUnpriced MissReason = 2 // all, but the ledger does not back it: Have is what it says is free, in mCU
	MissUnits    MissReason = 3 // all but its free capacity: Have is what is free, in mCU
	MissRegion   MissReason = 4 // all but its region: Have is what is free, in mCU
	MissSeveral  MissReason = 5 // it fails in more than one respect
	MissClass    MissReason = 6 // nobody offers the class
)

// missTexts are the texts of the reasons, by number.
var missTexts = [...]string{
	MissPrice: "too dear", MissUnpriced: "not backed by the ledger", MissUnits: "too small",
	MissRegion: "in another region", MissSeveral: "fails in several respects", MissClass: "nobody offers the class",
}

// String returns a few words for people.
func (m MissReason) String() string { return text(missTexts[:], uint8(m), "miss") }

// MarshalText writes the reason as String does.
func (m MissReason) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// A Miss is the offer that comes nearest to a need among those that fail for one
// reason: asking for Have instead would match it.
type Miss struct {
	Reason MissReason
	Offer  Offer // zero in MissClass
	Have   uint64
}

// Rank returns the offers of a book that meet a need, cheapest first; equal
// charges go by the digest of tie and provider, so that clients with different
// ties spread over equal providers and everybody can check the order. price says
// what an offer would charge, and false when it cannot be had; Contract.Pricer
// makes one. When nothing meets the need, Rank returns the nearest misses, one
// for each reason. Expired offers count: call Book.Expire before.
func Rank(b *Book, need Need, price func(Offer) (ledger.Amount, bool), tie p2p.Digest) ([]Candidate, []Miss) {
	s := b.shelves[need.Class]
	if s == nil {
		return nil, []Miss{{Reason: MissClass}}
	}
	best := podium{most: need.Most, shelf: s, tie: tie}
	for i := range s.offers {
		charge, reason := meets(&s.offers[i], &need, price)
		if reason == 0 {
			best.add(i, charge)
		} else if len(best.places) == 0 {
			best.miss(i, charge, reason)
		}
	}
	return best.candidates(), best.nearest()
}

// meets returns the charge of an offer, and the one reason why it does not meet
// the need, or 0.
func meets(o *Offer, need *Need, price func(Offer) (ledger.Amount, bool)) (ledger.Amount, MissReason) {
	near := need.Region == "" || o.Region == need.Region
	fits := o.Free >= need.Units
	switch {
	case !near && !fits:
		return 0, MissSeveral
	case !near:
		return 0, MissRegion
	case !fits:
		return 0, MissUnits
	}
	charge, ok := price(*o)
	if !ok {
		return 0, MissUnpriced
	}
	if need.Max != 0 && charge > need.Max {
		return charge, MissPrice
	}
	return charge, 0
}

// A podium keeps the best offers of a shelf, and the nearest misses until there is
// a good one.
type podium struct {
	most   int
	shelf  *shelf
	tie    p2p.Digest
	places []place // in order when most > 0
	misses [MissClass]Miss
}

// A place is an offer on a podium.
type place struct {
	index  int
	charge ledger.Amount
	lot    p2p.Digest // decides between equal charges
}

func (p *place) compare(q *place) int {
	return cmp.Or(cmp.Compare(p.charge, q.charge), p2p.PeerID(p.lot).Compare(p2p.PeerID(q.lot)))
}

// add places an offer. One that is dearer than all wanted costs no allocation.
func (p *podium) add(i int, charge ledger.Amount) {
	full := p.most > 0 && len(p.places) >= p.most
	if full && charge > p.places[len(p.places)-1].charge {
		return
	}
	provider := &p.shelf.offers[i].Provider
	at := place{index: i, charge: charge, lot: p2p.Sum("pinfi/tie/1", p.tie[:], provider[:])}
	if p.most <= 0 {
		p.places = append(p.places, at)
		return
	}
	where, _ := slices.BinarySearchFunc(p.places, &at, func(a place, b *place) int { return a.compare(b) })
	if where == p.most {
		return
	}
	if full {
		p.places = p.places[:p.most-1]
	}
	p.places = slices.Insert(p.places, where, at)
}

// miss remembers an offer if it is the nearest that fails for the reason.
func (p *podium) miss(i int, charge ledger.Amount, reason MissReason) {
	o := &p.shelf.offers[i]
	m := Miss{Reason: reason, Have: o.Free}
	if reason == MissPrice {
		m.Have = uint64(charge)
	}
	old := &p.misses[reason-1]
	if old.Reason != 0 {
		order := cmp.Compare(m.Have, old.Have) // the most capacity, or the least charge
		if reason != MissPrice {
			order = -order
		}
		if cmp.Or(order, o.Provider.Compare(old.Offer.Provider)) >= 0 {
			return
		}
	}
	m.Offer = *o
	*old = m
}

// candidates returns the offers on the podium, best first.
func (p *podium) candidates() []Candidate {
	if p.most <= 0 {
		slices.SortFunc(p.places, func(a, b place) int { return a.compare(&b) })
	}
	out := make([]Candidate, len(p.places))
	for i := range p.places {
		out[i] = Candidate{Offer: p.shelf.offers[p.places[i].index], Charge: p.places[i].charge}
	}
	return out
}

// nearest returns the nearest misses, when nothing was good.
func (p *podium) nearest() []Miss {
	if len(p.places) > 0 {
		return nil
	}
	var out []Miss
	for i := range p.misses {
		if p.misses[i].Reason != 0 {
			out = append(out, p.misses[i])
		}
	}
	return out
}

// Pricer returns a function that prices offers for a need, as the state knows
// their providers: Rank takes it. It computes each different price once, and says
// false for a provider whose device cannot take the need. It is valid until the
// state changes.
func (c *Contract) Pricer(s *ledger.State, need Need) func(Offer) (ledger.Amount, bool) {
	type spot struct {
		d0      uint64
		reserve ledger.Amount
	}
	type answer struct {
		charge ledger.Amount
		ok     bool
	}
	known := map[spot]answer{}
	pool := map[uint64]ledger.Amount{} // the curve's price at a demand, rounded down
	line, _ := c.params.Curve(need.Class, 0)
	return func(o Offer) (ledger.Amount, bool) {
		if o.Class != need.Class || c.fits(s, o.Provider, o.Class, need.Units, need.Seconds) != ledger.OK {
			return 0, false
		}
		at := spot{c.Position(o.Provider, o.Class), o.Reserve}
		price, ok := pool[at.d0]
		if !ok {
			if floor, _, err := line.Price(at.d0); err == nil && floor.IsUint64() {
				price = ledger.Amount(floor.Uint64())
			}
			pool[at.d0] = price
		}
		if at.reserve <= price {
			at.reserve = 0 // the curve is above it all the way
		}
		a, ok := known[at]
		if !ok {
			a.charge, a.ok = c.Charge(o.Provider, o.Class, need.Units, need.Seconds, at.reserve)
			known[at] = a
		}
		return a.charge, a.ok
	}
}
