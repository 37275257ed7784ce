package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pinfi/pinfi/p2p"
)

// Events is a stream of what a node notes. It belongs to one goroutine.
type Events struct {
	body  io.ReadCloser
	lines *bufio.Scanner
	end   context.CancelFunc
}

// eventMax is how many bytes one event may have.
const eventMax = 64 << 10

// Events listens to what the node notes about a job, or to all when it is zero.
// Nothing that is noted after it returns is left out until Next fails. The stream
// ends with ctx; Close it in any case.
func (c *Client) Events(ctx context.Context, job p2p.Digest) (*Events, error) {
	where := "/v1/events"
	if !job.IsZero() {
		where += "?job=" + job.String()
	}
	ctx, cancel := context.WithCancel(ctx)
	req, err := c.request(ctx, http.MethodGet, where, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	res, err := c.send(req)
	if err != nil {
		cancel()
		return nil, err
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, eventMax)
	return &Events{body: res.Body, lines: lines, end: cancel}, nil
}

// Next returns the next event. It fails with a *ProblemError when the node ends the
// stream, with CodeSlow when this listener did not keep up, and with
// io.ErrUnexpectedEOF when the node is gone.
func (e *Events) Next() (Event, error) {
	var kind, data string
	for e.lines.Scan() {
		field, value, _ := strings.Cut(e.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			kind = value
		case "data":
			data = value
		case "": // an empty line ends an event; anything else is a comment
			if e.lines.Text() == "" && data != "" {
				return eventOf(kind, data)
			}
		}
	}
	if err := e.lines.Err(); err != nil {
		return Event{}, fmt.Errorf("events: %w", err)
	}
	return Event{}, fmt.Errorf("events: %w", io.ErrUnexpectedEOF)
}

// eventOf reads one event.
func eventOf(kind, data string) (Event, error) {
	if kind == "end" {
		p := &ProblemError{}
		if err := json.Unmarshal([]byte(data), p); err != nil {
			return Event{}, fmt.Errorf("events: %w", err)
		}
		return Event{}, p
	}
	var out Event
	if err := json.Unmarshal([]byte(data), &out); err != nil {
		return Event{}, fmt.Errorf("events: %w", err)
	}
	return out, nil
}

// Close ends the stream.
func (e *Events) Close() {
	e.end()
	_ = e.body.Close() // nothing is written on it
}

// lookAgain is how long a client waits for an event before it looks at a job
// without one.
const lookAgain = time.Second

// WaitJob waits until every task of a job has ended or the job has failed, and
// returns how it stands. progress is told of every event of the job, in order, once
// for each Client, those of just before the call too; it may be nil. Money may
// still be owed then: WaitSettled waits for that.
func (c *Client) WaitJob(ctx context.Context, id p2p.Digest, progress func(Event)) (Job, error) {
	return c.wait(ctx, id, progress, func(j *Job) bool { return j.State != JobRunning })
}

// WaitSettled waits as WaitJob does, and then until no lease of the job is open.
func (c *Client) WaitSettled(ctx context.Context, id p2p.Digest, progress func(Event)) (Job, error) {
	return c.wait(ctx, id, progress, func(j *Job) bool { return j.State != JobRunning && j.Settled })
}

// wait looks at a job after each of its events, and now and then without one,
// until it is what the caller wants. A stream of events that breaks is opened
// again: only what a look at the job says counts.
func (c *Client) wait(
	ctx context.Context, id p2p.Digest, progress func(Event), enough func(*Job) bool,
) (Job, error) {
	tell := func(e Event) {
		if c.news(id, e.Seq) && progress != nil {
			progress(e)
		}
	}
	for {
		j, err := c.listen(ctx, id, tell, enough)
		if err == nil || ctx.Err() != nil {
			return j, err
		}
		p, known := errors.AsType[*ProblemError](err)
		if !known || p.Code != CodeSlow {
			return j, err
		}
	}
}

// news reports whether an event of a job was not told before: a stream begins with
// what was lately noted.
func (c *Client) news(job p2p.Digest, seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq <= c.told[job] {
		return false
	}
	c.told[job] = seq
	return true
}

// listen is one stream's part of wait.
func (c *Client) listen(
	ctx context.Context, id p2p.Digest, progress func(Event), enough func(*Job) bool,
) (last Job, err error) {
	stream, err := c.Events(ctx, id)
	if err != nil {
		return last, err
	}
	reading, stop := context.WithCancel(ctx)
	events, broke := make(chan Event), make(chan error, 1)
	var pump sync.WaitGroup
	pump.Go(func() { broke <- stream.pump(reading, events) })
	defer func() {
		stop()
		stream.Close()
		pump.Wait()
	}()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		if last, err = c.Job(ctx, id); err != nil {
			return last, err
		}
		if enough(&last) {
			drain(events, progress)
			return last, nil
		}
		select {
		case e := <-events:
			progress(e)
		case <-tick.C:
		case err := <-broke:
			return last, err
		}
	}
}

// pump hands on events until the stream ends or nobody wants them.
func (e *Events) pump(ctx context.Context, out chan<- Event) error {
	for {
		event, err := e.Next()
		if err != nil {
			return err
		}
		select {
		case out <- event:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// quiet is how long no event must come for a client to believe that none is under
// way.
const quiet = 50 * time.Millisecond

// drain hands on the events that are under way: the node noted them before it
// showed the job, and they come another way.
func drain(events <-chan Event, progress func(Event)) {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case e := <-events:
			progress(e)
			timer.Reset(quiet)
		case <-timer.C:
			return
		}
	}
}
