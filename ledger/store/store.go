// Package store keeps a node's records on disk: a go-datastore, on Pebble, with a
// checksum in every value. It knows nothing of what the records mean; node and
// node/machine do. Values over 8 KiB are compressed where that pays.
//
// The calls you need are Open, Write and Load. The invariant: when Write returns
// nil its whole batch survives the end of the process and of the machine, and when
// it does not, a later Load sees either all of the batch or nothing of it. Damage to
// stored bytes is found, with one exception: damage within the last 32 KiB of
// Pebble's log, after a kill, reads as a torn write, and ends the log there.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	pebbleds "github.com/ipfs/go-ds-pebble"

	"github.com/pinfi/pinfi/p2p"
)

// The errors that callers branch on.
var (
	ErrCorrupt = errors.New("store is corrupt")
	ErrInUse   = errors.New("store is in use by another process")
	ErrForeign = errors.New("store belongs to another network or version")
	ErrClosed  = errors.New("store is closed")
)

// MaxValue is the longest value in bytes.
const MaxValue = 1 << 20

// A Record is a value under a key of a kind. A nil Value deletes the key.
type Record struct {
	Kind  uint8
	Key   []byte // 1 to 255 bytes
	Value []byte // at most MaxValue bytes
}

// A Store keeps records. Its methods may be called from any goroutine.
type Store struct {
	dir      string // for messages
	readOnly bool   // nothing is written
	lock     *pebble.Lock

	mu     sync.RWMutex // held for reading while data is used
	data   ds.Batching
	disk   *pebble.DB // below data, nil in memory
	codec  *codec
	closed bool

	// When Pebble could not write it must be asked for nothing more: fault says why,
	// and failed is closed.
	fault  atomic.Pointer[error]
	failed chan struct{}
}

// Pebble is kept small, because a full node is to idle under 80 MB. Records are
// small, and read once, at the start. A table in memory begins with 256 KiB and grows
// with what is written; were its limit lower, the tables on disk would be merged more
// often, which costs a busy node more than all else that a write does.
const (
	cacheBytes    = 2 << 20
	memTableBytes = 8 << 20
	openFilesMax  = 64
)

// Open opens the store of a network in a directory, made if need be. What Pebble
// has to say goes to log, or nowhere when log is nil. Errors wrap ErrInUse,
// ErrForeign or ErrCorrupt where that is the cause, and say what to do.
func Open(dir string, network p2p.Network, log *slog.Logger) (*Store, error) {
	return openFS(dir, network, log, vfs.Default)
}

// OpenReadOnly opens a store that is there, and changes nothing in it. Its errors are
// those of Open; it fails with fs.ErrNotExist when there is no store.
func OpenReadOnly(dir string, network p2p.Network, log *slog.Logger) (*Store, error) {
	if marks, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*")); err != nil || len(marks) == 0 {
		return nil, fmt.Errorf("open store %s: no store is there: %w", dir, fs.ErrNotExist)
	}
	return openLocking(&Store{dir: dir, readOnly: true}, network, log, vfs.Default)
}

// openFS is Open on a file system.
func openFS(dir string, network p2p.Network, log *slog.Logger, fs vfs.FS) (*Store, error) {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return openLocking(&Store{dir: dir}, network, log, fs)
}

// openLocking locks the directory of a store and opens it.
func openLocking(s *Store, network p2p.Network, log *slog.Logger, fs vfs.FS) (*Store, error) {
	dir := s.dir
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w: stop it, or choose another directory: %w", dir, ErrInUse, err)
	}
	s.lock = lock
	if err := s.openLocked(network, log, fs); err != nil {
		_ = lock.Close() // the reason for giving up matters more
		return nil, err
	}
	return s, nil
}

// openLocked opens a store whose directory is locked.
func (s *Store) openLocked(network p2p.Network, log *slog.Logger, fs vfs.FS) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s.codec, s.failed = newCodec(), make(chan struct{})
	err := s.guard(func() error { return s.openNetwork(network, &watchedFS{fs, s.fail}, log) })
	if err != nil {
		s.codec.close()
		return unusable(s.dir, err)
	}
	return nil
}

// openNetwork opens Pebble and looks whose the store is.
func (s *Store) openNetwork(network p2p.Network, fs vfs.FS, log *slog.Logger) error {
	if err := s.openDisk(fs, log); err != nil {
		return err
	}
	fresh, err := s.checkMeta(context.Background(), network)
	if err == nil && fresh {
		// Pebble writes the first log of a new database in an old format, in which
		// damage reads as the end of the log. The second log is in the new one.
		err = s.data.Close()
		if err == nil {
			return s.openDisk(fs, log)
		}
	}
	if err != nil {
		_ = s.data.Close() // the reason for giving up matters more
	}
	return err
}

