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

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// The protocol has one question and one answer a stream. The question is the
// digest and the offset at which the bytes are to begin, eight bytes. The answer
// is a status, the size of the whole file, eight bytes, and when the status is
// statusOK the bytes from the offset to the end. Statuses are append-only.
const (
	statusOK       = 1
	statusNotFound = 2
	statusOffset   = 3 // the file ends before the offset
	statusFailed   = 4 // the file cannot be read

	requestSize = 32 + 8
	answerSize  = 1 + 8
)

// Serve answers the one question of a stream and closes it. The error says why
// no file was sent; the peer has been told, too, where it could be.
func Serve(rw io.ReadWriteCloser, s *Store) (err error) {
	defer func() { err = errors.Join(err, rw.Close()) }()
	var request [requestSize]byte
	if _, err := io.ReadFull(rw, request[:]); err != nil {
		return fmt.Errorf("serve blob: %w", err)
	}
	r := wire.NewReader(request[:])
	var d p2p.Digest
	r.Into(d[:])
	offset := r.U64()
	file, size, err := s.Get(d)
	if err != nil {
		status := uint8(statusFailed)
		if errors.Is(err, ErrNotFound) {
			status = statusNotFound
		}
		return errors.Join(fmt.Errorf("serve: %w", err), answer(rw, status, 0))
	}
	defer file.Close()
	if offset > uint64(size) {
		return errors.Join(fmt.Errorf("serve blob %v: offset %d of %d bytes", d, offset, size),
			answer(rw, statusOffset, size))
	}
	if _, err := file.Seek(int64(offset), io.SeekStart); err != nil {
		return errors.Join(fmt.Errorf("serve blob %v: %w", d, err), answer(rw, statusFailed, size))
	}
	if err := answer(rw, statusOK, size); err != nil {
		return err
	}
	if _, err := io.CopyN(rw, file, size-int64(offset)); err != nil {
		return fmt.Errorf("serve blob %v: %w", d, err)
	}
	return nil
}

// answer writes the head of an answer.
func answer(w io.Writer, status uint8, size int64) error {
	head := wire.NewWriter(answerSize)
	head.U8(status)
	head.U64(uint64(size))
	if _, err := w.Write(head.Bytes()); err != nil {
		return fmt.Errorf("serve blob: %w", err)
	}
	return nil
}

// Fetch asks for the file of d over rw and stores it. A file that is there
// already is not asked for. What arrives before a stream breaks is kept, and the
// next Fetch of d, over any stream, asks for the rest. Bytes that do not have
// the digest are ErrCorrupt, more than maxSize bytes ErrTooBig; both are thrown
// away. Closing rw ends a Fetch; whoever opened it closes it.
func Fetch(rw io.ReadWriter, d p2p.Digest, maxSize int64, s *Store) error {
	if s.Has(d) {
		return nil
	}
	file, release, err := s.openPartial(d)
	if err != nil {
		return fmt.Errorf("fetch blob %v: %w", d, err)
	}
	defer release()
	err = fetchRest(rw, d, maxSize, file)
	if err == nil {
		err = s.adopt(file, d)
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTooBig) {
		err = errors.Join(err, os.Remove(file.Name()))
	}
	if err != nil {
		return fmt.Errorf("fetch blob %v: %w", d, err)
	}
	return nil
}

// fetchRest appends to file, which holds the first bytes of the blob, the rest.
func fetchRest(rw io.ReadWriter, d p2p.Digest, maxSize int64, file *os.File) error {
	hash := sha256.New()
	have, err := io.Copy(hash, file)
	if err != nil {
		return err
	}
	request := wire.NewWriter(requestSize)
	request.Fixed(d[:])
	request.U64(uint64(have))
	if _, err := rw.Write(request.Bytes()); err != nil {
		return err
	}
	var head [answerSize]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return err
	}
	r := wire.NewReader(head[:])
	status, size := r.U8(), r.U64()
	if err := checkAnswer(status, size, uint64(have), maxSize); err != nil {
		return err
	}
	n, err := io.CopyN(io.MultiWriter(file, hash), rw, int64(size)-have)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("after %d of %d bytes: %w", have+n, size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	if got := p2p.Digest(hash.Sum(nil)); got != d {
		return fmt.Errorf("%w: the %d bytes received have the digest %v", ErrCorrupt, size, got)
	}
	return nil
}

// checkAnswer refuses an answer from which the file cannot be had.
func checkAnswer(status uint8, size, have uint64, maxSize int64) error {
	switch {
	case status == statusNotFound:
		return ErrNotFound
	case status == statusOffset || status == statusOK && size < have:
		// The partial file is longer than the blob: its bytes are wrong.
		return fmt.Errorf("%w: the %d bytes fetched before are more than it has", ErrCorrupt, have)
	case status == statusFailed:
		return fmt.Errorf("the peer cannot read it: %w", fs.ErrInvalid)
	case status != statusOK:
		return fmt.Errorf("answer has the status %d: %w", status, wire.ErrValue)
	case size > uint64(max(maxSize, 0)):
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooBig, size, maxSize)
	}
	return nil
}

// openPartial opens the file that holds what was fetched of d, at its start, and
// returns it with the function that lets it go. When another Fetch is writing
// that file, it opens an empty one in its place.
func (s *Store) openPartial(d p2p.Digest) (*os.File, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.fetching[d]; busy {
		file, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "fetch-*")
		if err != nil {
			return nil, nil, err
		}
		return file, func() { discard(file) }, nil
	}
	file, err := os.OpenFile(filepath.Join(s.dir, "partial", d.String()), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	s.fetching[d] = struct{}{}
	return file, func() {
		_ = file.Close() // its bytes are adopted, or hashed again before they are used
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.fetching, d)
	}, nil
}

// FetchTree fetches a manifest and every file it names, each over a stream of
// its own that open opens and FetchTree closes. It returns the manifest. A
// folder over the limits is ErrTooBig, before any of its files is fetched.
func FetchTree(ctx context.Context, open func(context.Context) (io.ReadWriteCloser, error),
	d p2p.Digest, limits Limits, s *Store,
) (Manifest, error) {
	fetch := func(d p2p.Digest, maxSize int64) error {
		if s.Has(d) {
			return nil
		}
		stream, err := open(ctx)
		if err != nil {
			return fmt.Errorf("fetch blob %v: %w", d, err)
		}
		stop := context.AfterFunc(ctx, func() { _ = stream.Close() }) // unblocks Fetch
		defer stop()
		err = Fetch(stream, d, maxSize, s)
		_ = stream.Close() // all that was asked for is here and hashed, or err says why not
		return err
	}
	if err := fetch(d, MaxManifest); err != nil {
		return Manifest{}, err
	}
	m, err := ReadManifest(ctx, s, d)
	if err != nil {
		return Manifest{}, err
	}
	if len(m.Files) > limits.Files || m.Size() > uint64(max(limits.Bytes, 0)) {
		return Manifest{}, fmt.Errorf("folder %v: %w: %d files of %d bytes, limits %d and %d",
			d, ErrTooBig, len(m.Files), m.Size(), limits.Files, limits.Bytes)
	}
	for _, file := range m.Files {
		if err := fetch(file.Digest, int64(file.Size)); err != nil {
			return Manifest{}, fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	return m, nil
}
