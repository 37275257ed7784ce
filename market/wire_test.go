package market

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// A putter is anything that encodes itself.
type putter interface{ Put(w *wire.Writer) }

func bytesOf(p putter) []byte {
	w := wire.NewWriter(256)
	p.Put(w)
	return w.Bytes()
}

func fill(n byte) (d p2p.Digest) {
	for i := range d {
		d[i] = n
	}
	return d
}

func fillSig(n byte) (s p2p.Signature) {
	for i := range s {
		s[i] = n
	}
	return s
}

func testOffer() Offer {
	return Offer{
		Provider: name(11), Class: small, Region: "eu-west", Seq: 7, Declared: 4000, Free: 3000,
		Reserve: 1_000_000_000, Expires: 1_700_000_060_000, Sig: fillSig(0xaa),
	}
}

func testBid() Bid {
	return Bid{
		Client: name(1), ID: fill(2), Class: small, Region: "eu-west", Units: 1000, Seconds: 600,
		Max: 5 * ledger.Token, Tasks: 4, Expires: 1_700_000_060_000, Sig: fillSig(0xbb),
	}
}

func testAsk() Ask {
	return Ask{Client: name(1), Bid: fill(2), Nonce: 3, Class: small, Units: 1000, Seconds: 600}
}

func testQuote() Quote {
	return Quote{
		Provider: name(11), Client: name(1), Bid: fill(2), Nonce: 3, Class: small, Units: 1000, Seconds: 600,
		Lane: 1, LaneSeq: 5, D0: 10_000, D1: 11_000, Reserve: 9, Charge: 88_000_000, Expires: 1_700_000_005_000,
		Sig: fillSig(0xcc),
	}
}

func testTerms() Terms {
	return Terms{
		Module: fill(4), Input: fill(5), InputName: "scene.json", Task: 1, Tasks: 4, MemoryPages: 1024, Seconds: 600,
	}
}

func testReport() Report {
	return Report{
		Lease: ledger.OpID(fill(6)), Phase: PhaseDone, Used: 61, Exit: 3, Source: ExitJob,
		Output: fill(7), Log: fill(8), Text: "done",
	}
}

func testVoucher() Voucher {
	return Voucher{Lease: ledger.OpID(fill(6)), Used: 61, Final: true, Sig: fillSig(0xdd)}
}

// message is one kind of message: an example, and how to read it back.
type message struct {
	name string
	put  putter
	take func(*wire.Reader) putter
}

func messages() []message {
	offer, bid, ask, quote, terms := testOffer(), testBid(), testAsk(), testQuote(), testTerms()
	start, report, voucher := Start{Lease: ledger.OpID(fill(6)), Terms: terms}, testReport(), testVoucher()
	return []message{
		{"offer", &offer, func(r *wire.Reader) putter { v := TakeOffer(r); return &v }},
		{"bid", &bid, func(r *wire.Reader) putter { v := TakeBid(r); return &v }},
		{"ask", &ask, func(r *wire.Reader) putter { v := TakeAsk(r); return &v }},
		{"quote", &quote, func(r *wire.Reader) putter { v := TakeQuote(r); return &v }},
		{"terms", &terms, func(r *wire.Reader) putter { v := TakeTerms(r); return &v }},
		{"start", &start, func(r *wire.Reader) putter { v := TakeStart(r); return &v }},
		{"report", &report, func(r *wire.Reader) putter { v := TakeReport(r); return &v }},
		{"voucher", &voucher, func(r *wire.Reader) putter { v := TakeVoucher(r); return &v }},
	}
}

// bodies are the operation bodies, by kind.
func bodies() map[string][]byte {
	lease := ledger.OpID(fill(6))
	return map[string][]byte{
		"lease-open": LeaseOpen{name(11), small, 1000, 600, 88_000_000, fill(9)}.Encode(),
		"lease-accept": LeaseAccept{
			Lease: lease, D0: 10_000, D1: 11_000, Reserve: 9, Charge: 88_000_000,
		}.Encode(),
		"lease-close": LeaseClose{Lease: lease, Used: 61, VoucherSig: fillSig(0xdd), Reason: EndJobExit}.Encode(),
	}
}

