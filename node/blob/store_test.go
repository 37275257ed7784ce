package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pinfi/pinfi/p2p"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// leftovers lists the files below the store that stand under no digest.
func leftovers(t *testing.T, s *Store) []string {
	t.Helper()
	var names []string
	for _, sub := range []string{"tmp", "partial"} {
		entries, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, sub+"/"+e.Name())
		}
	}
	return names
}

// [JOB-1] A blob is named by the SHA-256 digest of its bytes.
func TestPutGet(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	for _, size := range []int{0, 1, 4096, 1 << 20} {
		b := randomBytes(t, size)
		d, n, err := s.Put(ctx, bytes.NewReader(b), int64(size))
		if err != nil || n != int64(size) || d != p2p.SumContent(b) {
			t.Fatalf("Put of %d bytes = %v, %d, %v", size, d, n, err)
		}
		if other, err := s.PutBytes(b); err != nil || other != d {
			t.Fatalf("PutBytes = %v, %v, want %v", other, err, d)
		}
		got, err := s.Read(ctx, d, int64(size))
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("Read of %d bytes: %d bytes, %v", size, len(got), err)
		}
		path, err := s.Path(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		if again, n, err := s.PutFile(ctx, path, int64(size)); err != nil || again != d || n != int64(size) {
			t.Fatalf("PutFile = %v, %d, %v", again, n, err)
		}
	}
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLimits(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	b := []byte("twelve bytes")
	if _, _, err := s.Put(ctx, bytes.NewReader(b), 11); !errors.Is(err, ErrTooBig) {
		t.Errorf("Put over its limit: %v, want ErrTooBig", err)
	}
	if s.Has(p2p.SumContent(b)) || len(leftovers(t, s)) > 0 {
		t.Error("a refused blob was stored")
	}
	d, err := s.PutBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(ctx, d, 11); !errors.Is(err, ErrTooBig) {
		t.Errorf("Read over its limit: %v, want ErrTooBig", err)
	}
	if _, _, err := s.PutFile(ctx, t.TempDir(), 100); !errors.Is(err, ErrIrregular) {
		t.Errorf("PutFile of a folder: %v, want ErrIrregular", err)
	}
	if _, _, err := s.PutFile(ctx, "missing", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("PutFile of no file: %v, want ErrNotExist", err)
	}
}

func TestCancelled(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Put(ctx, strings.NewReader("x"), 10); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v, want Canceled", err)
	}
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// [JOB-2] A stored file whose bytes changed is found out when it is used,
// removed, and reported as corrupt; it is never handed on.
func TestCorrupt(t *testing.T) {
	uses := map[string]func(*Store, p2p.Digest) error{
		"Verified": func(s *Store, d p2p.Digest) error { _, _, err := s.Verified(t.Context(), d); return err },
		"Path":     func(s *Store, d p2p.Digest) error { _, err := s.Path(t.Context(), d); return err },
		"Read":     func(s *Store, d p2p.Digest) error { _, err := s.Read(t.Context(), d, 100); return err },
		"Copy":     func(s *Store, d p2p.Digest) error { _, err := s.Copy(t.Context(), io.Discard, d); return err },
	}
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			d, err := s.PutBytes([]byte("the right bytes"))
			if err != nil {
				t.Fatal(err)
			}
			if err := use(s, d); err != nil {
				t.Fatalf("of a good file: %v", err)
			}
			spoil(t, s, d)
			if err := use(s, d); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "fetch it again") {
				t.Errorf("of a corrupt file: %v, want ErrCorrupt with advice", err)
			}
			if s.Has(d) {
				t.Error("the corrupt file is still there")
			}
			if err := use(s, d); !errors.Is(err, ErrNotFound) {
				t.Errorf("of a removed file: %v, want ErrNotFound", err)
			}
		})
	}
}

// spoil changes a byte of the stored file of d.
func spoil(t *testing.T, s *Store, d p2p.Digest) {
	t.Helper()
	b, err := os.ReadFile(s.place(d))
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if err := os.Remove(s.place(d)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.place(d), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSweeps(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.PutBytes([]byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tmp/put-1", "partial/" + d.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err = Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := leftovers(t, s); len(got) != 1 || got[0] != "partial/"+d.String() {
		t.Errorf("after Open: %v, want the partial file only", got)
	}
	if !s.Has(d) || s.Remove(d) != nil || s.Has(d) || s.Remove(d) != nil {
		t.Error("the stored file was lost, or Remove does not remove it")
	}
}
