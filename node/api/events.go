package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pinfi/pinfi/node/machine"
	"github.com/pinfi/pinfi/p2p"
)

// A Hub spreads what a node notes to whoever listens. Its methods may be called
// from any goroutine.
type Hub struct {
	mu     sync.Mutex
	subs   []*subscription
	seq    uint64
	recent []Event // of jobs, the last recentMax
}

// recentMax is how many events of jobs are kept for listeners that come late.
const recentMax = 512

// NewHub returns a Hub without listeners. Hand its Add to the node as OnNote.
func NewHub() *Hub { return &Hub{} }

// A subscription is one listener. Its channel is closed when the listener is too
// slow.
type subscription struct {
	job    p2p.Digest // zero: all events
	events chan Event
}

// Add passes a note on to all listeners. It never waits: a listener without room
// for it is cut off.
func (h *Hub) Add(n machine.Note) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	e := Event{
		Seq: h.seq, Fact: n.Fact.String(),
		Peer: n.Peer, Lease: n.Lease, Job: n.Job, Task: n.Task, Amount: n.Amount, Text: n.Text,
		Time: time.Now(),
	}
	if !n.Job.IsZero() {
		h.recent = append(h.recent[max(0, len(h.recent)-recentMax+1):], e)
	}
	h.subs = slices.DeleteFunc(h.subs, func(s *subscription) bool {
		if !s.job.IsZero() && s.job != n.Job {
			return false
		}
		select {
		case s.events <- e:
			return false
		default:
			close(s.events)
			return true
		}
	})
}

// subscribe adds a listener, unless there are as many as may be. One that asks for a
// job hears first what was lately noted of it.
func (h *Hub) subscribe(job p2p.Digest, l Limits) (*subscription, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.subs) >= l.Subscribers {
		return nil, false
	}
	s := &subscription{job: job, events: make(chan Event, l.Backlog)}
	for _, e := range h.recent {
		if e.Job == job && len(s.events) < l.Backlog {
			s.events <- e
		}
	}
	h.subs = append(h.subs, s)
	return s, true
}

// unsubscribe removes a listener, if it is still there.
func (h *Hub) unsubscribe(s *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs = slices.DeleteFunc(h.subs, func(o *subscription) bool { return o == s })
}

// watchers returns the number of listeners.
func (h *Hub) watchers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

// keepAlive is how often an idle stream of events says that it lives.
const keepAlive = 15 * time.Second

// watch streams events as server-sent events: "event: note" with an Event, and at
// the end, when it is the server that ends it, "event: end" with a Problem.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	var job p2p.Digest
	if id := r.URL.Query().Get("job"); id != "" {
		var err error
		if job, err = p2p.ParseDigest(id); err != nil {
			problem(http.StatusUnprocessableEntity, CodeInvalid, "job: %v", err).write(w)
			return
		}
	}
	sub, ok := s.cfg.Hub.subscribe(job, s.cfg.Limits)
	if !ok {
		problem(http.StatusServiceUnavailable, CodeTooMany,
			"%d streams of events are open, and no more may be; end one first", s.cfg.Limits.Subscribers).write(w)
		return
	}
	defer s.cfg.Hub.unsubscribe(sub)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	out := &stream{w, http.NewResponseController(w)}
	if out.comment("listening") != nil {
		return
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		var err error
		select {
		case e, open := <-sub.events:
			if !open {
				out.end(problem(http.StatusServiceUnavailable, CodeSlow,
					"more than %d events waited for this listener; listen again, and read faster", s.cfg.Limits.Backlog))
				return
			}
			err = out.send("note", e)
		case <-tick.C:
			err = out.comment("alive")
		case <-s.asking.Done():
			out.end(problem(http.StatusServiceUnavailable, CodeStopping, "the node is stopping"))
			return
		case <-r.Context().Done():
			return
		}
		if err != nil {
			return // nobody listens any more
		}
	}
}

// A stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// send writes one event of a type.
func (s *stream) send(kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(fmt.Appendf(nil, "event: %s\ndata: %s\n\n", kind, data))
}

// comment writes what listeners pass over.
func (s *stream) comment(text string) error { return s.write(fmt.Appendf(nil, ": %s\n\n", text)) }

// end says why there will be no more.
func (s *stream) end(p *ProblemError) { _ = s.send("end", p) } // the connection ends either way

func (s *stream) write(b []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(moveTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.control.Flush()
}
