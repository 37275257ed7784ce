package world

import (
	"slices"
	"time"

	"github.com/pinfi/pinfi/ledger"
	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/proofs"
	"github.com/pinfi/pinfi/simulations/weather"
)

// A process is a job that a host runs. It dies with the life of its host.
type process struct {
	terms   market.Terms
	client  int
	tries   int
	stopped bool
}

const (
	// fetchTry is the time between two attempts to bring a job's module and input
	// from the client, fetchTries how many there are.
	fetchTry   = 200 * time.Millisecond
	fetchTries = 25
	// runMost is the longest that a job runs.
	runMost = 3 * time.Second
	// reapTime is how long it takes to kill a process.
	reapTime = 20 * time.Millisecond
)

// work draws the time that a piece of work takes. It is keyed by what is done, so
// that it takes as long on any other day.
func (w *World) work(what []byte, salt uint64, least, most time.Duration) time.Duration {
	return weather.Between(weather.Draw(w.cfg.Seed, weather.StreamWork, content(what, salt), salt), least, most)
}

// runJob starts a process, once the client has handed module and input over.
func (w *World) runJob(h *host, fx machine.RunJob) {
	if h.jobs[fx.Lease] != nil {
		return
	}
	client, ok := w.index[fx.Client]
	if !ok {
		client = int(h.index) // nobody knows the client: it cannot be reached
	}
	h.jobs[fx.Lease] = &process{terms: fx.Terms, client: client}
	w.answer(h, w.work(fx.Lease[:], 1, 10*time.Millisecond, 150*time.Millisecond), func() machine.Event {
		return w.startJob(h, fx.Lease)
	})
}

func (w *World) startJob(h *host, lease ledger.OpID) machine.Event {
	p := h.jobs[lease]
	if p == nil || p.stopped {
		return nil
	}
	if client := w.hosts[p.client]; !w.reach(h, client) || client == h {
		p.tries++
		if p.tries >= fetchTries {
			delete(h.jobs, lease)
			return machine.JobDone{
				Lease: lease, Failed: true, Source: market.ExitProvider,
				Text: "the client does not hand over module and input",
			}
		}
		w.answer(h, fetchTry, func() machine.Event { return w.startJob(h, lease) })
		return nil
	}
	if w.cfg.Weather.JobFails(w.Now(), int(h.index), content(lease[:], 4)) {
		delete(h.jobs, lease)
		return machine.JobDone{Lease: lease, Failed: true, Source: market.ExitProvider, Text: "the host has no room"}
	}
	limit := time.Duration(p.terms.Seconds) * time.Second
	takes := w.work(lease[:], 2, 50*time.Millisecond, runMost)
	w.answer(h, min(takes, limit), func() machine.Event { return w.endJob(h, lease, takes > limit) })
	return machine.JobStarted{Lease: lease}
}

// endJob ends a process that was not killed.
func (w *World) endJob(h *host, lease ledger.OpID, late bool) machine.Event {
	p := h.jobs[lease]
	if p == nil || p.stopped {
		return nil
	}
	delete(h.jobs, lease)
	if late {
		return machine.JobDone{Lease: lease, Exit: 124, Source: market.ExitTime, Text: "over its time"}
	}
	t := &p.terms
	out := Output(t.Module, t.Input, t.Task, t.Tasks)
	if w.cfg.Nodes[h.index].Flaw.Spoil {
		out[0] ^= 1
	}
	log := p2p.Sum("pinfi/world-log/1", out[:])
	h.held[out], h.held[log] = true, true
	return machine.JobDone{Lease: lease, Source: market.ExitJob, Output: out, Log: log}
}

func (w *World) stopJob(h *host, fx machine.StopJob) {
	p := h.jobs[fx.Lease]
	if p == nil || p.stopped {
		return
	}
	p.stopped = true
	w.answer(h, reapTime, func() machine.Event {
		delete(h.jobs, fx.Lease)
		return machine.JobDone{Lease: fx.Lease, Exit: 137, Source: market.ExitProvider, Text: "stopped"}
	})
}

