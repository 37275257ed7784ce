// Package blob keeps and moves files that are named by their content: job
// modules, inputs, outputs and logs. A name is the SHA-256 digest of the bytes.
//
// It is not a cache with a policy and not a network: nothing is removed but on
// Remove or when found corrupt, and streams are opened by the caller, who also
// sets their deadlines. Open a Store, Put and Get files; Serve and Fetch move one
// file over a stream, PackDir and Unpack a folder. The invariant: a file stands
// under its name only after all of its bytes were hashed and are on disk, and no
// byte leaves Verified, Path, Copy, Fetch or Unpack that was not hashed again.
package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/pinfi/pinfi/p2p"
)

// The ways in which a file cannot be had. Errors of this package wrap one of
// them where the cause is not the disk or the stream.
var (
	// ErrNotFound says that no file has the digest.
	ErrNotFound = errors.New("no such blob")
	// ErrCorrupt says that bytes do not have the digest they are named by.
	ErrCorrupt = errors.New("blob is corrupt")
	// ErrTooBig says that a file or a folder exceeds the limit it was given.
	ErrTooBig = errors.New("blob exceeds its limit")
	// ErrManifest says that bytes are not a canonical manifest.
	ErrManifest = errors.New("not a manifest")
	// ErrIrregular says that a folder holds something that is neither a file nor
	// a folder, a symbolic link say.
	ErrIrregular = errors.New("not a regular file")
)

// A Store is a folder of files named by their content. Its methods may be called
// from any goroutine; the folder belongs to one Store of one process.
type Store struct {
	dir string

	mu       sync.Mutex
	fetching map[p2p.Digest]struct{} // partial files that a Fetch is writing
}

// Open returns the store in dir, which it creates. What an interrupted Put left
// behind is removed; the partial files of interrupted fetches stay.
func Open(dir string) (*Store, error) {
	temporary := filepath.Join(dir, "tmp")
	if err := os.RemoveAll(temporary); err != nil {
		return nil, fmt.Errorf("blob store %s: %w", dir, err)
	}
	for _, sub := range []string{temporary, filepath.Join(dir, "partial")} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, fmt.Errorf("blob store %s: %w", dir, err)
		}
	}
	return &Store{dir: dir, fetching: make(map[p2p.Digest]struct{})}, nil
}

// place returns the path under which the file of a digest stands. The first two
// digits make a folder, so that no folder grows large.
func (s *Store) place(d p2p.Digest) string {
	name := d.String()
	return filepath.Join(s.dir, name[:2], name)
}

// Put stores all that r yields and returns its digest and size in bytes. More
// than limit bytes are ErrTooBig, and nothing is stored then.
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (p2p.Digest, int64, error) {
	file, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "put-*")
	if err != nil {
		return p2p.Digest{}, 0, fmt.Errorf("store blob: %w", err)
	}
	defer discard(file)
	hash := sha256.New()
	size, err := copyAtMost(ctx, io.MultiWriter(file, hash), r, limit)
	if err != nil {
		return p2p.Digest{}, 0, fmt.Errorf("store blob: %w", err)
	}
	d := p2p.Digest(hash.Sum(nil))
	if err := s.adopt(file, d); err != nil {
		return p2p.Digest{}, 0, fmt.Errorf("store blob %v: %w", d.Short(), err)
	}
	return d, size, nil
}

// PutBytes stores b and returns its digest.
func (s *Store) PutBytes(b []byte) (p2p.Digest, error) {
	d := p2p.SumContent(b)
	if s.Has(d) {
		return d, nil
	}
	file, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "put-*")
	if err != nil {
		return p2p.Digest{}, fmt.Errorf("store blob: %w", err)
	}
	defer discard(file)
	if _, err := file.Write(b); err != nil {
		return p2p.Digest{}, fmt.Errorf("store blob: %w", err)
	}
	if err := s.adopt(file, d); err != nil {
		return p2p.Digest{}, fmt.Errorf("store blob %v: %w", d.Short(), err)
	}
	return d, nil
}

// PutFile stores a copy of the file at path, which must be a regular file of at
// most limit bytes, and returns its digest and size in bytes.
func (s *Store) PutFile(ctx context.Context, path string, limit int64) (p2p.Digest, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return p2p.Digest{}, 0, fmt.Errorf("store file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return p2p.Digest{}, 0, fmt.Errorf("store file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return p2p.Digest{}, 0, fmt.Errorf("store file %s: %w", path, ErrIrregular)
	}
	d, size, err := s.Put(ctx, file, limit)
	if err != nil {
		return p2p.Digest{}, 0, fmt.Errorf("file %s: %w", path, err)
	}
	return d, size, nil
}

