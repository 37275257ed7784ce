package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// vectors are operations whose bytes are published in testdata/vectors.
func vectors() map[string]*Op {
	id := p2p.IdentityFromSeed([32]byte{1})
	full := &Op{
		Chain: 0x1a2b3c4d, Kind: KindTransfer, Account: id.PeerID(), Seq: 2, Prev: OpID{0xaa, 31: 0xbb}, Fee: 10,
		Claims: []Claim{{who('a'), 0, 7}, {who('a'), 3, 1 << 40}, {who('b'), 0, 1}},
		Body:   Transfer{who('c'), 21 * Token}.Encode(),
	}
	out := map[string]*Op{
		"op-transfer": full,
		"op-least":    {Seq: 1, Account: id.PeerID()},
		"op-lane-move": {
			Chain: 1, Kind: KindLaneMove, Lane: 1, Account: id.PeerID(), Seq: 1, Epoch: 9,
			Body: LaneMove{2, 5}.Encode(),
		},
		"op-device-register": {
			Chain: 1, Kind: KindDeviceRegister, Account: id.PeerID(), Seq: 1,
			Body: DeviceRegister{"gpu-small", 4000}.Encode(),
		},
		"op-device-retire": {
			Chain: 1, Kind: KindDeviceRetire, Account: id.PeerID(), Seq: 1, Fee: 1,
			Body: DeviceRetire{"gpu-small"}.Encode(),
		},
		"op-stake-bond-witness": {
			Chain: 1, Kind: KindStakeBond, Account: id.PeerID(), Seq: 1, Fee: 1,
			Body: StakeBond{Role: RoleWitness, Amount: 5, VRF: p2p.VRFKey{7, 31: 8}}.Encode(),
		},
		"op-stake-bond-provider": {
			Chain: 1, Kind: KindStakeBond, Account: id.PeerID(), Seq: 1, Fee: 1,
			Body: StakeBond{Role: RoleProvider, Amount: 5, Class: "gpu-small"}.Encode(),
		},
		"op-hash-lock": {
			Chain: 1, Kind: KindHashLock, Lane: 3, Account: id.PeerID(), Seq: 1, Fee: 1,
			Body: HashLock{who('c'), 5, sha256.Sum256(make([]byte, 32)), 9}.Encode(),
		},
		"op-hash-claim": {
			Chain: 1, Kind: KindHashClaim, Account: id.PeerID(), Seq: 1, Body: HashClaim{OpID{0xdd}, [32]byte{}}.Encode(),
		},
		"op-burn": {Chain: 1, Kind: KindBurn, Account: id.PeerID(), Seq: 1, Fee: 1, Body: Burn{5}.Encode()},
	}
	for _, op := range out { // order-free: each by itself
		op.Sig = id.Sign(op.SigningDigest())
	}
	return out
}

// wantVector compares bytes with a file, or writes it with -update.
func wantVector(t *testing.T, name, note string, b []byte) {
	t.Helper()
	path := filepath.Join("testdata", "vectors", name+".txt")
	text := fmt.Sprintf("# %s\n%s\n", note, hex.EncodeToString(b))
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != text {
		t.Errorf("%s\n got %s\nwant %s", name, text, want)
	}
}

// [LED-1] An operation has one encoding of at most 1024 bytes, as the vectors show.
func TestVectors(t *testing.T) {
	for name, op := range vectors() {
		wantVector(t, name, "id = "+op.ID().String(), op.Encode())
		back, err := DecodeOp(op.Encode())
		if err != nil || fmt.Sprint(back) != fmt.Sprint(op) {
			t.Errorf("%s decodes to %v, %v", name, back, err)
		}
		if op.Size() != len(op.Encode()) {
			t.Errorf("%s: size %d, %d bytes", name, op.Size(), len(op.Encode()))
		}
		if !p2p.Verify(op.Account, op.SigningDigest(), op.Sig) {
			t.Errorf("%s: signature does not verify", name)
		}
	}
	beat := &Beat{Slot: 77, Witness: 3, Proof: p2p.VRFProof{1, 79: 2}}
	wantVector(t, "beat", "slot = 77, witness = 3", beat.Encode())
	w := wire.NewWriter(0)
	newGenesis().AppendTo(w)
	wantVector(t, "genesis", "of newGenesis", w.Bytes())
	wantVector(t, "root", "root at newGenesis", rootOf(newState(t)))
}

// rootOf returns the root as a slice.
func rootOf(s *State) []byte {
	root := s.Root()
	return root[:]
}

