package blob

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pinfi/pinfi/p2p"
)

// An opener opens a stream.
type opener = func(context.Context) (io.ReadWriteCloser, error)

// serving opens streams that the store answers, and waits for them at the end
// of the test.
func serving(t *testing.T, s *Store) opener {
	t.Helper()
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	return func(context.Context) (io.ReadWriteCloser, error) {
		near, far := net.Pipe()
		serving.Go(func() { _ = Serve(far, s) }) // the fetching side shows what went wrong
		return near, nil
	}
}

// fetch fetches d over one stream of open.
func fetch(t *testing.T, s *Store, open opener, d p2p.Digest, limit int64) error {
	t.Helper()
	stream, err := open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	return Fetch(stream, d, limit, s)
}

func TestFetch(t *testing.T) {
	from, to := newStore(t), newStore(t)
	open := serving(t, from)
	for _, size := range []int{0, 1, 1 << 20} {
		b := randomBytes(t, size)
		d, err := from.PutBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second is answered by what is there
			if err := fetch(t, to, open, d, int64(size)); err != nil {
				t.Fatalf("Fetch of %d bytes: %v", size, err)
			}
		}
		if got, err := to.Read(t.Context(), d, int64(size)); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("fetched %d bytes, %v", len(got), err)
		}
	}
	if err := fetch(t, to, open, p2p.Digest{1}, 10); !errors.Is(err, ErrNotFound) {
		t.Errorf("Fetch of an unknown digest: %v, want ErrNotFound", err)
	}
	if left := leftovers(t, to); len(left) > 1 {
		t.Errorf("left behind: %v", left)
	}
}

// [JOB-7] A transfer refuses what exceeds its limit before it is sent.
func TestFetchTooBig(t *testing.T) {
	from, to := newStore(t), newStore(t)
	d, err := from.PutBytes([]byte("four"))
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int64{3, 0, -1} {
		if err := fetch(t, to, serving(t, from), d, limit); !errors.Is(err, ErrTooBig) {
			t.Errorf("Fetch with limit %d: %v, want ErrTooBig", limit, err)
		}
	}
	if to.Has(d) || len(leftovers(t, to)) > 0 {
		t.Error("a refused blob was kept")
	}
}

// A script is a peer that says what it is told to and records what it is asked.
type script struct {
	io.Reader
	asked bytes.Buffer
}

func (s *script) Write(p []byte) (int, error) { return s.asked.Write(p) }

// replies returns a peer that claims a size and sends body.
func replies(status byte, size int, body []byte) *script {
	head := binary.BigEndian.AppendUint64([]byte{status}, uint64(size))
	return &script{Reader: bytes.NewReader(append(head, body...))}
}

// [JOB-8] A broken transfer goes on where it broke, over another stream.
func TestFetchResumes(t *testing.T) {
	from, to := newStore(t), newStore(t)
	b := randomBytes(t, 1000)
	d, err := from.PutBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := Fetch(replies(statusOK, 1000, b[:400]), d, 1000, to); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("Fetch over a stream that breaks: %v, want ErrUnexpectedEOF", err)
	}
	rest := replies(statusOK, 1000, b[400:])
	if err := Fetch(rest, d, 1000, to); err != nil {
		t.Fatal(err)
	}
	if offset := binary.BigEndian.Uint64(rest.asked.Bytes()[32:]); offset != 400 {
		t.Errorf("the second stream was asked for the bytes from %d, want 400", offset)
	}
	if got, err := to.Read(t.Context(), d, 1000); err != nil || !bytes.Equal(got, b) {
		t.Errorf("fetched %d bytes, %v", len(got), err)
	}
	// A real server, too, answers from an offset.
	other := newStore(t)
	if err := os.WriteFile(filepath.Join(other.dir, "partial", d.String()), b[:999], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fetch(t, other, serving(t, from), d, 1000); err != nil || !other.Has(d) {
		t.Error("Fetch of the last byte:", err)
	}
}

