package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
)

// Config is what a Machine is told about itself at birth.
type Config struct {
	Self    p2p.PeerID
	Genesis *Genesis
	Crypto  p2p.Crypto
	Rand    *rand.Rand // the only source of chance
	Sell    *Sell      // nil: this node sells nothing
	Timing  Timing
	Limits  Limits
}

// Sell is what a provider offers.
type Sell struct {
	Class   ledger.Class
	Region  string
	Units   uint64        // declared capacity, in mCU
	Reserve ledger.Amount // least price, in atoms per CU-hour; 0: the pool's price is enough
}

// Timing holds how often a machine does things and how long it waits. Every zero
// field means its default.
type Timing struct {
	// Frame is the least time between two frames of a witness; 100 ms. Smaller:
	// more traffic. Larger: slower payments.
	Frame    time.Duration
	Retry    time.Duration // until a message without an answer is sent again; 1 s
	Offer    time.Duration // between two refreshes of an offer; 15 s. An offer lives four times as long.
	Sync     time.Duration // between two exchanges of frame heads with a random peer; 1 s
	Quote    time.Duration // how long quotes are collected; 400 ms
	Voucher  time.Duration // between two reports of a running job, and so between two vouchers; 1 s
	Patience time.Duration // without a word from a provider before the task goes to another one; 10 s
	Load     time.Duration // from a lease to the start of its process, while module and input come; 10 min
	Search   time.Duration // without any provider that could take a task before the job fails; 60 s
	Grace    time.Duration // unpaid running time before a provider stops a job, and wait for a last voucher; 20 s
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&t.Frame, 100*time.Millisecond)
	set(&t.Retry, time.Second)
	set(&t.Offer, 15*time.Second)
	set(&t.Sync, time.Second)
	set(&t.Quote, 400*time.Millisecond)
	set(&t.Voucher, time.Second)
	set(&t.Patience, 10*time.Second)
	set(&t.Load, 10*time.Minute)
	set(&t.Search, time.Minute)
	set(&t.Grace, 20*time.Second)
	return t
}

// Limits bounds what a machine holds on behalf of others. Every zero field means
// its default.
type Limits struct {
	Peers    int // connected peers it keeps in mind, witnesses besides; 1 000
	Sales    int // leases it serves at once; 256
	Jobs     int // jobs it holds, ended ones included; 1 000
	Sessions int // storms that it proves or judges at once; 64
	Inbox    int // operations and frames that wait until they are verified and added; 4 096
}

func (l Limits) withDefaults() Limits {
	set := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	set(&l.Peers, 1000)
	set(&l.Sales, 256)
	set(&l.Jobs, 1000)
	set(&l.Sessions, 64)
	set(&l.Inbox, 4096)
	return l
}

func (c *Config) validate() error {
	var errs []error
	if c.Self.IsZero() {
		errs = append(errs, errors.New("config: Self is not set"))
	}
	if c.Genesis == nil {
		return errors.Join(append(errs, errors.New("config: Genesis is not set"))...)
	}
	if c.Rand == nil {
		errs = append(errs, errors.New("config: Rand is not set"))
	}
	if slices.Contains([]bool{
		c.Crypto.Sign == nil, c.Crypto.Verify == nil, c.Crypto.VerifyBatch == nil,
		c.Crypto.ProveVRF == nil, c.Crypto.VerifyVRF == nil,
	}, true) {
		errs = append(errs, errors.New("config: Crypto has a function that is not set"))
	}
	if c.Sell != nil {
		if _, ok := c.Genesis.Market.ClassIndex(c.Sell.Class); !ok {
			errs = append(errs, fmt.Errorf("config: class %q is not in the genesis; it has %v",
				c.Sell.Class, c.Genesis.Market.ClassNames()))
		}
		if c.Sell.Units == 0 {
			errs = append(errs, errors.New("config: Sell.Units is 0, want at least 1 mCU"))
		}
	}
	return errors.Join(errs...)
}