// fetch brings an output from its provider, if that is in reach when the time has
// passed and holds it.
func (w *World) fetch(h *host, fx machine.Fetch) {
	after := w.work(fx.Lease[:], 3+h.count, 5*time.Millisecond, 300*time.Millisecond)
	w.answer(h, after, func() machine.Event {
		provider, ok := w.index[fx.Provider]
		switch {
		case !ok || !w.reach(h, w.hosts[provider]):
			return machine.Fetched{Lease: fx.Lease, Text: "the provider is out of reach"}
		case !w.hosts[provider].held[fx.Output] || !w.hosts[provider].held[fx.Log]:
			return machine.Fetched{Lease: fx.Lease, Text: "the provider does not hold it"}
		default:
			return machine.Fetched{Lease: fx.Lease, OK: true}
		}
	})
}

// A transcript is kept for Open, until the host dies or has made eight more.
type transcript struct {
	storm ledger.Slot
	of    *proofs.Transcript
}

// transcriptsMax is how many transcripts a host keeps.
const transcriptsMax = 8

// prove does the rounds of a proof at its deadline, in no virtual time.
func (w *World) prove(h *host, fx machine.Prove) {
	w.answer(h, fx.Deadline.Sub(w.time(h)), func() machine.Event {
		pr := proofs.NewProver(&w.cfg.Genesis.Proofs, fx.Seed, multiply)
		for range w.cfg.Rounds {
			pr.Round()
		}
		t := pr.Finish()
		if len(h.made) == transcriptsMax {
			h.made = slices.Delete(h.made, 0, 1)
		}
		h.made = append(h.made, transcript{storm: fx.Storm, of: t})
		return machine.Proved{Storm: fx.Storm, Rounds: t.Rounds, Root: t.Root, Last: t.Last}
	})
}

// open opens sampled tiles. A transcript that is gone cannot be opened, and the
// machine gets no answer.
func (w *World) open(h *host, fx machine.Open) {
	w.answer(h, 2*time.Millisecond, func() machine.Event {
		i := slices.IndexFunc(h.made, func(t transcript) bool { return t.storm == fx.Storm })
		if i < 0 {
			return nil
		}
		return machine.Opened{Commit: fx.Commit, Reveal: h.made[i].of.Open(fx.Samples)}
	})
}

// check verifies a reveal by the real rules.
func (w *World) check(h *host, fx machine.Check) {
	w.answer(h, 5*time.Millisecond, func() machine.Event {
		fault := proofs.Verify(&w.cfg.Genesis.Proofs, fx.Seed, &fx.Commit, fx.Samples, fx.Reveal)
		return machine.Checked{Commit: fx.ID, Fault: fault}
	})
}

const (
	// verifyTime is how long a worker takes to get to a batch of signatures, and
	// signatureTime how long to each of them.
	verifyTime    = 50 * time.Microsecond
	signatureTime = 12 * time.Microsecond
)

// verify verifies a batch of signatures by the cheap rules, and takes as long as by the
// real ones.
func (w *World) verify(h *host, fx machine.Verify) {
	w.answer(h, verifyTime+time.Duration(len(fx.Batch))*signatureTime, func() machine.Event {
		return machine.Verified{ID: fx.ID, OK: h.cfg.Crypto.VerifyBatch(fx.Batch)}
	})
}

// multiply is the exact product in its plainest form; worlds use tiny matrices.
func multiply(c []int32, a, b []int8, m, n, k int) {
	for i := range m {
		row := a[i*k : (i+1)*k]
		for j := range n {
			column := b[j*k : (j+1)*k]
			var sum int32
			for x, v := range row {
				sum += int32(v) * int32(column[x])
			}
			c[i*n+j] = sum
		}
	}
}
