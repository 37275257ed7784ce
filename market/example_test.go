package market_test

import (
	"fmt"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
)

// A client ranks the offers of its book.
func ExampleRank() {
	book := market.NewBook(market.BookLimits{})
	for i := range 3 {
		book.Put(0, market.Offer{
			Provider: ledger.Account{byte(i + 1)}, Class: "cpu.small", Region: "eu", Seq: 1,
			Declared: 4000, Free: 4000, Reserve: ledger.Amount(3 - i), Expires: 60_000,
		})
	}
	price := func(o market.Offer) (ledger.Amount, bool) { return o.Reserve, true } // a node uses Contract.Pricer
	need := market.Need{Class: "cpu.small", Units: 1000, Seconds: 600, Most: 2}
	best, _ := market.Rank(book, need, price, p2p.Digest{})
	for _, c := range best {
		fmt.Println(c.Offer.Provider.Short(), c.Charge)
	}
	// Output:
	// 03000000 1
	// 02000000 2
}
