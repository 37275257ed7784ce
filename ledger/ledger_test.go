package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

// testNetwork is the network of all tests here.
var testNetwork = p2p.Network{0x1a, 0x2b, 0x3c, 0x4d}

// who returns the account whose first byte is c.
func who(c byte) Account { return Account{c} }

// newGenesis returns a genesis in which a, b and c own 1000 atoms each and w, x
// and y vote.
func newGenesis() *Genesis {
	return &Genesis{
		Name: "test", Start: 1, SlotMillis: 500, EpochMillis: 3000, MinFee: 10,
		Alloc: []Alloc{{who('a'), 1000}, {who('b'), 1000}, {who('c'), 1000}},
		Witnesses: []Witness{
			{Account: who('w'), Stake: 50, VRF: p2p.VRFKey{1}},
			{Account: who('x'), Stake: 30, VRF: p2p.VRFKey{2}},
			{Account: who('y'), Stake: 20, VRF: p2p.VRFKey{3}},
		},
	}
}

// newState returns the state at newGenesis with the vault contract.
func newState(t testing.TB) *State {
	t.Helper()
	s, err := New(testNetwork, newGenesis(), []Contract{newVault()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A vault is a contract for tests that touches every bucket. LeaseOpen sets money
// aside; LeaseClose, by anybody, pays it out in four parts. It remembers which
// operation closed a lease.
type vault struct{ closed map[OpID]OpID }

func newVault() *vault { return &vault{map[OpID]OpID{}} }

func (v *vault) Kinds() []Kind { return []Kind{KindLeaseOpen, KindLeaseClose} }

func (v *vault) Decode(k Kind, body []byte) (any, error) {
	r := wire.NewReader(body)
	if k == KindLeaseOpen {
		a := Amount(r.U64())
		return a, r.Close()
	}
	id := OpID{}
	r.Into(id[:])
	return id, r.Close()
}

func (v *vault) Check(s *State, op *Op, body any) Result {
	switch b := body.(type) {
	case Amount:
		if s.Funds(op) < b {
			return InsufficientBalance
		}
	case OpID:
		if s.EscrowOf(b) == 0 {
			return UnknownLease
		}
	}
	return OK
}

func (v *vault) Apply(tx *Tx, op *Op, body any) {
	switch b := body.(type) {
	case Amount:
		tx.Move(LaneOf(op.Account, op.Lane), Escrow(tx.ID()), b/2)
		tx.Move(LaneOf(op.Account, op.Lane), Escrow(tx.ID()), b-b/2)
	case OpID:
		a := tx.State().EscrowOf(b)
		tx.Move(Escrow(b), Burned(), a/8)
		tx.Move(Escrow(b), Pot("gpu"), a/8)
		tx.Move(Escrow(b), CreditTo(op.Account), a/4)
		tx.Move(Escrow(b), CreditTo(op.Account), a/8)
		tx.Move(Escrow(b), CreditTo(who('a')), a-a/8-a/8-a/4-a/8)
		v.closed[b] = tx.ID()
		tx.Touch(b[:])
	}
}

func (v *vault) Leaf(key []byte) ([]byte, bool) {
	by, ok := v.closed[OpID(key)]
	return by[:], ok
}

func (v *vault) Reset() { clear(v.closed) }

// draft returns the next operation of a lane, with the least fee that its kind
// allows.
func draft(s *State, account Account, lane Lane, k Kind, body []byte) *Op {
	seq, head := s.Head(account, lane)
	op := &Op{Chain: s.Chain(), Kind: k, Lane: lane, Account: account, Seq: seq + 1, Prev: head, Body: body}
	if k.PaysFee() {
		op.Fee = s.Genesis().MinFee
	}
	return op
}

// wantAudit fails unless every atom is where the sums say.
func wantAudit(t rapid.TB, s *State) {
	t.Helper()
	if err := s.Audit(); err != nil || !s.Conserved() {
		t.Fatalf("conserved %v, audit: %v", s.Conserved(), err)
	}
}

// randomKinds are the kinds that randomOp draws; rapid prefers the first.
var randomKinds = []Kind{
	KindHashLock, KindHashClaim, KindTransfer, KindDeviceRetire, KindDeviceRegister, KindStakeBond, KindLaneMove, KindBurn,
	KindHashLock, KindHashClaim, KindTransfer, KindLeaseOpen, KindLeaseClose,
}

// randomOp draws an operation that may or may not be applicable.
func randomOp(t *rapid.T, s *State, opened []OpID) *Op {
	account := rapid.SampledFrom([]Account{who('a'), who('b'), who('c'), who('d')}).Draw(t, "account")
	lane := Lane(rapid.SampledFrom([]int{0, 0, 0, 1, 255}).Draw(t, "lane"))
	return randomOn(t, s, account, lane, rapid.SampledFrom(randomKinds).Draw(t, "kind"), opened)
}

// randomOn is randomOp on a lane, of a kind.
func randomOn(t *rapid.T, s *State, account Account, lane Lane, k Kind, opened []OpID) *Op {
	op := draft(s, account, lane, k, randomBody(t, s, k, opened))
	op.Fee += Amount(rapid.IntRange(-1, 2).Draw(t, "fee"))
	if op.Fee > 1<<63 {
		op.Fee = 0
	}
	if rapid.Bool().Draw(t, "claim") {
		op.Claims = claimsOf(s, account)
	}
	return op
}

// randomBody draws a body that decodes.
func randomBody(t *rapid.T, s *State, k Kind, opened []OpID) []byte {
	amount := Amount(rapid.SampledFrom([]uint64{1, 1, 7, 7, 100, 300, 900, 1 << 63}).Draw(t, "amount"))
	to := rapid.SampledFrom([]Account{who('a'), who('b'), who('d')}).Draw(t, "to")
	class := Class(rapid.SampledFrom([]string{"cpu", "gpu"}).Draw(t, "class"))
	secret := [32]byte{rapid.Byte().Draw(t, "secret") % 2}
	switch k {
	case KindTransfer:
		return Transfer{to, amount}.Encode()
	case KindLaneMove:
		return LaneMove{Lane(rapid.SampledFrom([]int{0, 1, 255}).Draw(t, "to lane")), amount}.Encode()
	case KindBurn:
		return Burn{amount}.Encode()
	case KindDeviceRegister:
		return DeviceRegister{class, uint64(amount)}.Encode()
	case KindDeviceRetire:
		return DeviceRetire{class}.Encode()
	case KindStakeBond:
		role := rapid.SampledFrom([]Role{RoleWitness, RoleProvider}).Draw(t, "role")
		return StakeBond{Role: role, Amount: amount, Class: class, VRF: p2p.VRFKey{1, secret[0]}}.Encode()
	case KindHashLock:
		return HashLock{To: to, Amount: amount, Hash: sha256.Sum256(secret[:])}.Encode()
	case KindHashClaim:
		id := OpID{1}
		if locks := slices.SortedFunc(maps.Keys(s.locks), OpID.Compare); len(locks) > 0 {
			id = rapid.SampledFrom(locks).Draw(t, "lock")
		}
		return HashClaim{id, secret}.Encode()
	case KindLeaseOpen:
		return binary.BigEndian.AppendUint64(nil, uint64(amount))
	default:
		id := OpID{}
		if len(opened) > 0 {
			id = rapid.SampledFrom(opened).Draw(t, "lease")
		}
		return id[:]
	}
}

// claimsOf returns claims of all credits to an account.
func claimsOf(s *State, account Account) []Claim {
	var out []Claim
	for _, c := range s.Unclaimed(account) {
		if n := len(out); n > 0 && out[n-1].From == c.From && out[n-1].Lane == c.Lane {
			out[n-1].Upto = c.Seq
			continue
		}
		out = append(out, Claim{c.From, c.Lane, c.Seq})
	}
	return out[:min(len(out), MaxClaims)]
}

// [LED-5] Money is conserved after every operation, and no refusal changes anything.
// [LED-9] The same operations in any order that respects lanes give the same root.
func TestStateProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newState(t)
		var applied []*Op
		var opened []OpID
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			op := randomOp(rt, s, opened)
			before := s.Root()
			if s.Apply(op) != OK {
				if s.Root() != before {
					rt.Fatalf("refused %v changed the state", op)
				}
				continue
			}
			wantAudit(rt, s)
			applied = append(applied, op)
			if op.Kind == KindLeaseOpen {
				opened = append(opened, op.ID())
			}
			if r := s.Apply(op); r != BadSeq {
				rt.Fatalf("%v applied twice: %v", op, r)
			}
		}
		other := newState(t)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "order"), 0))
		left := applied
		for len(left) > 0 {
			rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
			var later []*Op
			for _, op := range left {
				if other.Apply(op) != OK {
					later = append(later, op)
				}
				wantAudit(rt, other)
			}
			if len(later) == len(left) {
				rt.Fatalf("%d operations never apply in another order", len(later))
			}
			left = later
		}
		if s.Root() != other.Root() || s.Supply() != other.Supply() {
			rt.Fatalf("two orders, two states: %+v, %+v", s.Supply(), other.Supply())
		}
		s.Reset()
		if s.Root() != newState(t).Root() {
			rt.Fatal("reset is not genesis")
		}
	})
}

