package machine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/ledger/replica"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
	"github.com/pinfi/pinfi/proofs"
)

// Words give things names that people can read and that no change of an encoding
// moves: lease1 is the first lease that was opened, accept2 the second LeaseAccept.
type words struct {
	s     *stage
	names map[p2p.Digest]string
	count map[string]int
}

func newWords(s *stage) *words {
	w := &words{s: s, names: map[p2p.Digest]string{}, count: map[string]int{}}
	for _, p := range s.players {
		w.names[p2p.Digest(p.key.id)] = p.name
	}
	return w
}

// name returns the name of a digest, and makes one of its kind when it has none.
func (w *words) name(d p2p.Digest, kind string) string {
	if n, ok := w.names[d]; ok {
		return n
	}
	w.count[kind]++
	w.names[d] = fmt.Sprint(kind, w.count[kind])
	return w.names[d]
}

func (w *words) peer(id p2p.PeerID) string   { return w.name(p2p.Digest(id), "stranger") }
func (w *words) lease(id ledger.OpID) string { return w.name(p2p.Digest(id), "lease") }
func (w *words) job(id p2p.Digest) string    { return w.name(id, "job") }

// opKinds are the names of operations by kind; those of LeaseOpen are leases.
var opKinds = map[ledger.Kind]string{
	ledger.KindDeviceRegister: "register", ledger.KindLeaseOpen: "lease", ledger.KindLeaseAccept: "accept",
	ledger.KindLeaseClose: "close", ledger.KindProofCommit: "commit", ledger.KindProofVerdict: "verdict",
	ledger.KindTransfer: "transfer", ledger.KindBurn: "burn",
}

func (w *words) op(op *ledger.Op) string { return w.name(p2p.Digest(op.ID()), opKinds[op.Kind]) }

// at returns the time since genesis in seconds.
func (w *words) at() string {
	d := w.s.now.Sub(time.UnixMilli(w.s.g.Ledger.Start))
	return fmt.Sprintf("%.3f", d.Seconds())
}

// event returns what happened in words.
func (w *words) event(ev Event) string {
	switch ev := ev.(type) {
	case Gossiped:
		_, text := w.message(ev.Data)
		return "hears " + text
	case Received:
		_, text := w.message(ev.Data)
		return fmt.Sprintf("gets %s from %s", text, w.peer(ev.From))
	case PeerUp:
		return "sees " + w.peer(ev.Peer)
	case PeerDown:
		return "misses " + w.peer(ev.Peer)
	case Submit:
		return "is given " + w.job(ev.Job.ID)
	case JobStarted:
		return "job of " + w.lease(ev.Lease) + " has started"
	case JobDone:
		if ev.Failed {
			return fmt.Sprintf("job of %s cannot be run: %s", w.lease(ev.Lease), ev.Text)
		}
		return fmt.Sprintf("job of %s has ended by %v", w.lease(ev.Lease), ev.Source)
	case Fetched:
		if !ev.OK {
			return fmt.Sprintf("has not fetched %s: %s", w.lease(ev.Lease), ev.Text)
		}
		return "has fetched " + w.lease(ev.Lease)
	case Proved:
		return fmt.Sprintf("has proved %d rounds", ev.Rounds)
	case Opened:
		return "has opened tiles of " + w.name(p2p.Digest(ev.Commit), "commit")
	case Checked:
		return fmt.Sprintf("has checked %s: %v", w.name(p2p.Digest(ev.Commit), "commit"), ev.Fault)
	default:
		return "tick"
	}
}