// [LED-2] What decodes encodes to the same bytes; anything else is refused.
func FuzzDecodeOp(f *testing.F) {
	for _, op := range vectors() {
		f.Add(op.Encode())
		f.Add(op.Encode()[:100])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		op, err := DecodeOp(b)
		if err != nil {
			return
		}
		if !bytes.Equal(op.Encode(), b) {
			t.Fatalf("%x encodes to %x", b, op.Encode())
		}
		s := newState(t)
		op.Chain = s.Chain()
		s.Check(op)
		if c, err := (core{}).Decode(op.Kind, op.Body); err == nil {
			if e, ok := c.(interface{ Encode() []byte }); !ok || !bytes.Equal(e.Encode(), op.Body) {
				t.Fatalf("body %x encodes otherwise", op.Body)
			}
		}
	})
}

// FuzzDecodeBeat checks that a beat has one encoding.
func FuzzDecodeBeat(f *testing.F) {
	f.Add((&Beat{Slot: 1, Witness: 2}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if beat, err := DecodeBeat(b); err == nil && !bytes.Equal(beat.Encode(), b) {
			t.Fatalf("%x encodes to %x", b, beat.Encode())
		}
	})
}

func TestDecodeOpRefuses(t *testing.T) {
	good := vectors()["op-transfer"]
	swapped, twice := *good, *good
	swapped.Claims = []Claim{good.Claims[1], good.Claims[0]}
	twice.Claims = []Claim{good.Claims[0], good.Claims[0]}
	version := good.Encode()
	version[0] = 2
	long := *good
	long.Body = make([]byte, MaxOp-long.Size()+len(long.Body))
	if _, err := DecodeOp(long.Encode()); err != nil {
		t.Errorf("the longest operation: %v", err)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "claims out of order": swapped.Encode(), "a claim twice": twice.Encode(),
		"short": good.Encode()[:200], "trailing": append(good.Encode(), 0), "version": version,
		"too long": append(long.Encode(), 0),
	} {
		if op, err := DecodeOp(b); err == nil {
			t.Errorf("%s: %v", name, op)
		}
	}
	long.Body = append(long.Body, 0)
	defer func() {
		if recover() == nil {
			t.Error("an operation over the limit was encoded")
		}
	}()
	long.Encode()
}

// [LED-43] A body that is short, long, of an unknown role, or that holds a zero where it
// may not is refused; of every kind those that are good are read.
func TestBodiesRefuse(t *testing.T) {
	to, hash, key := who('c'), [32]byte{1}, p2p.VRFKey{1}
	for k, bodies := range map[Kind][]interface{ Encode() []byte }{ // the good one first
		KindTransfer:       {Transfer{to, 1}, Transfer{to, 0}, Transfer{Account{}, 1}},
		KindLaneMove:       {LaneMove{0, 1}, LaneMove{1, 0}},
		KindBurn:           {Burn{1}, Burn{0}},
		KindDeviceRegister: {DeviceRegister{"gpu", 1}, DeviceRegister{"", 1}, DeviceRegister{"gpu", 0}},
		KindDeviceRetire:   {DeviceRetire{"gpu"}, DeviceRetire{""}},
		KindStakeBond: {
			StakeBond{Role: RoleWitness, Amount: 1, VRF: key},
			StakeBond{Role: RoleWitness, VRF: key},
			StakeBond{Role: RoleWitness, Amount: 1},
			StakeBond{Role: RoleProvider, Amount: 1},
			StakeBond{Role: RoleProvider, Class: "gpu"},
		},
		KindHashLock: {
			HashLock{to, 1, hash, 0}, HashLock{to, 0, hash, 1}, HashLock{Account{}, 1, hash, 1}, HashLock{to, 1, [32]byte{}, 1},
		},
		KindHashClaim: {HashClaim{OpID{1}, [32]byte{}}, HashClaim{OpID{}, hash}},
	} {
		good := bodies[0].Encode()
		if v, err := (core{}).Decode(k, good); err != nil || v != bodies[0] {
			t.Errorf("%v: %+v, %v, want %+v", k, v, err, bodies[0])
		}
		for i := range good {
			if v, err := (core{}).Decode(k, good[:i]); err == nil {
				t.Errorf("%v of %d bytes: %+v", k, i, v)
			}
		}
		bad := [][]byte{append(good, 0)}
		for _, b := range bodies[1:] {
			bad = append(bad, b.Encode())
		}
		for _, b := range bad {
			if v, err := (core{}).Decode(k, b); err == nil {
				t.Errorf("%v %x: %+v", k, b, v)
			}
		}
	}
	for _, role := range []byte{0, 3, 255} {
		body := StakeBond{Role: RoleWitness, Amount: 1, VRF: key}.Encode()
		body[0] = role
		if v, err := (core{}).Decode(KindStakeBond, body); err == nil {
			t.Errorf("bond of role %d: %+v", role, v)
		}
	}
	if v, err := (core{}).Decode(KindDeviceRetire, DeviceRetire{Class(make([]byte, MaxClass+1))}.Encode()); err == nil {
		t.Errorf("a class of %d bytes: %+v", MaxClass+1, v)
	}
}