// [MKT-9] Messages, operation bodies and signing digests are the golden ones, byte
// for byte.
func TestGolden(t *testing.T) {
	const file = "testdata/vectors.txt"
	var b strings.Builder
	line := func(name string, v []byte) { fmt.Fprintf(&b, "%s = %s\n", name, hex.EncodeToString(v)) }
	b.WriteString("# Canonical bytes of the market's messages, and what is signed on network 0102030...0\n")
	for _, m := range messages() {
		line(m.name, bytesOf(m.put))
	}
	for _, k := range []string{"lease-open", "lease-accept", "lease-close"} {
		line(k, bodies()[k])
	}
	for _, s := range signed() {
		d := s.digest(p2p.Network{1, 2, 3})
		line("digest of "+s.name, d[:])
	}
	terms, w := testTerms(), wire.NewWriter(256)
	d := terms.Digest()
	line("digest of terms", d[:])
	testParams().AppendTo(w)
	line("params", w.Bytes())
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the encoding has changed; got\n%s\nwant\n%s", b.String(), want)
	}
}

// signing is a signed message, the digest of it, and where its signature begins.
type signing struct {
	name   string
	digest func(p2p.Network) p2p.Digest
	take   func(*wire.Reader) func(p2p.Network) p2p.Digest
	bytes  []byte
	free   int // bytes at the end that the signature does not cover
}

func signed() []signing {
	offer, bid, quote, voucher := testOffer(), testBid(), testQuote(), testVoucher()
	return []signing{
		{"offer", offer.SigningDigest, func(r *wire.Reader) func(p2p.Network) p2p.Digest {
			v := TakeOffer(r)
			return v.SigningDigest
		}, bytesOf(&offer), 64},
		{"bid", bid.SigningDigest, func(r *wire.Reader) func(p2p.Network) p2p.Digest {
			v := TakeBid(r)
			return v.SigningDigest
		}, bytesOf(&bid), 64},
		{"quote", quote.SigningDigest, func(r *wire.Reader) func(p2p.Network) p2p.Digest {
			v := TakeQuote(r)
			return v.SigningDigest
		}, bytesOf(&quote), 64},
		{"voucher", voucher.SigningDigest, func(r *wire.Reader) func(p2p.Network) p2p.Digest {
			v := TakeVoucher(r)
			return v.SigningDigest
		}, bytesOf(&voucher), 65},
	}
}

// [MKT-10] A signature binds the network and every field of the message but the
// signature itself and the hint Final of a voucher.
func TestSigningBindsAll(t *testing.T) {
	here := p2p.Network{1, 2, 3}
	for _, s := range signed() {
		t.Run(s.name, func(t *testing.T) {
			if s.digest(here) == s.digest(p2p.Network{1, 2, 4}) {
				t.Error("the digest is the same on another network")
			}
			for i := range s.bytes {
				b := bytes.Clone(s.bytes)
				b[i] ^= 1
				r := wire.NewReader(b)
				same := s.take(r)(here) == s.digest(here)
				if r.Close() != nil {
					continue // not a message
				}
				if free := i >= len(b)-s.free; same != free {
					t.Errorf("byte %d of %d: digest is the same: %v", i, len(b), same)
				}
			}
		})
	}
}

// [MKT-9] What decodes encodes to the same bytes, and bytes left over are refused.
func TestRoundTrip(t *testing.T) {
	for _, m := range messages() {
		t.Run(m.name, func(t *testing.T) {
			b := bytesOf(m.put)
			r := wire.NewReader(b)
			got := m.take(r)
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(bytesOf(got), b) {
				t.Errorf("got %x, want %x", bytesOf(got), b)
			}
			for n := range b {
				r := wire.NewReader(b[:n])
				if m.take(r); r.Close() == nil {
					t.Errorf("the first %d of %d bytes decode", n, len(b))
				}
			}
			r = wire.NewReader(append(b, 0))
			if m.take(r); !errors.Is(r.Close(), wire.ErrTrailing) {
				t.Error("a byte too many decodes")
			}
		})
	}
}

