package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pinfi/pinfi/p2p"
	"github.com/pinfi/pinfi/p2p/wire"
)

// The bounds of a manifest. MaxManifest bytes hold FilesMax files.
const (
	FilesMax    = 4096
	PathMax     = 255 // bytes of a path
	MaxManifest = 1 + 2 + FilesMax*fileSizeMax

	fileSizeMin = 1 + 8 + 32
	fileSizeMax = fileSizeMin + PathMax

	manifestVersion = 1
)

// A File is one file of a folder.
type File struct {
	Path   string // slash-separated, relative to the folder
	Size   uint64 // bytes
	Digest p2p.Digest
}

// A Manifest names the files of a folder, in the order of their paths. Folders
// are named by the files they hold: an empty folder is not in a manifest.
type Manifest struct {
	Files []File
}

// Size returns the sum of the sizes of the files, in bytes.
func (m *Manifest) Size() uint64 {
	var sum uint64
	for _, f := range m.Files {
		sum += f.Size // DecodeManifest refuses sums that overflow
	}
	return sum
}

// Encode returns the canonical bytes: the version, the number of files, and for
// each its path, size and digest.
func (m *Manifest) Encode() []byte {
	w := wire.NewWriter(3 + len(m.Files)*(fileSizeMin+16))
	w.U8(manifestVersion)
	w.Count(len(m.Files))
	for _, f := range m.Files {
		w.Text(f.Path)
		w.U64(f.Size)
		w.Fixed(f.Digest[:])
	}
	return w.Bytes()
}

// DecodeManifest reads what Encode wrote. Paths that are not in order, that
// stand twice, that leave the folder, or that make a file also a folder are
// refused: errors wrap ErrManifest.
func DecodeManifest(b []byte) (Manifest, error) {
	r := wire.NewReader(b)
	if v := r.U8(); r.Err() == nil && v != manifestVersion {
		r.Fail(fmt.Errorf("%w: version %d, want %d", wire.ErrValue, v, manifestVersion))
	}
	m := Manifest{Files: make([]File, r.Count(FilesMax, fileSizeMin))}
	for i := range m.Files {
		f := &m.Files[i]
		f.Path = r.Text(PathMax)
		f.Size = r.U64()
		r.Into(f.Digest[:])
	}
	if err := r.Close(); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := m.validate(); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, nil
}

// validate reports the first thing that no manifest may hold.
func (m *Manifest) validate() error {
	files := make(map[string]struct{}, len(m.Files))
	var sum uint64
	for i, f := range m.Files {
		if err := CheckPath(f.Path); err != nil {
			return err
		}
		if i > 0 && m.Files[i-1].Path >= f.Path {
			return fmt.Errorf("path %q after %q: paths ascend", f.Path, m.Files[i-1].Path)
		}
		if sum+f.Size < sum || sum+f.Size > 1<<62 {
			return fmt.Errorf("file %q: sizes overflow", f.Path)
		}
		sum += f.Size
		files[f.Path] = struct{}{}
		// A parent sorts before what it holds, so it has been seen by now.
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if _, clash := files[dir]; clash {
				return fmt.Errorf("path %q is a file and the folder of %q", dir, f.Path)
			}
		}
	}
	return nil
}

// CheckPath refuses a path that cannot stand in a manifest, because it does not
// name a file below a folder on every system: one of more than PathMax bytes, an
// absolute one, one with "..", with a backslash, a colon or a control character.
func CheckPath(p string) error {
	switch {
	case len(p) > PathMax:
		return fmt.Errorf("path of %d bytes, at most %d fit", len(p), PathMax)
	case p == "." || !fs.ValidPath(p):
		return fmt.Errorf("path %q: want a relative path without %q", p, "..")
	case strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' || c == ':' }):
		return fmt.Errorf("path %q: has a control character, a backslash or a colon", p)
	}
	return nil
}

