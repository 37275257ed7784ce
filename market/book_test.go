package market

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// someOffer draws an offer of few providers, so that many meet.
func someOffer(t *rapid.T) Offer {
	return Offer{
		Provider: name(rapid.Uint8Range(1, 4).Draw(t, "provider")),
		Class:    rapid.SampledFrom([]ledger.Class{small, "gpu.24"}).Draw(t, "class"),
		Region:   rapid.SampledFrom([]string{"eu", "us"}).Draw(t, "region"),
		Seq:      rapid.Uint64Range(1, 4).Draw(t, "seq"),
		Declared: 4000, Free: rapid.Uint64Range(0, 4).Draw(t, "free") * 1000,
		Reserve: ledger.Amount(rapid.Uint64Range(0, 3).Draw(t, "reserve")) * ledger.Token,
		Expires: rapid.Int64Range(1, 100).Draw(t, "expires"),
		Sig:     p2p.Signature{rapid.Byte().Draw(t, "sig")},
	}
}

func all(b *Book) []Offer {
	return append(slices.Collect(b.Offers(small, "")), slices.Collect(b.Offers("gpu.24", ""))...)
}

// [MKT-21] A book holds the last offer of each provider in each class, whatever
// the order in which offers arrive.
func TestBookMerges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offers := rapid.SliceOf(rapid.Custom(someOffer)).Draw(t, "offers")
		// One signature is one offer.
		slices.SortStableFunc(offers, func(a, b Offer) int { return int(a.Sig[0]) - int(b.Sig[0]) })
		offers = slices.CompactFunc(offers, func(a, b Offer) bool { return a.Sig == b.Sig })
		one, two := NewBook(BookLimits{}), NewBook(BookLimits{})
		for _, o := range offers {
			one.Put(0, o)
		}
		for _, o := range rapid.Permutation(offers).Draw(t, "order") {
			two.Put(0, o)
			two.Put(0, o)
		}
		if !slices.Equal(all(one), all(two)) {
			t.Fatalf("two orders, two books:\n%+v\n%+v", all(one), all(two))
		}
		for _, o := range all(one) {
			for _, x := range offers {
				if x.Provider == o.Provider && x.Class == o.Class && x.Seq > o.Seq {
					t.Fatalf("holds %d, saw %d", o.Seq, x.Seq)
				}
			}
		}
	})
}

// [MKT-22] Offers leave the book when they expire, and only then.
func TestBookExpires(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBook(BookLimits{})
		model := map[holding]Offer{}
		for now := int64(0); now < 100; now += rapid.Int64Range(1, 30).Draw(t, "pause") {
			for key, o := range model { // order-free: a test
				if o.Expires <= now {
					delete(model, key)
				}
			}
			b.Expire(now)
			for _, o := range rapid.SliceOfN(rapid.Custom(someOffer), 0, 5).Draw(t, "offers") {
				key := holding{o.Provider, o.Class}
				old, ok := model[key]
				want := o.Expires > now && (!ok || later(&o, &old))
				if got := b.Put(now, o); got != want {
					t.Fatalf("put: got %v, want %v", got, want)
				}
				if want {
					model[key] = o
				}
			}
			if b.Len() != len(model) {
				t.Fatalf("%d offers, want %d", b.Len(), len(model))
			}
			for key, want := range model { // order-free: a test
				if got, ok := b.Offer(key.provider, key.class); !ok || got != want {
					t.Fatalf("got %+v, %v, want %+v", got, ok, want)
				}
			}
		}
	})
}

// [MKT-22] A book is bounded, in all, for each provider, and in the time that an
// offer may ask for.
func TestBookBounds(t *testing.T) {
	b := NewBook(BookLimits{Offers: 3, PerProvider: 2, Life: 100})
	o := func(provider byte, class ledger.Class, seq uint64, expires int64) Offer {
		return Offer{Provider: name(provider), Class: class, Region: "eu", Seq: seq, Declared: 1, Expires: expires}
	}
	steps := []struct {
		name  string
		now   int64
		offer Offer
		want  bool
	}{
		{"expired", 10, o(1, "a", 1, 10), false},
		{"too far ahead", 10, o(1, "a", 1, 111), false},
		{"good", 10, o(1, "a", 1, 110), true},
		{"again", 10, o(1, "a", 1, 110), false},
		{"another class", 10, o(1, "b", 1, 50), true},
		{"one class too many", 10, o(1, "c", 1, 110), false},
		{"another provider", 10, o(2, "a", 1, 100), true},
		{"refreshed", 10, o(2, "a", 1, 110), true},
		{"an earlier expiry", 10, o(2, "a", 1, 100), false},
		{"full", 10, o(3, "a", 1, 110), false},
		{"full, but a newer one", 10, o(2, "a", 2, 110), true},
		{"an older one", 10, o(2, "a", 1, 110), false},
		{"room again", 50, o(3, "a", 1, 110), true},
	}
	for _, s := range steps {
		if got := b.Put(s.now, s.offer); got != s.want {
			t.Errorf("%s: got %v, want %v", s.name, got, s.want)
		}
	}
	if b.Len() != 3 {
		t.Errorf("%d offers, want 3", b.Len())
	}
}

