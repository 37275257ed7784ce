package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// aloneKey says in the environment that this process is for one test.
const aloneKey = "STORE_TEST_ALONE"

// alone runs the calling test in a process of its own, where it returns true: a store
// whose disk has failed leaves goroutines of Pebble waiting until the process ends.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneKey) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), aloneKey+"="+t.Name())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in a process of its own: %v", err)
	}
	return false
}

// A badDisk is a disk on which something happens at the n-th operation that changes
// it, counted from 1.
type badDisk struct {
	disk *vfs.MemFS
	n    int                    // 0: never
	only string                 // of the paths that it hits; "": all
	err  error                  // what fails then
	once bool                   // only that operation fails, else all after it as well
	cut  *vfs.CrashCloneCfg     // the power fails: nothing after the operation happens, and clone is what is found
	then func(clone *vfs.MemFS) // told of it

	mu   sync.Mutex
	ops  int
	dead bool
}

// MaybeError implements errorfs.Injector.
func (b *badDisk) MaybeError(op errorfs.Op) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead {
		return errDead
	}
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpLock ||
		!strings.Contains(op.Path, b.only) {
		return nil
	}
	b.ops++
	switch {
	case b.n == 0 || b.ops < b.n || b.once && b.ops > b.n:
		return nil
	case b.cut != nil:
		b.dead = true
		b.then(b.disk.CrashClone(*b.cut))
		return errDead
	default:
		return b.err
	}
}

// String implements errorfs.Injector.
func (b *badDisk) String() string { return "bad disk" }

// struck reports whether the operation has come.
func (b *badDisk) struck() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n > 0 && b.ops >= b.n
}

// die lets nothing more happen on the disk: the process is gone.
func (b *badDisk) die() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dead = true
}

// errDead is what a process gets of a disk after its own end.
var errDead = fmt.Errorf("the process is dead: %w", syscall.EIO)

// batches are those of the script. Each takes back some of the one before it, so that
// one that is found in part shows. Values do not compress: a few of them fill a table.
var batches = func() (all [scriptBatches][]Record) {
	chance := rand.NewChaCha8([32]byte{1})
	for n := range all {
		for i := range 4 {
			value := make([]byte, 12<<10)
			_, _ = chance.Read(value) // it never fails
			all[n] = append(all[n], Record{uint8(1 + i), []byte{byte(n)}, value})
		}
		if n > 0 {
			all[n] = append(all[n], Record{Kind: 1, Key: []byte{byte(n - 1)}})
		}
	}
	return all
}()

// A script is a run of writes with a restart in it, and what was written when.
type script struct {
	mu           sync.Mutex
	begun, ended int // batches whose Write was called, and that returned nil
}

const scriptBatches = 8

// play runs the script on a disk until its end or an error.
func (sc *script) play(t *testing.T, fs vfs.FS) error {
	var s *Store
	for n := range scriptBatches {
		if n == scriptBatches-2 && s != nil {
			if err := s.Close(); err != nil {
				return err
			}
			s = nil
		}
		if s == nil {
			var err error
			if s, err = openFS("db", network, nil, fs); err != nil {
				return err
			}
		}
		sc.mu.Lock()
		sc.begun++
		sc.mu.Unlock()
		if err := s.Write(t.Context(), batches[n]); err != nil {
			again := s.Write(t.Context(), batches[n])
			if again == nil {
				t.Error("a store that could not write writes")
			}
			return errors.Join(err, s.Close())
		}
		sc.mu.Lock()
		sc.ended++
		sc.mu.Unlock()
	}
	return s.Close()
}

// span returns how many batches must be on the disk now, and how many may be.
func (sc *script) span() (least, most int) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.ended, sc.begun
}

// wantBatches opens what a disk holds and fails unless it is the first batches of the
// script, whole: at least so many and at most so many.
func wantBatches(t *testing.T, disk vfs.FS, least, most int, what string) {
	t.Helper()
	s, err := openFS("db", network, nil, disk)
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	defer func() { _ = s.Close() }()
	got, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for n := least; n <= most; n++ {
		if sameRecords(got, stateAfter(n)) {
			return
		}
	}
	t.Fatalf("%s: %d records that are not those of %d to %d whole batches", what, len(got), least, most)
}