// [MKT-11] A message with a value out of its bounds does not decode; in
// particular an input's name cannot leave its directory.
func TestBoundsOfMessages(t *testing.T) {
	ask := func(change func(*Ask)) putter { v := testAsk(); change(&v); return &v }
	offer := func(change func(*Offer)) putter { v := testOffer(); change(&v); return &v }
	bid := func(change func(*Bid)) putter { v := testBid(); change(&v); return &v }
	terms := func(change func(*Terms)) putter { v := testTerms(); change(&v); return &v }
	report := func(change func(*Report)) putter { v := testReport(); change(&v); return &v }
	quote := func(change func(*Quote)) putter { v := testQuote(); change(&v); return &v }
	voucher := func(change func(*Voucher)) putter { v := testVoucher(); change(&v); return &v }
	bad := map[string][]putter{
		"offer": {
			offer(func(o *Offer) { o.Class = "" }), offer(func(o *Offer) { o.Class = "CPU" }),
			offer(func(o *Offer) { o.Region = "" }), offer(func(o *Offer) { o.Region = "a-region-too-far-away" }),
			offer(func(o *Offer) { o.Free = o.Declared + 1 }), offer(func(o *Offer) { o.Declared, o.Free = 0, 0 }),
			offer(func(o *Offer) { o.Reserve = ledger.MaxSupply + 1 }), offer(func(o *Offer) { o.Expires = -1 }),
		},
		"bid": {
			bid(func(b *Bid) { b.Tasks = 0 }), bid(func(b *Bid) { b.Units = 0 }), bid(func(b *Bid) { b.Seconds = 0 }),
			bid(func(b *Bid) { b.Max = ledger.MaxSupply + 1 }), bid(func(b *Bid) { b.Region = "EU" }),
		},
		"ask": {
			ask(func(a *Ask) { a.Units = MaxCapacity + 1 }), ask(func(a *Ask) { a.Seconds = MaxTerm + 1 }),
			ask(func(a *Ask) { a.Class = "a/b" }),
		},
		"quote": {
			quote(func(q *Quote) { q.Charge = ledger.MaxSupply + 1 }), quote(func(q *Quote) { q.Expires = -1 }),
		},
		"terms": {
			terms(func(v *Terms) { v.Module = p2p.Digest{} }), terms(func(v *Terms) { v.Input = p2p.Digest{} }),
			terms(func(v *Terms) { v.InputName = "" }), terms(func(v *Terms) { v.InputName = "../passwd" }),
			terms(func(v *Terms) { v.InputName = ".." }), terms(func(v *Terms) { v.InputName = "a\x00b" }),
			terms(func(v *Terms) { v.Task = v.Tasks }), terms(func(v *Terms) { v.MemoryPages = 0 }),
			terms(func(v *Terms) { v.MemoryPages = MaxMemoryPages + 1 }), terms(func(v *Terms) { v.Seconds = 0 }),
		},
		"report": {
			report(func(p *Report) { p.Phase = 0 }), report(func(p *Report) { p.Phase = PhaseFailed + 1 }),
			report(func(p *Report) { p.Source = 0 }), report(func(p *Report) { p.Source = ExitProvider + 1 }),
			report(func(p *Report) { p.Phase = PhaseRunning }), report(func(p *Report) { p.Lease = ledger.OpID{} }),
		},
		"voucher": {voucher(func(v *Voucher) { v.Lease = ledger.OpID{} })},
	}
	for _, m := range messages() {
		for i, p := range bad[m.name] {
			r := wire.NewReader(bytesOf(p))
			if m.take(r); !errors.Is(r.Close(), wire.ErrValue) && !errors.Is(r.Err(), wire.ErrLimit) {
				t.Errorf("%s %d: got %v, want a refusal: %+v", m.name, i, r.Err(), p)
			}
		}
	}
	none := terms(func(v *Terms) { v.Input, v.InputName = p2p.Digest{}, "" })
	r := wire.NewReader(bytesOf(none))
	if TakeTerms(r); r.Close() != nil {
		t.Errorf("terms without an input: %v", r.Err())
	}
}