// [LED-6] An operation that takes what is not its own is a bug that stops the process.
func TestMovePanics(t *testing.T) {
	s := newState(t)
	op := draft(s, who('a'), 0, KindTransfer, Transfer{who('b'), 1}.Encode())
	for name, move := range map[string][2]Bucket{
		"another's lane":       {LaneOf(who('b'), 0), Burned()},
		"own other lane":       {LaneOf(who('a'), 1), Burned()},
		"into another's lane":  {LaneOf(who('a'), 0), LaneOf(who('b'), 0)},
		"from credits":         {CreditTo(who('a')), LaneOf(who('a'), 0)},
		"from what was burned": {Burned(), LaneOf(who('a'), 0)},
		"from an empty escrow": {Escrow(OpID{1}), LaneOf(who('a'), 0)},
		"from an empty pot":    {Pot("gpu"), LaneOf(who('a'), 0)},
		"more than there is":   {LaneOf(who('a'), 0), Burned()},
		"more than the bond":   {Bond(who('w')), Burned()},
		"from no such bond":    {ProviderBond(who('w'), "gpu"), Burned()},
		"nowhere":              {LaneOf(who('a'), 0), Bucket{}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Errorf("moved %v to %v", move[0], move[1])
				}
			}()
			tx := &Tx{state: s, op: op, id: op.ID()}
			tx.Move(move[0], move[1], 1001)
		})
	}
}

