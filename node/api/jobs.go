package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/pinfi/pinfi/market"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// defaultPages is the memory of a task unless its order says otherwise: 64 MiB.
const defaultPages = 1024

// How long an order may take to become a job, and how often the server looks.
const (
	takeTimeout = 3 * time.Second
	takePoll    = 3 * time.Millisecond
)

// An orderForm is the body of POST /v1/jobs.
type orderForm struct{ Body Order }

// order hands the machine a job and answers once the job is on disk. The id is
// the idempotency key: an order that is repeated is answered as the first was.
func (s *Server) order(ctx context.Context, in *orderForm) (*reply[Ticket], error) {
	j := s.complete(&in.Body)
	known, err := s.holds(ctx, j)
	if err != nil || known {
		return &reply[Ticket]{Ticket{ID: j.ID, Known: true}}, err
	}
	for _, f := range [...]struct {
		name   string
		digest p2p.Digest
	}{{"module", j.Module}, {"input", j.Input}} {
		if !f.digest.IsZero() && !s.cfg.Files.Has(f.digest) {
			return nil, problem(http.StatusUnprocessableEntity, CodeUnknownBlob,
				"%s %v is not among the node's files; put it with PUT /v1/blobs first", f.name, f.digest)
		}
	}
	if err := s.cfg.Node.Submit(ctx, j); ctx.Err() != nil {
		return nil, problem(http.StatusServiceUnavailable, CodeUnavailable, "the node does not answer: %v", ctx.Err())
	} else if err != nil {
		return nil, problem(http.StatusUnprocessableEntity, CodeBadJob, "%v", err)
	}
	if err := s.awaitJob(ctx, j); err != nil {
		return nil, err
	}
	return &reply[Ticket]{Ticket{ID: j.ID}}, nil
}

// complete fills in what an order leaves out.
func (s *Server) complete(o *Order) machine.Job {
	j := machine.Job{
		ID: o.ID, Class: o.Class, Region: o.Region, Units: o.Units, Seconds: o.Seconds, Max: o.Max,
		Module: o.Module, Input: o.Input, InputName: o.InputName, Tasks: o.Tasks, Check: o.Check, MemoryPages: o.Pages,
	}
	if j.ID.IsZero() {
		_, _ = rand.Read(j.ID[:]) // it never fails
	}
	if j.Class == "" {
		j.Class = s.cfg.Node.Genesis().Market.Classes[0].Name
	}
	if j.Region == "" {
		j.Region = s.cfg.Region
	}
	if j.Tasks == 0 {
		j.Tasks = 1
	}
	if j.MemoryPages == 0 {
		j.MemoryPages = defaultPages
	}
	return j
}

// holds reports whether the machine has the job. Another job of the same id is an
// error.
func (s *Server) holds(ctx context.Context, j machine.Job) (bool, error) {
	var v machine.JobView
	var ok bool
	if err := s.ask(ctx, func(m *machine.Machine) { v, ok = m.Job(j.ID) }); err != nil {
		return false, err
	}
	if ok && v.Order != j {
		return false, problem(http.StatusConflict, CodeIDTaken,
			"job %v is another order than this one; repeat an order without changes, or give this one another id", j.ID)
	}
	return ok, nil
}

// awaitJob waits until the machine has taken the job. What the machine shows has
// been saved: the loop carries out a step's effects before it answers.
func (s *Server) awaitJob(ctx context.Context, j machine.Job) error {
	patience := min(takeTimeout, s.cfg.Limits.Answer)
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(takePoll)
	defer tick.Stop()
	for {
		if known, err := s.holds(ctx, j); known || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return problem(http.StatusServiceUnavailable, CodeUnavailable, "the node does not answer: %v", ctx.Err())
		case <-late.C:
			return problem(http.StatusServiceUnavailable, CodeNotTaken,
				"the node did not take job %v within %v: it has too many jobs under way; try again when one has ended",
				j.ID, patience)
		}
	}
}

