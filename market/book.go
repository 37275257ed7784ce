package market

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"github.com/pinfi/pinfi/ledger"
)

// BookLimits bounds a Book. Every zero field means its default.
type BookLimits struct {
	Offers      int   // held at once; 100 000. Fewer: late sellers are not seen. More: memory, some 300 bytes each.
	PerProvider int   // classes in which one provider is held; MaxClasses
	Life        int64 // longest time to an offer's expiry, in milliseconds; 120 000
}

func (l BookLimits) withDefaults() BookLimits {
	l.Offers = cmp.Or(l.Offers, 100_000)
	l.PerProvider = cmp.Or(l.PerProvider, MaxClasses)
	l.Life = cmp.Or(l.Life, 120_000)
	return l
}

// A Book keeps the offers that a node has heard, one for each provider and class:
// the last by Seq. It is a set that merges by taking the later of two, so nodes
// that heard the same offers in any order hold the same book. It does not verify
// signatures: put in only offers that are Signed.
type Book struct {
	limits   BookLimits
	shelves  map[ledger.Class]*shelf
	held     map[ledger.Account]int // offers of each provider
	count    int
	earliest int64 // no offer expires before; at most that of the next to expire
}

// A shelf holds the offers of one class, in no order.
type shelf struct {
	offers []Offer
	at     map[ledger.Account]int
}

// NewBook returns an empty book.
func NewBook(limits BookLimits) *Book {
	return &Book{
		limits:  limits.withDefaults(),
		shelves: map[ledger.Class]*shelf{},
		held:    map[ledger.Account]int{},
	}
}

// Put adds an offer, or replaces the one that it follows, and reports whether the
// book changed. At the time now, in Unix milliseconds, it refuses an offer that
// has expired or that expires too far ahead, and a new one when the book is full.
func (b *Book) Put(now int64, o Offer) bool {
	if o.Expires <= now || o.Expires-now > b.limits.Life {
		return false
	}
	s := b.shelves[o.Class]
	if s != nil {
		if i, ok := s.at[o.Provider]; ok {
			if !later(&o, &s.offers[i]) {
				return false
			}
			s.offers[i] = o
			b.earliest = min(b.earliest, o.Expires)
			return true
		}
	}
	if b.count >= b.limits.Offers {
		b.Expire(now)
	}
	if b.count >= b.limits.Offers || b.held[o.Provider] >= b.limits.PerProvider {
		return false
	}
	b.add(o)
	return true
}

// later reports whether an offer replaces another of the same provider and class.
func later(o, old *Offer) bool {
	return cmp.Or(
		cmp.Compare(o.Seq, old.Seq), cmp.Compare(o.Expires, old.Expires), bytes.Compare(o.Sig[:], old.Sig[:])) > 0
}

func (b *Book) add(o Offer) {
	s := b.shelves[o.Class]
	if s == nil {
		s = &shelf{at: map[ledger.Account]int{}}
		b.shelves[o.Class] = s
	}
	s.at[o.Provider] = len(s.offers)
	s.offers = append(s.offers, o)
	if b.count == 0 || o.Expires < b.earliest {
		b.earliest = o.Expires
	}
	b.held[o.Provider]++
	b.count++
}

// Expire removes the offers that have expired at the time now, in Unix
// milliseconds, and returns how many. It costs nothing when none can have.
func (b *Book) Expire(now int64) int {
	if b.count == 0 || now < b.earliest {
		return 0
	}
	removed := 0
	b.earliest = 1<<63 - 1
	for class, s := range b.shelves { // order-free: each shelf by itself
		for i := 0; i < len(s.offers); {
			if s.offers[i].Expires <= now {
				b.remove(s, i)
				removed++
				continue
			}
			b.earliest = min(b.earliest, s.offers[i].Expires)
			i++
		}
		if len(s.offers) == 0 {
			delete(b.shelves, class)
		}
	}
	return removed
}

// remove takes an offer off its shelf; the last one takes its place.
func (b *Book) remove(s *shelf, i int) {
	provider := s.offers[i].Provider
	last := len(s.offers) - 1
	s.offers[i] = s.offers[last]
	s.at[s.offers[i].Provider] = i
	s.offers[last] = Offer{}
	s.offers = s.offers[:last]
	delete(s.at, provider)
	b.count--
	if b.held[provider]--; b.held[provider] == 0 {
		delete(b.held, provider)
	}
}

// Len returns the number of offers.
func (b *Book) Len() int { return b.count }

// Offer returns the offer of a provider in a class.
func (b *Book) Offer(provider ledger.Account, class ledger.Class) (Offer, bool) {
	s := b.shelves[class]
	if s == nil {
		return Offer{}, false
	}
	i, ok := s.at[provider]
	if !ok {
		return Offer{}, false
	}
	return s.offers[i], true
}

// Offers yields the offers of a class in a region, or in all of them when region
// is empty, in order of their providers. The book must not change meanwhile.
func (b *Book) Offers(class ledger.Class, region string) iter.Seq[Offer] {
	return func(yield func(Offer) bool) {
		s := b.shelves[class]
		if s == nil {
			return
		}
		var found []int
		for i := range s.offers {
			if region == "" || s.offers[i].Region == region {
				found = append(found, i)
			}
		}
		slices.SortFunc(found, func(i, j int) int { return s.offers[i].Provider.Compare(s.offers[j].Provider) })
		for _, i := range found {
			if !yield(s.offers[i]) {
				return
			}
		}
	}
}