func TestGenesisValidate(t *testing.T) {
	for name, spoil := range map[string]func(*Genesis){
		"no name":         func(g *Genesis) { g.Name = "" },
		"before 1970":     func(g *Genesis) { g.Start = -1 },
		"no slot":         func(g *Genesis) { g.SlotMillis = 0 },
		"short epoch":     func(g *Genesis) { g.EpochMillis = 499 },
		"no witness":      func(g *Genesis) { g.Witnesses = nil },
		"many witnesses":  func(g *Genesis) { g.Witnesses = make([]Witness, MaxWitnesses+1) },
		"one twice":       func(g *Genesis) { g.Alloc[1].Account = who('a') },
		"nothing":         func(g *Genesis) { g.Alloc[1].Amount = 0 },
		"nobody":          func(g *Genesis) { g.Alloc[1].Account = Account{} },
		"more than all":   func(g *Genesis) { g.Alloc[0].Amount = MaxSupply },
		"far more":        func(g *Genesis) { g.Alloc[0].Amount = ^Amount(0) },
		"no stake":        func(g *Genesis) { g.Witnesses[2].Stake = 0 },
		"a witness twice": func(g *Genesis) { g.Witnesses[2].Account = who('w') },
	} {
		g := newGenesis()
		spoil(g)
		if g.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		if _, err := New(testNetwork, g, nil); err == nil {
			t.Errorf("%s: a state of it", name)
		}
	}
	if err := newGenesis().Validate(); err != nil {
		t.Error(err)
	}
	if _, err := New(testNetwork, newGenesis(), []Contract{newVault(), newVault()}); err == nil {
		t.Error("two contracts of one kind")
	}
}

