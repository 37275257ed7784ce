package machine

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs"
)

const goldenFile = "testdata/golden.txt"

// A vector is an example of something that is saved or sent.
type vector struct {
	name string
	data []byte
}

// filled returns n bytes that count up from a first one.
func filled(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// examples returns one record of each kind, in an order in which they can be read.
func examples() []Record {
	var peer p2p.PeerID
	var lease ledger.OpID
	copy(peer[:], filled(32, 0x20))
	copy(lease[:], filled(32, 0x40))
	j := &job{Job: testJob("golden", 3, 1), order: 7, ended: true, cause: CauseBudget, failure: "too dear"}
	j.makeTasks()
	report := market.Report{
		Lease: lease, Phase: market.PhaseDone, Used: 5, Exit: 1, Source: market.ExitJob, Output: p2p.Sum("output"),
		Log: p2p.Sum("log"), Text: "done",
	}
	waiting, done := j.tasks[1], j.tasks[3]
	waiting.phase, waiting.fails, waiting.moves, waiting.avoid = taskWaiting, 2, 3, []p2p.PeerID{peer}
	done.phase, done.lease, done.by, done.result = taskDone, lease, peer, report
	bought := &purchase{
		lease: lease, job: j, task: done, provider: peer, escrow: 1000, opened: 1_750_000_000_000, paid: 4,
		final: true, orphan: true, closed: true,
	}
	sold := &sale{
		lease: lease, client: peer, terms: done.terms(), phase: saleDone, report: report, reason: market.EndJobExit,
		voucher: market.Voucher{Lease: lease, Used: 4},
	}
	copy(sold.voucher.Sig[:], filled(64, 0x80))
	none := lease
	none[0] ^= 1
	refused := &sale{
		lease: none, client: peer, phase: saleClosing, reason: market.EndClientStop,
		report: market.Report{Lease: none, Phase: market.PhaseFailed, Source: market.ExitProvider, Text: "no"},
	}
	paying := &payorder{
		id: p2p.Sum("golden/pay"), payments: []Payment{{peer, 1}, {peer, 2}, {peer, 3}}, number: 3,
		ends: []payend{{}, {op: lease}, {refused: ledger.InsufficientBalance}},
	}
	return []Record{
		j.record(), waiting.record(), done.record(), bought.record(), sold.record(), refused.record(),
		paying.record(), paying.paidRecord(1), paying.paidRecord(2),
	}
}

// vectors returns all examples.
func vectors() []vector {
	var all []vector
	for i, r := range examples() {
		all = append(all,
			vector{fmt.Sprintf("record-%d-kind-%d-key", i, r.Kind), r.Key},
			vector{fmt.Sprintf("record-%d-kind-%d-value", i, r.Kind), r.Value})
	}
	f := &replica.Frame{Chain: 1, Witness: 2, Seq: 3, Prev: p2p.Sum("prev"), Slot: 4, Votes: []ledger.OpID{opNamed("a")}}
	burn := ledger.Burn{Amount: 2}.Encode()
	op := &ledger.Op{Chain: 1, Kind: ledger.KindBurn, Account: p2p.PeerID{1}, Seq: 1, Body: burn}
	beat := ledger.Beat{Slot: 9, Witness: 1}
	id := opNamed("commit")
	return append(all,
		vector{"frame-key", frameKey(f)},
		vector{"message-op", sealOp(op)},
		vector{"message-accusation", sealAccusation(&replica.Accusation{
			Offence: replica.OpFork, Ops: [2]*ledger.Op{op, op},
		})},
		vector{"message-frame", sealFrame(f)},
		vector{"message-heads", headsOf([]uint32{0, 1, 0xffffffff})},
		vector{"message-want", wire.Seal(wire.KindWant,
			want{[]ledger.OpID{id}, []replica.BundleID{{1}}, []p2p.Digest{{2}}}.append)},
		vector{"message-items", wire.Seal(wire.KindItems, (&items{
			ops: []*ledger.Op{op}, bundles: []*replica.Bundle{{Ops: []*ledger.Op{op}}}, frames: []*replica.Frame{f},
		}).append)},
		vector{"message-reveal", wire.Seal(wire.KindReveal, func(w *wire.Writer) {
			w.Fixed(id[:])
			beat.AppendTo(w)
			proofs.EncodeReveal(w, &proofs.Reveal{Roots: []p2p.Digest{p2p.Sum("root")}})
		})},
	)
}

// [MCH-22] Records, and the messages of sync and proofs, are encoded as
// testdata/golden.txt shows, and read back as they were. Run with -rewrite to write
// the file; a changed line breaks every store there is.
func TestGolden(t *testing.T) {
	var text strings.Builder
	text.WriteString("# Examples of what node/machine saves and sends, in hexadecimal.\n")
	for _, v := range vectors() {
		fmt.Fprintf(&text, "%s %s\n", v.name, hex.EncodeToString(v.data))
	}
	if *rewrite {
		if err := os.WriteFile(goldenFile, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := text.String(); got != string(want) {
		t.Errorf("encodings have changed; now\n%s", got)
	}
	s := newMarket(t, never, 1)
	m, err := New(s.player("client").config(), inKeyOrder(examples()))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range examples() {
		if got := again(m, r); !bytes.Equal(got.Value, r.Value) || !bytes.Equal(got.Key, r.Key) {
			t.Errorf("record %d of kind %d comes back as\n%x\nnot\n%x", i, r.Kind, got.Value, r.Value)
		}
	}
	for _, v := range vectors() {
		if kind, r, err := wire.Open(v.data); err == nil && kind == wire.KindReveal {
			if got := takeRevealing(r); r.Close() != nil || got.commit != opNamed("commit") || got.beat.Slot != 9 ||
				len(got.reveal.Roots) != 1 {
				t.Errorf("the reveal comes back as %+v: %v", got, r.Err())
			}
		}
	}
}

// again returns the record that a machine would now save under a record's key.
func again(m *Machine, r Record) Record {
	var id p2p.Digest
	copy(id[:], r.Key)
	switch r.Kind {
	case RecordJob:
		return m.jobs[id].record()
	case RecordTask:
		return m.jobs[id].tasks[r.Key[35]].record()
	case RecordPurchase:
		return m.purchases[ledger.OpID(id)].record()
	case RecordSale:
		return m.sales[ledger.OpID(id)].record()
	case RecordPay:
		return m.wallet.byID[id].record()
	case RecordPaid:
		return m.wallet.byID[id].paidRecord(int(r.Key[35]))
	default:
		return Record{}
	}
}