// flat prices an offer at its reserve.
func flat(o Offer) (ledger.Amount, bool) { return o.Reserve, o.Seq != 4 }

// [MKT-23] Rank returns the offers that meet the need, all of them or the best,
// cheapest first, and equal ones in an order that the client's tie decides.
func TestRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBook(BookLimits{})
		for _, o := range rapid.SliceOf(rapid.Custom(someOffer)).Draw(t, "offers") {
			b.Put(0, o)
		}
		need := Need{
			Class: small, Region: rapid.SampledFrom([]string{"", "eu"}).Draw(t, "region"),
			Units: rapid.Uint64Range(0, 3).Draw(t, "units") * 1000, Most: rapid.IntRange(0, 3).Draw(t, "most"),
			Max: ledger.Amount(rapid.Uint64Range(0, 2).Draw(t, "max")) * ledger.Token,
		}
		tie := p2p.Digest{rapid.Byte().Draw(t, "tie")}
		got, misses := Rank(b, need, flat, tie)
		var want []Candidate
		for o := range b.Offers(small, need.Region) {
			if o.Free >= need.Units && o.Seq != 4 && (need.Max == 0 || o.Reserve <= need.Max) {
				want = append(want, Candidate{o, o.Reserve})
			}
		}
		lot := func(c Candidate) p2p.PeerID { return p2p.PeerID(p2p.Sum("pinfi/tie/1", tie[:], c.Offer.Provider[:])) }
		slices.SortFunc(want, func(a, b Candidate) int {
			if a.Charge != b.Charge {
				return int(int64(a.Charge) - int64(b.Charge))
			}
			return lot(a).Compare(lot(b))
		})
		if (len(want) == 0) != (len(misses) > 0) {
			t.Fatalf("%d matches and %d misses", len(want), len(misses))
		}
		if need.Most > 0 && len(want) > need.Most {
			want = want[:need.Most]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

// [MKT-23] The best of many equal offers are the first of all of them, whatever the
// order in which they came.
func TestRankTies(t *testing.T) {
	b := NewBook(BookLimits{})
	for i := range byte(50) {
		b.Put(0, Offer{Provider: name(i + 1), Class: small, Region: "eu", Declared: 1, Free: 1, Expires: 100})
	}
	every, _ := Rank(b, Need{Class: small, Units: 1}, flat, p2p.Digest{1})
	best, _ := Rank(b, Need{Class: small, Units: 1, Most: 5}, flat, p2p.Digest{1})
	if len(every) != 50 || !slices.Equal(best, every[:5]) {
		t.Errorf("got %+v\nwant %+v", best, every[:5])
	}
	other, _ := Rank(b, Need{Class: small, Units: 1, Most: 5}, flat, p2p.Digest{2})
	if slices.Equal(best, other) {
		t.Error("two clients with different ties choose alike")
	}
}

// [MKT-24] When nothing meets a need, Rank names the nearest miss for each single
// reason.
func TestMisses(t *testing.T) {
	put := func(offers ...Offer) *Book {
		b := NewBook(BookLimits{})
		for i, o := range offers {
			o.Provider, o.Class, o.Expires = name(byte(i+1)), small, 100
			b.Put(0, o)
		}
		return b
	}
	dear := Offer{Region: "eu", Free: 2000, Reserve: 9 * ledger.Token}
	dearer := Offer{Region: "eu", Free: 2000, Reserve: 10 * ledger.Token}
	tiny := Offer{Region: "eu", Free: 500}
	tinier := Offer{Region: "eu", Free: 400}
	far := Offer{Region: "us", Free: 2000}
	farTiny := Offer{Region: "us", Free: 500}
	unbacked := Offer{Region: "eu", Free: 2000, Seq: 4}
	type miss struct {
		reason   MissReason
		provider byte
		have     uint64
	}
	tests := []struct {
		name string
		book *Book
		want []miss
	}{
		{"nobody", put(), []miss{{MissClass, 0, 0}}},
		{"dear", put(dearer, dear), []miss{{MissPrice, 2, uint64(9 * ledger.Token)}}},
		{"tiny", put(tinier, tiny, tiny), []miss{{MissUnits, 2, 500}}},
		{"far", put(far), []miss{{MissRegion, 1, 2000}}},
		{"far and tiny", put(farTiny), []miss{{MissSeveral, 1, 500}}},
		{"unbacked", put(unbacked), []miss{{MissUnpriced, 1, 2000}}},
		{"all", put(far, tiny, dear, unbacked), []miss{
			{MissPrice, 3, uint64(9 * ledger.Token)}, {MissUnpriced, 4, 2000}, {MissUnits, 2, 500}, {MissRegion, 1, 2000},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			need := Need{Class: small, Region: "eu", Units: 1000, Seconds: 60, Max: ledger.Token}
			got, misses := Rank(tt.book, need, flat, p2p.Digest{})
			if len(got) != 0 || len(misses) != len(tt.want) {
				t.Fatalf("got %+v, %+v", got, misses)
			}
			for i, m := range misses {
				w := tt.want[i]
				if m.Reason != w.reason || m.Have != w.have || w.provider != 0 && m.Offer.Provider != name(w.provider) {
					t.Errorf("got %v of %v with %d, want %+v", m.Reason, m.Offer.Provider.Short(), m.Have, w)
				}
			}
		})
	}
}

// [MKT-23] The contract's prices are those that LeaseAccept must carry, and there
// is none for a provider that the ledger does not back.
func TestPricer(t *testing.T) {
	w := newWorld(t)
	w.accept(w.open(3000, 3600, 50*ledger.Token))
	need := Need{Class: small, Units: 1000, Seconds: 600}
	price := w.c.Pricer(w.s, need)
	for _, reserve := range []ledger.Amount{0, 1, 400_000_000, 550_000_000, 650_000_000, 9_000_000_000} {
		for _, provider := range w.seller {
			want, _ := w.c.Charge(provider, small, 1000, 600, reserve)
			for range 2 {
				got, ok := price(Offer{Provider: provider, Class: small, Reserve: reserve})
				if !ok || got != want {
					t.Errorf("reserve %v: got %v, %v, want %v", reserve, got, ok, want)
				}
			}
		}
	}
	if _, ok := price(Offer{Provider: name(99), Class: small}); ok {
		t.Error("a provider without a device has a price")
	}
	need.Units = 1001
	if _, ok := w.c.Pricer(w.s, need)(Offer{Provider: w.seller[0], Class: small}); ok {
		t.Error("a provider has a price for more than it has left")
	}
}

// bigBook returns a book of n offers at few different reserve prices.
func bigBook(n int) (*Book, []Offer) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := NewBook(BookLimits{Offers: n})
	offers := make([]Offer, n)
	for i := range offers {
		o := &offers[i]
		binary.BigEndian.PutUint64(o.Provider[:], rng.Uint64())
		o.Class, o.Region, o.Seq, o.Expires = small, "eu", 1, 60_000
		o.Declared, o.Free = 4000, rng.Uint64N(4001)
		o.Reserve = ledger.Amount(rng.Uint64N(40)) * 50_000_000
		b.Put(0, *o)
	}
	return b, offers
}

func BenchmarkRank(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("offers=%d", n), func(b *testing.B) {
			book, _ := bigBook(n)
			need := Need{Class: small, Region: "eu", Units: 2000, Seconds: 600, Most: 8}
			b.ReportAllocs()
			for b.Loop() {
				Rank(book, need, flat, p2p.Digest{1})
			}
		})
	}
}

func BenchmarkPut(b *testing.B) {
	book, offers := bigBook(100_000)
	b.ReportAllocs()
	seq, i := uint64(2), 0
	for b.Loop() {
		o := offers[i]
		o.Seq = seq
		book.Put(0, o)
		if i++; i == len(offers) {
			seq, i = seq+1, 0
		}
	}
}
