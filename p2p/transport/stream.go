package transport

import (
	"io"
	"os"
	"sync"
	"time"
)

// pipeSize is how many bytes one half of a stream holds before Write waits.
const pipeSize = 256 << 10

// An end is one side of a stream inside the process.
type end struct {
	in, out *half
	ended   func() // nil, or called when this side is closed or reset
}

// newStream returns the two sides of a stream.
func newStream() (near, far *end) {
	a, b := newHalf(), newHalf()
	return &end{in: a, out: b}, &end{in: b, out: a}
}

// Read reads what the other side wrote.
func (e *end) Read(p []byte) (int, error) { return e.in.read(p) }

// Write waits while the other side is behind by pipeSize bytes.
func (e *end) Write(p []byte) (int, error) { return e.out.write(p) }

// CloseWrite ends our half.
func (e *end) CloseWrite() error {
	e.out.end(nil)
	return nil
}

// Close ends both halves: what we wrote can still be read, what we did not read
// is lost.
func (e *end) Close() error {
	e.out.end(nil)
	e.in.end(io.ErrClosedPipe)
	e.finish()
	return nil
}

// Reset breaks both halves.
func (e *end) Reset() error {
	e.out.end(io.ErrClosedPipe)
	e.in.end(io.ErrClosedPipe)
	e.finish()
	return nil
}

// SetDeadline bounds the reads and writes of this side.
func (e *end) SetDeadline(t time.Time) error {
	e.in.reader.set(e.in, t)
	e.out.writer.set(e.out, t)
	return nil
}

func (e *end) finish() {
	if e.ended != nil {
		e.ended()
	}
}

// A half carries bytes in one direction.
type half struct {
	mu             sync.Mutex
	changed        *sync.Cond
	data           []byte
	ended          bool  // the writer is done
	broken         error // set once the half is of no use
	reader, writer deadline
}

func newHalf() *half {
	h := &half{}
	h.changed = sync.NewCond(&h.mu)
	return h
}

// A deadline ends the waiting of one side of a half.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// set moves the deadline and wakes those who wait under the old one.
func (d *deadline) set(h *half, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() {
			h.mu.Lock() // or a reader between its check and its wait would miss it
			defer h.mu.Unlock()
			h.changed.Broadcast()
		})
	}
	h.changed.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// end closes the half: with nil the reader may still read what is there.
func (h *half) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	if err != nil && h.broken == nil {
		h.broken, h.data = err, nil
	}
	h.changed.Broadcast()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.broken != nil:
			return 0, h.broken
		case h.reader.passed():
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0:
			n := copy(p, h.data)
			h.data = h.data[n:]
			h.changed.Broadcast()
			return n, nil
		case h.ended:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		h.changed.Wait()
	}
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	written := 0
	for {
		switch {
		case h.ended:
			return written, io.ErrClosedPipe
		case h.writer.passed():
			return written, os.ErrDeadlineExceeded
		case written == len(p):
			return written, nil
		}
		if room := pipeSize - len(h.data); room > 0 {
			n := min(room, len(p)-written)
			h.data = append(h.data, p[written:written+n]...)
			written += n
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}
