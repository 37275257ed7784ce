package curve_test

import (
	"fmt"

	"github.com/pinfi/pinfi/market/curve"
)

// A class of 64 CU, of which 10 are in use, sells one more for an hour.
func ExampleParams_Charge() {
	p := curve.Params{P0: 2_000_000_000, Quarters: 3, Capacity: 64_000, Floor: 3_200}
	charge, err := p.Charge(10_000, 11_000, 3600)
	if err != nil {
		fmt.Println(err)
		return
	}
	split := curve.SplitOf(charge, 2000, 9000)
	fmt.Println("charge", charge, "atoms: burned", split.Burn, "provider", split.Serve, "stakers", split.Stakers)
	// Output: charge 515532684 atoms: burned 103106537 provider 371183532 stakers 41242615
}