// [LED-3] Amounts neither wrap nor round silently.
func TestAmount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 9), rapid.SampledFrom([]uint64{1 << 63, ^uint64(0)}))
		a, b, num, den := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "num"), word.Draw(t, "den")
		x, y := new(big.Int).SetUint64(a), new(big.Int).SetUint64(b)
		want := func(op string, got Amount, ok bool, exact *big.Int) {
			if ok != exact.IsUint64() || ok && uint64(got) != exact.Uint64() {
				t.Fatalf("%s of %d, %d, %d, %d: %d, %v, want %v", op, a, b, num, den, got, ok, exact)
			}
		}
		sum, ok := Amount(a).Add(Amount(b))
		want("add", sum, ok, new(big.Int).Add(x, y))
		diff, ok := Amount(a).Sub(Amount(b))
		want("sub", diff, ok, new(big.Int).Sub(x, y))
		parsed, err := ParseAmount(Amount(a).String())
		if err != nil || parsed != Amount(a) {
			t.Fatalf("parse %d: %v, %v", a, parsed, err)
		}
		floor, okFloor := MulDivFloor(Amount(a), num, den)
		ceil, okCeil := MulDivCeil(Amount(a), num, den)
		if den == 0 {
			if okFloor || okCeil {
				t.Fatal("divided by zero")
			}
			return
		}
		product := new(big.Int).Mul(x, new(big.Int).SetUint64(num))
		q, rest := new(big.Int).QuoRem(product, new(big.Int).SetUint64(den), new(big.Int))
		want("floor", floor, okFloor, q)
		if rest.Sign() > 0 {
			q = new(big.Int).Add(q, big.NewInt(1))
		}
		want("ceil", ceil, okCeil, q)
	})
	for _, s := range []string{"", "-1", "01", "+1", "1.5", "18446744073709551616", " 1"} {
		if a, err := ParseAmount(s); err == nil {
			t.Errorf("%q is %v", s, a)
		}
	}
}

// [LED-11] Witnesses beat in proportion to their stake, and only when scheduled.
func TestBeats(t *testing.T) {
	g := newGenesis()
	ids := map[Account]*p2p.Identity{}
	for i := range g.Witnesses {
		id := p2p.IdentityFromSeed([32]byte{byte(i + 1)})
		g.Witnesses[i].Account, g.Witnesses[i].VRF = id.PeerID(), id.VRFKey()
		ids[id.PeerID()] = id
	}
	beacon := GenesisBeacon(testNetwork)
	counts := make([]int, len(g.Witnesses))
	for s := range Slot(10_000) {
		counts[Schedule(g, beacon, s)]++
	}
	for i, w := range g.Witnesses {
		if want := 100 * int(w.Stake); counts[i] < want-200 || counts[i] > want+200 {
			t.Errorf("witness %d with %v %% of the stake beats %d times in 10000", i, w.Stake, counts[i])
		}
	}
	seen := map[p2p.Digest]bool{}
	for s := range Slot(20) {
		b := &Beat{Slot: s, Witness: Schedule(g, beacon, s)}
		b.Proof = ids[g.Witnesses[b.Witness].Account].ProveVRF(BeatAlpha(beacon, s))
		out, ok := b.Verify(g, beacon, p2p.VerifyVRF)
		if !ok || seen[out] {
			t.Fatalf("slot %d: %v, seen %v", s, ok, seen[out])
		}
		seen[out] = true
		for name, bad := range map[string]Beat{
			"slot":    {Slot: s + 1000, Witness: b.Witness, Proof: b.Proof},
			"witness": {Slot: s, Witness: (b.Witness + 1) % 3, Proof: b.Proof},
			"nobody":  {Slot: s, Witness: 99, Proof: b.Proof},
			"proof":   {Slot: s, Witness: b.Witness},
		} {
			if _, ok := bad.Verify(g, beacon, p2p.VerifyVRF); ok {
				t.Errorf("slot %d: beat of a wrong %s verifies", s, name)
			}
		}
	}
}

// TestWords checks that every number of the enumerations has a text of its own.
func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for r := OK; r <= BadPreimage; r++ {
		if s := r.String(); s == "" || seen[s] {
			t.Errorf("result %d: %q", r, s)
		}
		seen[r.String()] = true
	}
	for k := KindTransfer; k <= KindHashClaim; k++ {
		if s := k.String(); s == "" || seen[s] {
			t.Errorf("kind %d: %q", k, s)
		}
		seen[k.String()] = true
	}
	if Result(0).String() != "result(0)" || Result(200).String() != "result(200)" || Kind(0).String() != "kind(0)" {
		t.Error("numbers that mean nothing have names")
	}
}

func BenchmarkOpCodec(b *testing.B) {
	data := vectors()["op-transfer"].Encode()
	b.ReportAllocs()
	for range b.N {
		op, err := DecodeOp(data)
		if err != nil {
			b.Fatal(err)
		}
		op.ID()
	}
}