func (s *Server) jobs(ctx context.Context, _ *struct{}) (*reply[Jobs], error) {
	out := Jobs{Jobs: []Summary{}}
	err := s.ask(ctx, func(m *machine.Machine) {
		for _, id := range m.Jobs() {
			if v, ok := m.Job(id); ok {
				out.Jobs = append(out.Jobs, summaryOf(&v))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return &reply[Jobs]{out}, nil
}

// A jobPath names a job.
type jobPath struct {
	ID p2p.Digest `path:"id" pattern:"^[0-9a-f]{64}$"`
}

func (s *Server) job(ctx context.Context, in *jobPath) (*reply[Job], error) {
	var out Job
	var found bool
	err := s.ask(ctx, func(m *machine.Machine) {
		var v machine.JobView
		if v, found = m.Job(in.ID); found {
			out = jobOf(m, &v)
		}
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, problem(http.StatusNotFound, CodeUnknownJob,
			"job %v: this node has none of the id; GET /v1/jobs lists those it has", in.ID)
	}
	return &reply[Job]{out}, nil
}

// summaryOf tells in short how a job stands.
func summaryOf(v *machine.JobView) Summary {
	out := Summary{
		ID: v.Order.ID, State: JobRunning, Settled: v.Settled, Cause: v.Cause.String(), Failure: v.Failure,
		Tasks: len(v.Tasks),
	}
	switch {
	case v.Cause != 0:
		out.State = JobFailed
	case v.Done:
		out.State = JobDone
	}
	for _, t := range v.Tasks {
		if t.Done {
			out.Ended++
		}
	}
	for _, l := range v.Leases {
		out.Escrow += l.Lease.Escrow // no sum of amounts overflows: see ledger.MaxSupply
		out.Paid += l.Lease.Paid.Total()
		out.Burned += l.Lease.Paid.Burn
		out.Refund += l.Lease.Refund
	}
	return out
}

// jobOf tells how a job stands.
func jobOf(m *machine.Machine, v *machine.JobView) Job {
	o := v.Order
	out := Job{
		Summary: summaryOf(v),
		Order: Order{
			ID: o.ID, Class: o.Class, Region: o.Region, Units: o.Units, Seconds: o.Seconds, Max: o.Max,
			Module: o.Module, Input: o.Input, InputName: o.InputName, Tasks: o.Tasks, Check: o.Check, Pages: o.MemoryPages,
		},
		Runs: make([]Run, 0, len(v.Tasks)), Leases: make([]Lease, 0, len(v.Leases)),
	}
	for _, t := range v.Tasks {
		r := Run{
			Index: t.Index, Task: t.Of, Check: t.Index >= o.Tasks, Done: t.Done, Provider: t.Provider, Lease: t.Lease,
			Exit: t.Exit, Output: t.Output, Log: t.Log,
		}
		if t.Done {
			r.Source = t.Source.String()
		}
		out.Runs = append(out.Runs, r)
	}
	for _, l := range v.Leases {
		out.Leases = append(out.Leases, leaseOf(m, &l))
	}
	return out
}

// leaseOf shows a lease with what its charge can be computed from again.
func leaseOf(m *machine.Machine, v *machine.LeaseView) Lease {
	l := &v.Lease
	out := Lease{
		ID: l.ID, Run: v.Task, Provider: l.Provider, Class: l.Class, Units: l.Units, Seconds: l.Seconds,
		State: l.State.String(), Escrow: l.Escrow, Charge: l.Charge, D0: l.D0, D1: l.D1, Used: l.Used,
		Paid:   Paid{Burn: l.Paid.Burn, Serve: l.Paid.Serve, Stakers: l.Paid.Stakers, Total: l.Paid.Total()},
		Refund: l.Refund,
	}
	if l.State == market.StateClosed {
		out.Reason = l.Reason.String()
	}
	if l.D1 == 0 {
		return out // nobody accepted it: it has no place on the curve
	}
	if c, ok := m.Leases().Curve(l.Class, l.Reserve); ok {
		out.Curve = &Curve{P0: c.P0, Quarters: c.Quarters, Capacity: c.Capacity, Floor: c.Floor, Reserve: c.Reserve}
	}
	return out
}
