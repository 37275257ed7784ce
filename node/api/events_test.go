package api_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// [API-14] What the node notes reaches every listener in order; a listener may ask
// for the events of one job only.
func TestEvents(t *testing.T) {
	r := serve(t, api.Config{})
	all, err := r.Events(t.Context(), p2p.Digest{})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	one, err := r.Events(t.Context(), p2p.Digest{2})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	before := time.Now()
	for i := range 300 {
		r.cfg.Hub.Add(machine.Note{
			Fact: machine.FactHired, Job: p2p.Digest{byte(i % 3)}, Task: uint32(i), Amount: 1 << 60, Text: "a\nb: \"c\"",
			Peer: p2p.PeerID{7}, Lease: [32]byte{8},
		})
	}
	for i := range 300 {
		e, err := all.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Fact != "hired" || e.Task != uint32(i) || e.Amount != 1<<60 || e.Text != "a\nb: \"c\"" || e.Peer[0] != 7 ||
			e.Lease[0] != 8 || e.Time.Before(before.Add(-time.Second)) {
			t.Fatalf("event %d is %+v", i, e)
		}
		if i%3 != 2 {
			continue
		}
		if e, err = one.Next(); err != nil || e.Task != uint32(i) {
			t.Fatalf("event of job 2 is %+v, %v, want task %d", e, err, i)
		}
	}
}

// [API-14] A listener that asks for a job hears first what was lately noted of it.
func TestLateListener(t *testing.T) {
	r := serve(t, api.Config{})
	for i := range 2000 { // more than are kept
		r.cfg.Hub.Add(machine.Note{Fact: machine.FactHired, Job: p2p.Digest{byte(i % 2)}, Task: uint32(i)})
	}
	late, err := r.Events(t.Context(), p2p.Digest{1})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	r.cfg.Hub.Add(machine.Note{Fact: machine.FactStarted, Job: p2p.Digest{1}, Task: 2001})
	var heard []uint32
	for len(heard) == 0 || heard[len(heard)-1] != 2001 {
		e, err := late.Next()
		if err != nil {
			t.Fatal(err)
		}
		heard = append(heard, e.Task)
	}
	if len(heard) < 200 || heard[0]%2 != 1 || heard[len(heard)-2] != 1999 {
		t.Errorf("heard of %d tasks, from %d to %d before the last, want the latest odd ones up to 1999",
			len(heard), heard[0], heard[len(heard)-2])
	}
}

// [API-15] Noting never waits for a listener. One for which more events wait than
// Limits.Backlog is cut off, and its last event says so; the others stay.
func TestSlowListener(t *testing.T) {
	r := serve(t, api.Config{Limits: api.Limits{Backlog: 4}})
	slow, err := r.Events(t.Context(), p2p.Digest{1})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	other, err := r.Events(t.Context(), p2p.Digest{2})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	long := strings.Repeat("x", 1000)
	for range 20_000 { // more than any socket holds
		r.cfg.Hub.Add(machine.Note{Fact: machine.FactStarted, Job: p2p.Digest{1}, Text: long})
	}
	n := 0
	for err == nil {
		_, err = slow.Next()
		n++
	}
	wantProblem(t, err, api.CodeSlow, "4 events")
	if n < 4 || n == 20_001 {
		t.Errorf("%d events before the end", n)
	}
	r.cfg.Hub.Add(machine.Note{Fact: machine.FactStarted, Job: p2p.Digest{2}})
	if _, err := other.Next(); err != nil {
		t.Errorf("the other listener: %v", err)
	}
}

// [API-16] No more than Limits.Subscribers streams of events are open; one that
// ends makes room.
func TestManyListeners(t *testing.T) {
	r := serve(t, api.Config{Limits: api.Limits{Subscribers: 2}})
	var last *api.Events
	for range 2 {
		e, err := r.Events(t.Context(), p2p.Digest{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		last = e
	}
	_, err := r.Events(t.Context(), p2p.Digest{})
	wantProblem(t, err, api.CodeTooMany)
	last.Close()
	until(t, "room for a listener", func() bool {
		e, err := r.Events(t.Context(), p2p.Digest{})
		if err == nil {
			e.Close()
		}
		return err == nil
	})
}

// [API-17] When the server ends, streams of events end with a last event that says
// so, requests that wait for the node are answered, and the socket goes.
func TestEnd(t *testing.T) {
	r := serve(t, api.Config{})
	e, err := r.Events(t.Context(), p2p.Digest{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	asked := make(chan error, 1)
	go func() {
		_, err := r.Status(context.Background())
		asked <- err
	}()
	r.raw("GET", "/v1/openapi.json", "", nil) // later than the question has begun, on most runs
	begin := time.Now()
	r.stop()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("the server took %v to end", took)
	}
	if _, err = e.Next(); err == nil {
		t.Fatal("the stream goes on")
	}
	wantProblem(t, err, api.CodeStopping)
	if _, err = e.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the last event: %v", err)
	}
	if err := <-asked; !errors.Is(err, api.ErrNoNode) {
		wantProblem(t, err, api.CodeUnavailable)
	}
	if _, err := r.Status(t.Context()); !errors.Is(err, api.ErrNoNode) {
		t.Errorf("status after the end: %v, want ErrNoNode", err)
	}
}