// effect returns an effect in words, and the tag by which a story shows or hides
// it.
func (w *words) effect(p *player, fx Effect) (tag, text string) {
	switch fx := fx.(type) {
	case Publish:
		tag, text = w.message(fx.Data)
		return tag, "publish " + text
	case Send:
		tag, text = w.message(fx.Data)
		return tag, fmt.Sprintf("send %s to %s", text, w.peer(fx.To))
	case Save:
		return w.save(p, fx)
	case RunJob:
		return "run", fmt.Sprintf("run task %d of %s", fx.Terms.Task, w.lease(fx.Lease))
	case StopJob:
		return "stop", "stop " + w.lease(fx.Lease)
	case Fetch:
		output := w.name(fx.Output, "output")
		return "fetch", fmt.Sprintf("fetch %s of %s from %s", output, w.lease(fx.Lease), w.peer(fx.Provider))
	case Prove:
		return "prove", fmt.Sprintf("prove until %.3f", fx.Deadline.Sub(time.UnixMilli(w.s.g.Ledger.Start)).Seconds())
	case Open:
		return "open", fmt.Sprintf("open %d tiles of %s", len(fx.Samples), w.name(p2p.Digest(fx.Commit), "commit"))
	case Check:
		return "check", fmt.Sprintf("check %d tiles of %s", len(fx.Samples), w.name(p2p.Digest(fx.ID), "commit"))
	case Note:
		return strings.ReplaceAll(fx.Fact.String(), " ", "-"), w.note(fx)
	}
	return "", ""
}

func (w *words) note(n Note) string {
	var b strings.Builder
	fmt.Fprintf(&b, "note %v", n.Fact)
	if !n.Job.IsZero() {
		fmt.Fprintf(&b, " %s/%d", w.job(n.Job), n.Task)
	}
	if !n.Lease.IsZero() {
		fmt.Fprintf(&b, " %s", w.name(p2p.Digest(n.Lease), "op"))
	}
	if !n.Peer.IsZero() {
		fmt.Fprintf(&b, " %s", w.peer(n.Peer))
	}
	if n.Amount > 0 {
		fmt.Fprintf(&b, " %v atoms", n.Amount)
	}
	if n.Text != "" {
		fmt.Fprintf(&b, ": %s", n.Text)
	}
	text := b.String()
	for _, p := range w.s.players {
		text = strings.ReplaceAll(text, p.key.id.Short(), p.name)
	}
	return text
}

// save lists what is saved. What others made has its own tag.
func (w *words) save(p *player, fx Save) (tag, text string) {
	tag = "keep"
	if slices.ContainsFunc(fx.Batch, func(r Record) bool { return own(p, r) }) {
		tag = "save"
	}
	var what []string
	for _, r := range fx.Batch {
		what = append(what, w.record(r))
	}
	return tag, tag + " " + strings.Join(what, ", ")
}

func (w *words) record(r Record) string {
	gone := ""
	if r.Value == nil {
		gone = "no "
	}
	var id p2p.Digest
	copy(id[:], r.Key)
	switch r.Kind {
	case RecordFrame:
		witness := w.s.g.Ledger.Witnesses[binary.BigEndian.Uint16(r.Key)].Account
		return fmt.Sprintf("frame %d of %s", binary.BigEndian.Uint32(r.Key[2:]), w.peer(witness))
	case RecordOp:
		op, err := ledger.DecodeOp(r.Value)
		if err != nil {
			return err.Error()
		}
		return "op " + w.op(op)
	case RecordSale:
		return gone + "sale " + w.name(id, "lease")
	case RecordJob:
		return gone + "job " + w.job(id)
	case RecordTask:
		return fmt.Sprintf("%stask %s/%d", gone, w.job(id), binary.BigEndian.Uint32(r.Key[32:]))
	case RecordPurchase:
		return gone + "purchase " + w.name(id, "lease")
	case RecordBundle:
		return "bundle " + w.name(id, "bundle")
	case RecordOutline:
		return "outline of bundle " + w.name(id, "bundle")
	case RecordEvidence:
		return "proof of an offence"
	default:
		return fmt.Sprintf("record of kind %d", r.Kind)
	}
}

// message returns a message in words, and its kind's name.
func (w *words) message(data []byte) (tag, text string) {
	kind, r, err := wire.Open(data)
	if err != nil {
		return "garbage", "garbage"
	}
	text = w.body(kind, r)
	if err := r.Close(); err != nil {
		return kind.String(), kind.String() + " that does not decode"
	}
	return kind.String(), text
}