// stateAfter returns what a store holds after n batches, in order of kind and key.
func stateAfter(n int) []Record {
	var out []Record
	for kind := range uint8(4) {
		for k := range n {
			if kind > 0 || k == n-1 {
				out = append(out, batches[k][kind])
			}
		}
	}
	return out
}

func sameRecords(a, b []Record) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Kind != b[i].Kind || !bytes.Equal(a[i].Key, b[i].Key) || !bytes.Equal(a[i].Value, b[i].Value) {
			return false
		}
	}
	return true
}

// [LED-70] A store whose process or machine ends at any write, sync, creation or
// renaming of a file holds each batch whose Write returned nil, and at most the one
// under way, whole.
func TestPowerCutAnywhere(t *testing.T) {
	if !alone(t) {
		return
	}
	// Of the logs half of the blocks that were not synced are kept, too: torn writes.
	for kept, only := range map[int]string{0: "", 50: ".log"} {
		points := 0
		for n, over := 1, false; !over; n++ {
			disk := vfs.NewCrashableMem()
			sc := &script{}
			bad := &badDisk{disk: disk, n: n, only: only}
			bad.cut = &vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(7, uint64(n)))}
			var found *vfs.MemFS
			var least, most int
			bad.then = func(clone *vfs.MemFS) { found, least, most = clone, 0, 0; least, most = sc.span() }
			err := sc.play(t, errorfs.Wrap(disk, bad))
			if over = !bad.struck(); over {
				if err != nil {
					t.Fatalf("no cut: %v", err)
				}
				continue
			}
			points++
			bad.mu.Lock()
			wantBatches(t, found, least, most, fmt.Sprintf("cut at operation %d, %d%% kept (after %v)", n, kept, err))
			bad.mu.Unlock()
		}
		t.Logf("%d power cuts with %d%% of unsynced blocks kept", points, kept)
		if points < 20 {
			t.Errorf("only %d operations could be cut", points)
		}
	}
}

// [LED-71] A disk that is full, or bad, from any operation on, or at that one only,
// stops the store with the system's word for it, and what was written before is there
// when it is opened again.
func TestBadDiskAnywhere(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, c := range []struct {
		name string
		err  error
		once bool
	}{{"full", syscall.ENOSPC, false}, {"bad", syscall.EIO, false}, {"bad once", syscall.EIO, true}} {
		stopped, points := 0, 0
		for n, over := 1, false; !over; n++ {
			disk := vfs.NewCrashableMem()
			sc := &script{}
			bad := &badDisk{disk: disk, n: n, err: c.err, once: c.once}
			err := sc.play(t, errorfs.Wrap(disk, bad))
			bad.die()
			if over = !bad.struck(); over {
				continue
			}
			points++
			least, most := sc.span()
			what := fmt.Sprintf("%s at operation %d (after %v)", c.name, n, err)
			if err != nil {
				stopped++
				if !errors.Is(err, c.err) || errors.Is(err, ErrCorrupt) {
					t.Errorf("%s: want %v and no other", what, c.err)
				}
			}
			wantBatches(t, disk.CrashClone(vfs.CrashCloneCfg{}), least, most, what+", then a power cut")
			all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
			wantBatches(t, disk.CrashClone(all), least, most, what)
		}
		t.Logf("%s: %d operations, %d of them stop the store", c.name, points, stopped)
		if stopped < points/2 {
			t.Errorf("%s: only %d of %d operations stop the store", c.name, stopped, points)
		}
	}
}

// [LED-72] A store whose tables cannot be written, while its log still can, refuses to
// go on, and does not stall.
func TestTablesFail(t *testing.T) {
	if !alone(t) {
		return
	}
	disk := vfs.NewCrashableMem()
	bad := &badDisk{disk: disk, only: ".sst", err: syscall.ENOSPC}
	s, err := openFS("db", network, nil, errorfs.Wrap(disk, bad))
	if err != nil {
		t.Fatal(err)
	}
	bad.mu.Lock()
	bad.n = bad.ops + 1
	bad.mu.Unlock()
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = s.Write(t.Context(), []Record{{1, []byte{byte(n), byte(n >> 8)}, batches[0][0].Value}})
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("after %d writes: %v, want %v", n, err, syscall.ENOSPC)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openFS("db", network, nil, disk.CrashClone(vfs.CrashCloneCfg{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if got, err := again.Load(t.Context()); err != nil || len(got) < n-1 {
		t.Fatalf("%d records of %d writes, %v", len(got), n-1, err)
	}
}
