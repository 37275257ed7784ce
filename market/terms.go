package market

import (
	"strings"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// Bounds of a job's terms.
const (
	MaxMemoryPages = 65_536 // pages of 64 KiB: 4 GiB
	MaxName        = 255    // bytes in the name of an input file
	MaxText        = 255    // bytes in the text of a report
)

// Terms are what a provider is hired to do: run a module on an input.
type Terms struct {
	Module      p2p.Digest // WASM module, by content
	Input       p2p.Digest // input file, by content; zero: none
	InputName   string     // its name under /in, without any path; empty without an input
	Task        uint32     // number of this task, below Tasks
	Tasks       uint32     // number of tasks of the job
	MemoryPages uint32     // most memory, in pages of 64 KiB, from 1 to MaxMemoryPages
	Seconds     uint32     // longest time
}

// Put writes the canonical bytes.
func (t *Terms) Put(w *wire.Writer) {
	w.Fixed(t.Module[:])
	w.Fixed(t.Input[:])
	w.Text(t.InputName)
	w.U32(t.Task)
	w.U32(t.Tasks)
	w.U32(t.MemoryPages)
	w.U32(t.Seconds)
}

// TakeTerms reads what Put writes and nothing else; the reader holds the error.
func TakeTerms(r *wire.Reader) Terms {
	var t Terms
	r.Into(t.Module[:])
	refuse(r, t.Module.IsZero(), "no module")
	r.Into(t.Input[:])
	t.InputName = r.Text(MaxName)
	if t.Input.IsZero() {
		refuse(r, t.InputName != "", "a name %q and no input", t.InputName)
	} else {
		refuse(r, !ValidName(t.InputName), "input name %q", t.InputName)
	}
	t.Task = r.U32()
	t.Tasks = r.U32()
	refuse(r, t.Task >= t.Tasks, "task %d of %d", t.Task, t.Tasks)
	t.MemoryPages = r.U32()
	refuse(r, t.MemoryPages == 0 || t.MemoryPages > MaxMemoryPages, "%d memory pages", t.MemoryPages)
	t.Seconds = takeSeconds(r)
	return t
}

// Digest names the terms. A LeaseOpen carries it, so that the money is for this
// job and no other.
func (t *Terms) Digest() p2p.Digest {
	w := wire.NewWriter(128)
	t.Put(w)
	return p2p.Sum("pinfi/terms/1", w.Bytes())
}

// ValidName reports whether a file name is safe to create in a directory: 1 to
// MaxName bytes, no slash, no control character, not a relative path.
func ValidName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > MaxName {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f || c == '/' || c == '\\' })
}

// A Start hands a provider the terms of a lease that the client has opened.
type Start struct {
	Lease ledger.OpID
	Terms Terms
}

// Put writes the canonical bytes.
func (s *Start) Put(w *wire.Writer) {
	w.Fixed(s.Lease[:])
	s.Terms.Put(w)
}

// TakeStart reads what Put writes and nothing else; the reader holds the error.
func TakeStart(r *wire.Reader) Start { return Start{Lease: takeLease(r), Terms: TakeTerms(r)} }

// A Report tells a client how its job stands. The stream that carries it vouches
// for the provider.
type Report struct {
	Lease  ledger.OpID
	Phase  Phase
	Used   uint64     // time since the process started, in seconds, rounded up
	Exit   uint32     // exit code, in PhaseDone and PhaseFailed; else 0
	Source ExitSource // what ended the process, in PhaseDone; may be given in PhaseFailed; else 0
	Output p2p.Digest // manifest of the output files
	Log    p2p.Digest // what the job wrote to its standard output and error
	Text   string     // a few words for people, at most MaxText bytes
}

// Put writes the canonical bytes. It panics when Text is longer than MaxText.
func (p *Report) Put(w *wire.Writer) {
	w.Fixed(p.Lease[:])
	w.U8(uint8(p.Phase))
	w.U64(p.Used)
	w.U32(p.Exit)
	w.U8(uint8(p.Source))
	w.Fixed(p.Output[:])
	w.Fixed(p.Log[:])
	w.Text(p.Text)
}

// TakeReport reads what Put writes and nothing else; the reader holds the error.
func TakeReport(r *wire.Reader) Report {
	p := Report{Lease: takeLease(r), Phase: Phase(r.U8()), Used: r.U64(), Exit: r.U32(), Source: ExitSource(r.U8())}
	refuse(r, p.Phase < PhaseAccepted || p.Phase > PhaseFailed, "%v", p.Phase)
	refuse(r, p.Source > ExitProvider, "%v", p.Source)
	ended := p.Phase == PhaseDone || p.Phase == PhaseFailed
	refuse(r, !ended && (p.Source != 0 || p.Exit != 0), "%v with exit %d by %v", p.Phase, p.Exit, p.Source)
	refuse(r, p.Phase == PhaseDone && p.Source == 0, "%v without an exit source", p.Phase)
	r.Into(p.Output[:])
	r.Into(p.Log[:])
	p.Text = r.Text(MaxText)
	return p
}

// A Voucher is a client's promise to pay for the seconds it has received so far.
// Vouchers are cumulative: the highest one replaces the others.
type Voucher struct {
	Lease ledger.OpID
	Used  uint64        // seconds since the process started
	Final bool          // no more will follow: a hint to the provider, which the signature does not cover
	Sig   p2p.Signature // of SigningDigest, by the lease's client
}

// Put writes the canonical bytes.
func (v *Voucher) Put(w *wire.Writer) {
	w.Fixed(v.Lease[:])
	w.U64(v.Used)
	w.Bool(v.Final)
	w.Fixed(v.Sig[:])
}

// TakeVoucher reads what Put writes and nothing else; the reader holds the error.
func TakeVoucher(r *wire.Reader) Voucher {
	v := Voucher{Lease: takeLease(r), Used: r.U64(), Final: r.Bool()}
	r.Into(v.Sig[:])
	return v
}

// SigningDigest returns what the client signs on a network: lease and seconds,
// which a LeaseClose repeats.
func (v *Voucher) SigningDigest(n p2p.Network) p2p.Digest {
	return digest("pinfi/voucher/1", n, func(w *wire.Writer) {
		w.Fixed(v.Lease[:])
		w.U64(v.Used)
	})
}

// Signed reports whether the client signed the voucher for the network.
func (v *Voucher) Signed(n p2p.Network, client ledger.Account, verify Verify) bool {
	return verify(client, v.SigningDigest(n), v.Sig)
}