func (w *words) body(kind wire.Kind, r *wire.Reader) string {
	switch kind {
	case wire.KindOp:
		return w.opMessage(r.Fixed(r.Rest()))
	case wire.KindFrame:
		return w.frame(r.Fixed(r.Rest()))
	case wire.KindBeat:
		return fmt.Sprintf("beat of slot %d", ledger.ReadBeat(r).Slot)
	case wire.KindOffer:
		o := market.TakeOffer(r)
		return fmt.Sprintf("offer of %s: %d mCU free", w.peer(o.Provider), o.Free)
	case wire.KindBid:
		b := market.TakeBid(r)
		return fmt.Sprintf("bid for %s: %d tasks of %d mCU for %d s", w.job(b.ID), b.Tasks, b.Units, b.Seconds)
	case wire.KindAsk:
		a := market.TakeAsk(r)
		return fmt.Sprintf("ask for %d mCU for %d s", a.Units, a.Seconds)
	case wire.KindQuoted:
		q := market.TakeQuote(r)
		return fmt.Sprintf("quote of %v atoms, demand %d to %d", q.Charge, q.D0, q.D1)
	case wire.KindStart:
		st := market.TakeStart(r)
		return fmt.Sprintf("start of %s, task %d of %d", w.lease(st.Lease), st.Terms.Task, st.Terms.Tasks)
	case wire.KindReport:
		return w.report(market.TakeReport(r))
	case wire.KindPay:
		v := market.TakeVoucher(r)
		final := ""
		if v.Final {
			final = ", the last"
		}
		return fmt.Sprintf("voucher for %d s of %s%s", v.Used, w.lease(v.Lease), final)
	case wire.KindReveal:
		v := takeRevealing(r)
		return fmt.Sprintf("reveal of %s", w.name(p2p.Digest(v.commit), "commit"))
	case wire.KindHeads:
		return fmt.Sprint("heads ", takeHeads(r))
	case wire.KindItems:
		return w.items(r)
	case wire.KindWant:
		var names []string
		v := takeWant(r)
		for _, id := range v.ops {
			names = append(names, w.name(p2p.Digest(id), "op"))
		}
		for _, id := range v.bundles {
			names = append(names, w.name(p2p.Digest(id), "bundle"))
		}
		return "want of " + strings.Join(names, " ")
	default:
		return kind.String()
	}
}

func (w *words) report(p market.Report) string {
	text := fmt.Sprintf("report of %s: %v", w.lease(p.Lease), p.Phase)
	if p.Used > 0 {
		text += fmt.Sprintf(", %d s", p.Used)
	}
	if p.Text != "" {
		text += ", " + p.Text
	}
	return text
}

func (w *words) opMessage(data []byte) string {
	op, err := ledger.DecodeOp(data)
	if err != nil {
		return "op that does not decode"
	}
	text := fmt.Sprintf("op %s", w.op(op))
	switch op.Kind {
	case ledger.KindLeaseClose:
		c, _ := market.DecodeLeaseClose(op.Body)
		text += fmt.Sprintf(" of %s for %d s, %v", w.lease(c.Lease), c.Used, c.Reason)
	case ledger.KindProofVerdict:
		v, _ := proofs.DecodeVerdict(op.Body)
		text += fmt.Sprintf(" on %s: %v", w.name(p2p.Digest(v.Commit), "commit"), v.Fault)
	}
	return text
}

func (w *words) frame(data []byte) string {
	f, err := replica.DecodeFrame(data)
	if err != nil {
		return "frame that does not decode"
	}
	return fmt.Sprintf("frame %d of %s for %s", f.Seq, w.peer(w.s.g.Ledger.Witnesses[f.Witness].Account), w.votes(f))
}

func (w *words) votes(f *replica.Frame) string {
	names := make([]string, 0, len(f.Votes))
	for _, id := range f.Votes {
		names = append(names, w.name(p2p.Digest(id), "op"))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (w *words) items(r *wire.Reader) string {
	all := takeItems(r)
	text := fmt.Sprintf("items: %d ops, %d frames", len(all.ops), len(all.frames))
	if len(all.bundles) > 0 {
		text += fmt.Sprintf(", %d bundles", len(all.bundles))
	}
	return text
}