// [MKT-9] Messages fit their limits.
func TestMessagesFit(t *testing.T) {
	terms := testTerms()
	terms.InputName = strings.Repeat("x", MaxName)
	start := Start{Lease: ledger.OpID(fill(6)), Terms: terms}
	report := testReport()
	report.Text = strings.Repeat("x", MaxText)
	wire.Seal(wire.KindStart, start.Put)
	wire.Seal(wire.KindReport, report.Put)
}

// FuzzMessages checks [MKT-9] for bytes that nobody wrote.
func FuzzMessages(f *testing.F) {
	all := messages()
	for i, m := range all {
		f.Add(uint8(i), bytesOf(m.put))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		m := all[int(which)%len(all)]
		r := wire.NewReader(b)
		got := m.take(r)
		if r.Close() != nil {
			return
		}
		if again := bytesOf(got); !bytes.Equal(again, b) {
			t.Fatalf("%s: %x encodes to %x", m.name, b, again)
		}
	})
}

// FuzzBodies checks [MKT-9] for operation bodies.
func FuzzBodies(f *testing.F) {
	kinds := []ledger.Kind{ledger.KindLeaseOpen, ledger.KindLeaseAccept, ledger.KindLeaseClose, ledger.KindBurn}
	for i, name := range []string{"lease-open", "lease-accept", "lease-close"} {
		f.Add(uint8(i), bodies()[name])
	}
	c := NewContract(testParams(), fakeVerify)
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		v, err := c.Decode(kinds[int(which)%len(kinds)], b)
		if err != nil {
			return
		}
		again := v.(interface{ Encode() []byte }).Encode()
		if !bytes.Equal(again, b) {
			t.Fatalf("%x encodes to %x", b, again)
		}
	})
}

// [MKT-9] Names of enumerations have no holes.
func TestTexts(t *testing.T) {
	for n := uint8(1); n < 13; n++ {
		for what, s := range map[string]string{
			"end": EndReason(n).String(), "state": LeaseState(n).String(), "phase": Phase(n).String(),
			"exit": ExitSource(n).String(), "refusal": Refusal(n).String(), "miss": MissReason(n).String(),
		} {
			last := map[string]uint8{"end": 11, "state": 3, "phase": 4, "exit": 5, "refusal": 12, "miss": 6}[what]
			if known := s != "" && !strings.HasSuffix(s, ")"); known != (n <= last) {
				t.Errorf("%s %d: %q", what, n, s)
			}
		}
	}
}

// [MKT-7] Parameters out of their bounds are refused.
func TestParams(t *testing.T) {
	if err := testParams().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := []func(*Params){
		func(p *Params) { p.Quarters = 0 }, func(p *Params) { p.Quarters = 7 }, func(p *Params) { p.BetaBps = 4001 },
		func(p *Params) { p.SigmaBps = 10_001 }, func(p *Params) { p.FloorPPM = 1_000_001 },
		func(p *Params) { p.Window = 0 }, func(p *Params) { p.Classes = nil },
		func(p *Params) { p.Classes[1].Name = small }, func(p *Params) { p.Classes[0].Name = "Small" },
		func(p *Params) { p.Classes[0].P0 = 999 }, func(p *Params) { p.Classes[0].Capacity = 0 },
		func(p *Params) { p.Classes[0].Demand = MaxCapacity + 1 },
		func(p *Params) { p.Classes[0].Probation = MaxCapacity + 1 },
		func(p *Params) { p.Classes = make([]ClassParams, MaxClasses+1) },
	}
	for i, change := range bad {
		p := testParams()
		change(p)
		if p.Validate() == nil {
			t.Errorf("bad parameters %d pass: %+v", i, p)
		}
	}
	if lane, ok := testParams().Lane("gpu.24"); lane != 2 || !ok {
		t.Errorf("lane of the second class: %d, %v", lane, ok)
	}
	if _, ok := testParams().Lane("tpu"); ok {
		t.Error("an unknown class has a lane")
	}
}
