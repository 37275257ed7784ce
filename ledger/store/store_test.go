package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	ds "github.com/ipfs/go-datastore"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/p2p"
)

// TestMain fails when a store leaves a goroutine behind.
func TestMain(m *testing.M) {
	if os.Getenv(aloneKey) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

var network = p2p.Network{1}

// newStore opens a store in dir and closes it with the test.
func newStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, network, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// wantRecords fails unless the store holds exactly these.
func wantRecords(t *testing.T, s *Store, want ...Record) {
	t.Helper()
	got, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("records\n got %v\nwant %v", got, want)
	}
}

func TestWriteLoad(t *testing.T) {
	long := bytes.Repeat([]byte("pinfi "), 1000)
	for name, s := range map[string]*Store{"disk": newStore(t, t.TempDir()), "memory": OpenMemory()} {
		t.Run(name, func(t *testing.T) {
			// [LED-22] Load returns records by kind and key.
			err := s.Write(t.Context(), []Record{
				{2, []byte{1}, []byte("c")},
				{1, []byte{0xff, '/'}, long},
				{1, []byte{0}, []byte{}},
				{1, []byte{0xff}, []byte("b")},
				{9, []byte{9}, []byte("gone")},
				{9, []byte{9}, nil},
			})
			if err != nil {
				t.Fatal(err)
			}
			wantRecords(t, s, Record{1, []byte{0}, []byte{}}, Record{1, []byte{0xff}, []byte("b")},
				Record{1, []byte{0xff, '/'}, long}, Record{2, []byte{1}, []byte("c")})
			if err := s.Write(t.Context(), []Record{{1, []byte{0xff}, nil}, {2, nil, []byte("x")}}); err == nil {
				t.Fatal("an empty key was written")
			}
			if got, _ := s.Load(t.Context()); len(got) != 4 {
				t.Fatalf("a refused batch left %d records, want 4", len(got))
			}
			if err := s.Write(t.Context(), []Record{{1, []byte{1}, make([]byte, MaxValue+1)}}); err == nil {
				t.Fatal("a value over the limit was written")
			}
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Fatal(err)
			}
			if err := s.Write(t.Context(), nil); !errors.Is(err, ErrClosed) {
				t.Fatalf("write after close: %v", err)
			}
			if _, err := s.Load(t.Context()); !errors.Is(err, ErrClosed) {
				t.Fatalf("load after close: %v", err)
			}
		})
	}
}

// A value is stored small where it shrinks, and as it is where its beginning does not.
func TestSealShrinks(t *testing.T) {
	c := newCodec()
	defer c.close()
	noise := make([]byte, 2*sample)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	words := bytes.Repeat([]byte("pinfi "), sample)
	for name, tt := range map[string]struct {
		value []byte
		form  byte
	}{
		"words":             {words, formZstd},
		"few words":         {words[:compressMin], formPlain},
		"noise":             {noise, formPlain},
		"words after noise": {slices.Concat(noise[:sample], words), formPlain},
		"noise after words": {slices.Concat(words, noise), formZstd},
	} {
		sealed := c.seal("k", tt.value)
		if sealed[0] != tt.form {
			t.Errorf("%s: form %d, want %d", name, sealed[0], tt.form)
		}
		if got, err := c.open("k", sealed); err != nil || !bytes.Equal(got, tt.value) {
			t.Errorf("%s: opens to %d bytes, want %d: %v", name, len(got), len(tt.value), err)
		}
	}
}

// TestLoadIsWhatWasWritten compares a store with a map, through reopening.
func TestLoadIsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fs := vfs.NewMem()
		s, err := openFS("db", network, nil, fs)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		model := map[string][]byte{}
		record := rapid.Custom(func(t *rapid.T) Record {
			return Record{
				rapid.Uint8Max(2).Draw(t, "kind"), rapid.SliceOfN(rapid.Byte(), 1, 2).Draw(t, "key"),
				rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 3),
					rapid.Just(make([]byte, 5000))).Draw(t, "value"),
			}
		})
		for range rapid.IntRange(1, 4).Draw(rt, "writes") {
			batch := rapid.SliceOfN(record, 0, 8).Draw(rt, "batch")
			if err := s.Write(t.Context(), batch); err != nil {
				rt.Fatal(err)
			}
			for _, r := range batch {
				k := fmt.Sprintf("%02x/%x", r.Kind, r.Key)
				if model[k] = r.Value; r.Value == nil {
					delete(model, k)
				}
			}
			if rapid.Bool().Draw(rt, "reopen") {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = openFS("db", network, nil, fs); err != nil {
					rt.Fatal(err)
				}
			}
			got, err := s.Load(t.Context())
			if err != nil || len(got) != len(model) {
				rt.Fatalf("%d records, want %d: %v", len(got), len(model), err)
			}
			for _, r := range got {
				if want, ok := model[fmt.Sprintf("%02x/%x", r.Kind, r.Key)]; !ok || !bytes.Equal(r.Value, want) {
					rt.Fatalf("record %v: want %x, %v", r, want, ok)
				}
			}
		}
	})
}