// openDisk opens Pebble.
func (s *Store) openDisk(fs vfs.FS, log *slog.Logger) error {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref() // Pebble holds on to it
	options := &pebble.Options{
		ReadOnly: s.readOnly, FS: fs, Lock: s.lock, Cache: cache, MemTableSize: memTableBytes, MaxOpenFiles: openFilesMax,
		FormatMajorVersion: pebble.FormatNewest, Logger: pebbleLog{log, s.fail},
		DisableTableStats: true, // over a damaged table their collector spins for ever; they only guide compactions
		EventListener: &pebble.EventListener{ // the default stops the process; whoever reads the damage is told
			BackgroundError: s.fail, // Pebble tries again at once, and would for ever
			DataCorruption:  func(i pebble.DataCorruptionInfo) { log.Error("store damaged", "path", i.Path) },
		},
	}
	// What shrinks is compressed before Pebble gets it.
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	data, err := pebbleds.NewDatastore(s.dir, pebbleds.WithPebbleWriteOptions(pebble.Sync),
		pebbleds.WithPebbleOpts(options))
	if err != nil {
		return err
	}
	s.data, s.disk = data, data.DB
	return nil
}

// fail takes note that Pebble cannot write. The first reason counts.
func (s *Store) fail(err error) {
	if s.fault.CompareAndSwap(nil, &err) {
		close(s.failed)
	}
}

// guard runs f, which calls Pebble, and returns its error. Where a disk fails a call
// of Pebble does not come back: see watchedFS. So f has a goroutine of its own, which
// is left alone once there is a fault: the process ends then.
func (s *Store) guard(f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case error:
				done <- p
			default: // on some damaged files
				done <- fmt.Errorf("pebble: %v", p)
			}
		}()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-s.failed:
		return *s.fault.Load()
	}
}

// OpenMemory returns an empty store that forgets everything when it is closed.
func OpenMemory() *Store {
	return &Store{
		dir: "in memory", data: dssync.MutexWrap(ds.NewMapDatastore()), codec: newCodec(), failed: make(chan struct{}),
	}
}

// Write makes the batch durable, all of it or nothing. Where it has two records
// for one key the later counts.
func (s *Store) Write(ctx context.Context, batch []Record) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return fmt.Errorf("write to store %s: %w", s.dir, ErrClosed)
	}
	if s.readOnly {
		return fmt.Errorf("write to store %s: it is open to be read only", s.dir)
	}
	if fault := s.fault.Load(); fault != nil {
		return fmt.Errorf("write to store %s, after an earlier fault: %w", s.dir, *fault)
	}
	b, err := s.data.Batch(ctx)
	if err != nil {
		return fmt.Errorf("write to store %s: %w", s.dir, err)
	}
	for _, r := range batch {
		if err := s.add(ctx, b, r); err != nil {
			return fmt.Errorf("write to store %s: %w", s.dir, err)
		}
	}
	if err := s.guard(func() error { return b.Commit(ctx) }); err != nil {
		s.fail(err)
		return fmt.Errorf("write to store %s: %w", s.dir, err)
	}
	return nil
}

// add adds a record to a batch.
func (s *Store) add(ctx context.Context, b ds.Batch, r Record) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	if r.Value == nil {
		return b.Delete(ctx, key)
	}
	if len(r.Value) > MaxValue {
		return fmt.Errorf("value of %d bytes under %v: limit %d", len(r.Value), key, MaxValue)
	}
	return b.Put(ctx, key, s.codec.seal(key.String(), r.Value))
}

// Load returns all records, by kind and key. Its error wraps ErrCorrupt when a
// value is not what was written.
func (s *Store) Load(ctx context.Context) ([]Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, fmt.Errorf("load store %s: %w", s.dir, ErrClosed)
	}
	var out []Record
	err := s.scan(ctx, func(key string, sealed []byte) error {
		r, err := recordOf(key)
		if err != nil {
			return unusable(s.dir, err)
		}
		if r.Value, err = s.codec.open(key, sealed); err != nil {
			return unusable(s.dir, err)
		}
		out = append(out, r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return out, nil
}

// Close closes the store. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.fault.Load() == nil { // else Pebble may hang; all that was written is on disk
		err = s.guard(s.data.Close)
	}
	s.codec.close()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// unusable says why the store in dir cannot be opened or read: because it is damaged,
// and then what to do, unless there is a reason that leaves what it holds alone.
func unusable(dir string, err error) error {
	if isFault(err) {
		return fmt.Errorf("store %s: %w", dir, err)
	}
	if errors.Is(err, ErrForeign) || errors.Is(err, ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %s: move the directory away and start again, the node then fetches the ledger "+
		"from its peers; if it was a witness it must not vote again under its key: %w", ErrCorrupt, dir, err)
}

// pebbleLog hands Pebble's words on.
type pebbleLog struct {
	log  *slog.Logger
	fail func(error)
}

// Infof implements pebble.Logger.
func (l pebbleLog) Infof(format string, args ...any) {
	l.log.Debug("pebble", "text", fmt.Sprintf(format, args...))
}

// Errorf implements pebble.Logger.
func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("pebble", "text", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger. Pebble calls it, on any of its goroutines, when it
// cannot keep what it promised, and must not get control back. A node that cannot
// remember must stop: whoever waits for Pebble is told, and ends the process.
func (l pebbleLog) Fatalf(format string, args ...any) {
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			l.fail(fmt.Errorf("pebble: %w", err))
		}
	}
	l.fail(fmt.Errorf("pebble: "+format, args...))
	select {}
}