// Limits bound a folder. A zero field is refused by nothing but zero bytes or
// zero files, so set both.
type Limits struct {
	Bytes int64 // of all files together
	Files int   // at most FilesMax
}

// PackDir stores every file below dir and the manifest of them, and returns the
// manifest and its digest. It never follows a symbolic link: one, or a device or
// a socket, is ErrIrregular. More than the limits allow is ErrTooBig.
func PackDir(ctx context.Context, s *Store, dir string, limits Limits) (p2p.Digest, Manifest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return p2p.Digest{}, Manifest{}, fmt.Errorf("pack folder: %w", err)
	}
	defer root.Close()
	var m Manifest
	left := limits.Bytes
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s: %w", name, ErrIrregular)
		}
		if len(m.Files) >= min(limits.Files, FilesMax) {
			return fmt.Errorf("%w of %d files", ErrTooBig, min(limits.Files, FilesMax))
		}
		file, err := packFile(ctx, s, root, name, left)
		left -= int64(file.Size)
		m.Files = append(m.Files, file)
		return err
	})
	if err != nil {
		return p2p.Digest{}, Manifest{}, fmt.Errorf("pack folder %s: %w", dir, err)
	}
	// WalkDir orders the names of one folder; "a-b" sorts before "a/b" in a path.
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	d, err := s.PutBytes(m.Encode())
	return d, m, err
}

// packFile stores one file below root.
func packFile(ctx context.Context, s *Store, root *os.Root, name string, limit int64) (File, error) {
	if err := CheckPath(name); err != nil {
		return File{}, err
	}
	file, err := root.Open(name)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return File{}, errors.Join(fmt.Errorf("%s: %w", name, ErrIrregular), err)
	}
	d, size, err := s.Put(ctx, file, limit)
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	return File{Path: name, Size: uint64(size), Digest: d}, nil
}

// ReadManifest returns the manifest with the digest d, verified.
func ReadManifest(ctx context.Context, s *Store, d p2p.Digest) (Manifest, error) {
	b, err := s.Read(ctx, d, MaxManifest)
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	m, err := DecodeManifest(b)
	if err != nil {
		return Manifest{}, fmt.Errorf("blob %v: %w", d, err)
	}
	return m, nil
}

// Unpack writes the files of the manifest d below dir, which it creates, and
// returns the manifest. A file of the same name is replaced as a whole or not at
// all; nothing is written outside dir, whatever links stand in it.
func Unpack(ctx context.Context, s *Store, d p2p.Digest, dir string) (Manifest, error) {
	m, err := ReadManifest(ctx, s, d)
	if err != nil {
		return Manifest{}, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return Manifest{}, fmt.Errorf("unpack: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Manifest{}, fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	for _, file := range m.Files {
		if err := unpackFile(ctx, s, root, file); err != nil {
			return Manifest{}, fmt.Errorf("unpack %s: %w", file.Path, err)
		}
	}
	return m, nil
}

// unpackFile writes one file below root: all of it under another name, then by
// the name it has, so that a reader never sees half a file.
func unpackFile(ctx context.Context, s *Store, root *os.Root, file File) error {
	if err := root.MkdirAll(path.Dir(file.Path), 0o777); err != nil {
		return err
	}
	// The name is a digest's, so it fits whatever the length of the path is.
	sum := sha256.Sum256([]byte(file.Path))
	temporary := path.Join(path.Dir(file.Path), fmt.Sprintf(".pinfi-%x.tmp", sum[:8]))
	_ = root.Remove(temporary) // of an earlier, interrupted Unpack
	out, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	size, err := s.Copy(ctx, out, file.Digest)
	if err == nil && uint64(size) != file.Size {
		err = fmt.Errorf("%w: has %d bytes, the manifest says %d", ErrManifest, size, file.Size)
	}
	err = errors.Join(err, out.Close())
	if err == nil {
		err = root.Rename(temporary, file.Path)
	}
	if err != nil {
		_ = root.Remove(temporary) // the first error says more
	}
	return err
}