// [LED-20] A batch that was written survives the machine; one that was not leaves nothing.
func TestKilled(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, err := openFS("db", network, nil, fs)
	if err != nil {
		t.Fatal(err)
	}
	var disks []*vfs.MemFS // as they would be found after a power cut
	for i := range byte(20) {
		disks = append(disks, fs.CrashClone(vfs.CrashCloneCfg{}))
		batch := []Record{{1, []byte{i}, []byte{i}}, {2, []byte{i}, bytes.Repeat([]byte{i}, 3000)}}
		if err := s.Write(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, disk := range disks {
		s, err := openFS("db", network, nil, disk)
		if err != nil {
			t.Fatalf("after %d writes: %v", i, err)
		}
		got, err := s.Load(t.Context())
		if err != nil || len(got) != 2*i {
			t.Fatalf("after %d writes: %d records, %v", i, len(got), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// [LED-21] A flipped bit in a stored value is found.
func TestFlippedValue(t *testing.T) {
	s := newStore(t, t.TempDir())
	key, err := keyOf(Record{Kind: 1, Key: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range [][]byte{[]byte("vote"), bytes.Repeat([]byte("vote"), 1000)} {
		sealed := s.codec.seal(key.String(), value)
		for i := range sealed {
			bad := bytes.Clone(sealed)
			bad[i] ^= 4
			if err := s.data.Put(t.Context(), key, bad); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Load(t.Context()); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d flipped: %v, %v", i, got, err)
			}
		}
	}
	// A value under another's key is damage as well.
	if err := s.data.Put(t.Context(), key, s.codec.seal("/r/01/00", []byte("vote"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context()); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("value under another's key: %v", err)
	}
}

// TestFlippedFile flips a byte in every file of a store, in several places. A load
// must fail or give what was written.
func TestFlippedFile(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	var want []Record
	for i := range byte(50) {
		want = append(want, Record{1, []byte{i}, bytes.Repeat([]byte{i, 7}, 20)})
	}
	if err := errors.Join(s.Write(t.Context(), want), s.Close()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("files %v, %v", files, err)
	}
	found := 0
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.IsDir() || info.Size() == 0 {
			continue
		}
		for n := range 8 {
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil && !errors.Is(err, os.ErrExist) {
				t.Fatal(err)
			}
			path := filepath.Join(copied, filepath.Base(file))
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[int(info.Size())*n/8] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			found += wantWholeOrError(t, copied, want, filepath.Base(file))
		}
	}
	if found < 8 {
		t.Fatalf("only %d flipped bytes were found", found)
	}
}

// wantWholeOrError opens a damaged store and returns 1 when it is refused, as
// corrupt, and 0 when it holds all that was written.
func wantWholeOrError(t *testing.T, dir string, want []Record, file string) int {
	t.Helper()
	s, err := Open(dir, network, nil)
	if err == nil {
		defer func() { _ = s.Close() }()
		var got []Record
		if got, err = s.Load(t.Context()); err == nil {
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s flipped: %d records of %d and no error", file, len(got), len(want))
			}
			return 0
		}
	}
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) {
		t.Errorf("%s flipped: %v", file, err)
	}
	return 1
}

// TestFlippedLog flips a byte of the log of a store that was not closed, far enough
// before its end: what was made durable after it must not vanish unnoticed.
func TestFlippedLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, err := openFS("db", network, nil, fs)
	if err != nil {
		t.Fatal(err)
	}
	for i := range byte(200) {
		if err := s.Write(t.Context(), []Record{{1, []byte{i}, bytes.Repeat([]byte{i}, 900)}}); err != nil {
			t.Fatal(err)
		}
	}
	disk := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := disk.List("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if filepath.Ext(name) == ".log" {
			flip(t, disk, "db/"+name)
		}
	}
	if s, err := openFS("db", network, nil, disk); !errors.Is(err, ErrCorrupt) {
		got, err := s.Load(t.Context())
		t.Fatalf("opened, %d records, %v", len(got), err)
	}
}

// flip flips a bit a third into a file.
func flip(t *testing.T, disk *vfs.MemFS, name string) {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 1
	w, err := disk.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(b)
	if err := errors.Join(err, f.Close(), w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// [LED-23] A store in use, and one of another network, are refused with advice.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	if _, err := Open(dir, network, nil); !errors.Is(err, ErrInUse) {
		t.Fatalf("second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, p2p.Network{2}, nil); !errors.Is(err, ErrForeign) {
		t.Fatalf("open as another network: %v", err)
	}
	s = newStore(t, dir)
	if err := s.data.Put(t.Context(), ds.NewKey(metaKey), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, network, nil); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("open with a damaged meta: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "x"), network, nil); err == nil {
		t.Fatal("opened a store below a file")
	}
}

// [LED-73] A store is opened to be read only when it is there, and nothing in it changes.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenReadOnly(dir, network, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open where no store is: %v", err)
	}
	s := newStore(t, dir)
	want := Record{1, []byte("k"), []byte("v")}
	if err := s.Write(t.Context(), []Record{want}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReadOnly(dir, network, nil); !errors.Is(err, ErrInUse) {
		t.Fatalf("open a store in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	if _, err := OpenReadOnly(dir, p2p.Network{2}, nil); !errors.Is(err, ErrForeign) {
		t.Fatalf("open as another network: %v", err)
	}
	r, err := OpenReadOnly(dir, network, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, r, want)
	if err := r.Write(t.Context(), []Record{want}); err == nil {
		t.Error("a store that is only read was written to")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, dir); !maps.Equal(before, after) {
		t.Errorf("files have changed: %d, then %d", len(before), len(after))
	}
}

// contents returns the files of a folder by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func BenchmarkWrite(b *testing.B) {
	s, err := Open(b.TempDir(), network, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	value := make([]byte, 200)
	for i := range b.N {
		if err := s.Write(b.Context(), []Record{{1, []byte{byte(i >> 16), byte(i >> 8), byte(i)}, value}}); err != nil {
			b.Fatal(err)
		}
	}
}