// [LED-10] A device is registered on lane 0, and again only with a larger capacity.
func TestDevices(t *testing.T) {
	s := newState(t)
	for i, tt := range []struct {
		d    DeviceRegister
		lane Lane
		want Result
	}{
		{DeviceRegister{"gpu", 5}, 0, OK},
		{DeviceRegister{"cpu", 1}, 0, OK},
		{DeviceRegister{"gpu", 5}, 0, AlreadyDone},
		{DeviceRegister{"gpu", 4}, 0, AlreadyDone},
		{DeviceRegister{"gpu", 9}, 1, BadLane},
		{DeviceRegister{"gpu", 9}, 0, OK},
	} {
		for _, c := range []byte("ba") {
			if r := s.Apply(draft(s, who(c), tt.lane, KindDeviceRegister, tt.d.Encode())); r != tt.want {
				t.Errorf("%d: %v, want %v", i, r, tt.want)
			}
		}
	}
	got := fmt.Sprint(s.Device(who('a'), "gpu"))
	if want := fmt.Sprint(Device{Owner: who('a'), Class: "gpu", Declared: 9}, true); got != want {
		t.Fatalf("device %v, want %v", got, want)
	}
	var owners []Account
	for d := range s.Devices("gpu") {
		owners = append(owners, d.Owner)
	}
	if fmt.Sprint(owners) != fmt.Sprint([]Account{who('a'), who('b')}) {
		t.Fatalf("owners %v", owners)
	}
	if _, ok := s.Device(who('a'), "tpu"); ok {
		t.Fatal("a device nobody registered")
	}
}

// [LED-27] An account has devices of at most 16 classes.
func TestMaxClasses(t *testing.T) {
	s := newState(t)
	register := func(class string, declared uint64) Result {
		body := DeviceRegister{Class(class), declared}.Encode()
		return s.Apply(draft(s, who('a'), 0, KindDeviceRegister, body))
	}
	for i := range MaxClasses {
		if r := register(fmt.Sprint("class-", i), 1); r != OK {
			t.Fatalf("class %d: %v", i, r)
		}
	}
	if r := register("more", 1); r != Full {
		t.Errorf("class %d: %v, want %v", MaxClasses, r, Full)
	}
	if r := register("class-3", 2); r != OK {
		t.Errorf("more of a class that is there: %v", r)
	}
	s.Reset()
	if r := register("more", 1); r != OK {
		t.Errorf("after a reset: %v", r)
	}
}

func BenchmarkApply(b *testing.B) {
	s := newState(b)
	ops := make([]*Op, b.N)
	prev := OpID{}
	s.put(LaneOf(who('a'), 0), nil, MaxSupply/2)
	for i := range ops {
		ops[i] = &Op{
			Chain: s.Chain(), Kind: KindTransfer, Account: who('a'), Seq: uint64(i) + 1, Prev: prev, Fee: 10,
			Body: Transfer{Account{'z', byte(i), byte(i >> 8)}, 1}.Encode(),
		}
		prev = ops[i].ID()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, op := range ops {
		if r := s.Apply(op); r != OK {
			b.Fatal(r)
		}
	}
}