// adopt makes file, whose bytes have the digest d, the file of d. The bytes are
// on disk before the name is, and the name before adopt returns.
func (s *Store) adopt(file *os.File, d p2p.Digest) error {
	if err := errors.Join(file.Chmod(0o400), file.Sync()); err != nil {
		return err
	}
	path := s.place(d)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Has reports whether the store holds the file of d. It does not read it.
func (s *Store) Has(d p2p.Digest) bool {
	_, err := os.Stat(s.place(d))
	return err == nil
}

// Get opens the file of d and returns it with its size in bytes. The bytes are
// not verified: whoever takes them must hash them, as Fetch does. A file that is
// not there is ErrNotFound.
func (s *Store) Get(d p2p.Digest) (*os.File, int64, error) {
	file, err := os.Open(s.place(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("blob %v: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("blob %v: %w", d, err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close() // the error of Stat says more
		return nil, 0, fmt.Errorf("blob %v: %w", d, err)
	}
	return file, info.Size(), nil
}

// Verified opens the file of d as Get does, after it has read and hashed all of
// it. A corrupt file is removed, so that it can be fetched again, and is
// ErrCorrupt.
func (s *Store) Verified(ctx context.Context, d p2p.Digest) (*os.File, int64, error) {
	file, size, err := s.Get(d)
	if err != nil {
		return nil, 0, err
	}
	hash := sha256.New()
	_, err = copyAtMost(ctx, hash, file, size)
	if err == nil && p2p.Digest(hash.Sum(nil)) != d {
		err = s.removeCorrupt(d, size)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, 0, fmt.Errorf("blob %v: %w", d, err)
	}
	return file, size, nil
}

// Path returns where the file of d stands, after it has verified it as Verified
// does. The file is to be read only.
func (s *Store) Path(ctx context.Context, d p2p.Digest) (string, error) {
	file, _, err := s.Verified(ctx, d)
	if err != nil {
		return "", err
	}
	return s.place(d), file.Close()
}

// Read returns the bytes of the file of d, verified. A file of more than limit
// bytes is ErrTooBig.
func (s *Store) Read(ctx context.Context, d p2p.Digest, limit int64) ([]byte, error) {
	file, size, err := s.Verified(ctx, d)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if size > limit {
		return nil, fmt.Errorf("blob %v: %w: %d bytes, limit %d", d, ErrTooBig, size, limit)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(file, b); err != nil {
		return nil, fmt.Errorf("blob %v: %w", d, err)
	}
	return b, nil
}

// Copy writes the file of d to w and returns its size in bytes. It hashes what
// it writes: when it returns ErrCorrupt the file is removed from the store and
// what was written to w must be thrown away.
func (s *Store) Copy(ctx context.Context, w io.Writer, d p2p.Digest) (int64, error) {
	file, size, err := s.Get(d)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := copyAtMost(ctx, io.MultiWriter(w, hash), file, size); err != nil {
		return 0, fmt.Errorf("blob %v: %w", d, err)
	}
	if p2p.Digest(hash.Sum(nil)) != d {
		return 0, fmt.Errorf("blob %v: %w", d, s.removeCorrupt(d, size))
	}
	return size, nil
}

// Remove removes the file of d. A file that is not there is no error.
func (s *Store) Remove(d p2p.Digest) error {
	if err := os.Remove(s.place(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove blob %v: %w", d, err)
	}
	return nil
}

// removeCorrupt removes the file of d and returns the error that says so.
func (s *Store) removeCorrupt(d p2p.Digest, size int64) error {
	if err := s.Remove(d); err != nil {
		return errors.Join(ErrCorrupt, err)
	}
	return fmt.Errorf("%w: the %d bytes at %s have another digest; removed, fetch it again",
		ErrCorrupt, size, s.place(d))
}

// copyAtMost copies r to w up to its end, and refuses more than limit bytes. It
// looks at ctx before every read.
func copyAtMost(ctx context.Context, w io.Writer, r io.Reader, limit int64) (int64, error) {
	n, err := io.Copy(w, &contextReader{ctx: ctx, r: io.LimitReader(r, limit)})
	if err != nil || n < limit {
		return n, err
	}
	var more [1]byte
	if extra, _ := io.ReadFull(r, more[:]); extra > 0 { // an error after the limit is an end
		return n, fmt.Errorf("%w of %d bytes", ErrTooBig, limit)
	}
	return n, nil
}

// A contextReader reads until its context is cancelled.
type contextReader struct {
	ctx context.Context // of one call of copyAtMost
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// discard closes and removes a temporary file, if it is still there.
func discard(file *os.File) {
	_ = file.Close()           // its bytes are synced or worthless
	_ = os.Remove(file.Name()) // gone already when it was adopted
}

// syncDir makes the names in a folder durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