// [JOB-9] Received bytes that do not have the digest asked for are thrown away,
// and the next transfer starts from nothing.
func TestFetchWrongBytes(t *testing.T) {
	b := randomBytes(t, 1000)
	d := p2p.SumContent(b)
	wrong := append(bytes.Clone(b[:999]), b[999]^1)
	peers := map[string]*script{
		"wrong byte": replies(statusOK, 1000, wrong),
		"shorter":    replies(statusOK, 999, b[:999]),
		"longer":     replies(statusOK, 1001, append(bytes.Clone(b), 0)),
	}
	for name, peer := range peers {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := Fetch(peer, d, 2000, s); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Fetch: %v, want ErrCorrupt", err)
			}
			if s.Has(d) || len(leftovers(t, s)) > 0 {
				t.Error("wrong bytes were kept")
			}
		})
	}
	t.Run("partial", func(t *testing.T) { // what was fetched before is wrong, and too long
		from, s := newStore(t), newStore(t)
		if _, err := from.PutBytes(b); err != nil {
			t.Fatal(err)
		}
		for _, have := range [][]byte{wrong, append(bytes.Clone(b), 0)} {
			if err := os.WriteFile(filepath.Join(s.dir, "partial", d.String()), have, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := fetch(t, s, serving(t, from), d, 2000); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Fetch: %v, want ErrCorrupt", err)
			}
		}
		if err := fetch(t, s, serving(t, from), d, 2000); err != nil {
			t.Error("Fetch after the wrong bytes were thrown away:", err)
		}
	})
	for _, peer := range []*script{replies(9, 0, nil), replies(statusFailed, 0, nil), {Reader: bytes.NewReader(nil)}} {
		if err := Fetch(peer, d, 2000, newStore(t)); err == nil {
			t.Error("Fetch from a peer that sends no file succeeded")
		}
	}
}

func TestFetchTwiceAtOnce(t *testing.T) {
	from, to := newStore(t), newStore(t)
	open := serving(t, from)
	d, err := from.PutBytes(randomBytes(t, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			stream, _ := open(t.Context())
			defer stream.Close()
			if err := Fetch(stream, d, 1<<20, to); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if _, err := to.Path(t.Context(), d); err != nil || len(leftovers(t, to)) > 0 {
		t.Errorf("after eight fetches: %v, left behind %v", err, leftovers(t, to))
	}
}

func TestFetchTree(t *testing.T) {
	from, to, dir := newStore(t), newStore(t), t.TempDir()
	writeTree(t, dir, map[string]string{"a": "1", "b/c": "23"})
	d, _, err := PackDir(t.Context(), from, dir, Limits{Bytes: 3, Files: 2})
	if err != nil {
		t.Fatal(err)
	}
	open := serving(t, from)
	for _, limits := range []Limits{{Bytes: 2, Files: 2}, {Bytes: 3, Files: 1}} {
		if _, err := FetchTree(t.Context(), open, d, limits, newStore(t)); !errors.Is(err, ErrTooBig) {
			t.Errorf("FetchTree with %+v: %v, want ErrTooBig", limits, err)
		}
	}
	m, err := FetchTree(t.Context(), open, d, Limits{Bytes: 3, Files: 2}, to)
	if err != nil || len(m.Files) != 2 {
		t.Fatalf("FetchTree = %v, %v", m, err)
	}
	out := t.TempDir()
	if _, err := Unpack(t.Context(), to, d, out); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(out, "b", "c"), "23")
}

func TestFetchTreeCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	silent := func(context.Context) (io.ReadWriteCloser, error) {
		near, far := net.Pipe() // nobody answers
		t.Cleanup(func() { _ = far.Close() })
		return near, nil
	}
	if _, err := FetchTree(ctx, silent, p2p.Digest{1}, Limits{Bytes: 1, Files: 1}, newStore(t)); err == nil {
		t.Error("FetchTree from a silent peer returned without an error")
	}
}
