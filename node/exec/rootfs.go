package exec

import (
	"errors"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	experimental "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"

	"github.com/pinfi/pinfi/node/blob"
)

// A rootFS shows one folder of the host to a job. Every path is resolved below
// an os.Root, so that neither "..", nor an absolute path, nor a symbolic link
// leaves the folder; links cannot be made in it at all. What a job sees of a file
// is its name, kind, size and bytes: times, owners and inode numbers of the host
// are hidden, and folders list in the order of names, so that two runs of a job
// see the same. Used by one goroutine, the job's.
type rootFS struct {
	experimental.UnimplementedFS
	root  *os.Root
	quota *quota // nil: read-only
}

// A quota bounds what a job writes. Bytes are those of the sizes of files: a hole
// counts, and what a removed file held still counts, because the job may hold it
// open.
type quota struct {
	bytes int64 // left
	files int64 // left, folders counted
	hit   bool  // something was refused
}

// take uses n bytes, or gives back -n, and reports whether they were left.
func (q *quota) take(n int64) bool {
	if n > q.bytes {
		q.hit = true
		return false
	}
	q.bytes -= n
	return true
}

// enter uses up one file and reports whether one was left.
func (q *quota) enter() bool {
	if q.files <= 0 {
		q.hit = true
		return false
	}
	q.files--
	return true
}

// local returns the name below the root of a path that a job gave.
func local(name string) (string, experimental.Errno) {
	trimmed := strings.Trim(name, "/")
	if trimmed == "" {
		return ".", 0
	}
	if cleaned := path.Clean(trimmed); fs.ValidPath(cleaned) {
		return cleaned, 0
	}
	return "", experimental.EPERM
}

// errnoOf returns the number of an error of the os package. An os.Root refuses a
// path that leaves it with an error that has no number: EPERM.
func errnoOf(err error) experimental.Errno {
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return experimental.UnwrapOSError(err)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrClosed) {
		return experimental.UnwrapOSError(err)
	}
	return experimental.EPERM
}

// fixedStat returns what a job may see of a file. The inode number is a hash of
// the name: not zero, and different for different files.
func fixedStat(name string, info fs.FileInfo) sys.Stat_t {
	mode := info.Mode().Type() | 0o600
	if info.IsDir() {
		mode |= 0o100
	}
	return sys.Stat_t{Dev: 1, Ino: inode(name), Mode: mode, Nlink: 1, Size: info.Size()}
}

// inode returns the number that stands for the file of a name.
func inode(name string) sys.Inode {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name) // a hash takes every byte
	return h.Sum64() | 1
}

// OpenFile implements experimental/sys.FS.
func (r *rootFS) OpenFile(
	name string, flag experimental.Oflag, _ fs.FileMode,
) (experimental.File, experimental.Errno) {
	name, errno := local(name)
	if errno != 0 {
		return nil, errno
	}
	before, errno := r.admit(name, flag)
	if errno != 0 {
		return nil, errno
	}
	file, err := r.root.OpenFile(name, osFlags(flag), 0o600)
	if err != nil {
		return nil, errnoOf(err)
	}
	if flag&experimental.O_TRUNC != 0 {
		r.quota.take(-before)
	}
	return &rootFile{file: file, name: name, quota: r.quota, appends: flag&experimental.O_APPEND != 0}, 0
}

// admit reports whether a job may open the file of a name, and the size of the
// file, zero when it is not there yet.
func (r *rootFS) admit(name string, flag experimental.Oflag) (int64, experimental.Errno) {
	creates := flag&experimental.O_CREAT != 0
	writes := creates || flag&(experimental.O_RDWR|experimental.O_WRONLY|experimental.O_TRUNC) != 0
	if writes && r.quota == nil {
		return 0, experimental.EROFS
	}
	info, err := r.root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && creates {
		return 0, r.admitNew(name)
	}
	switch {
	case err != nil:
		return 0, errnoOf(err)
	case info.IsDir() && writes:
		return 0, experimental.EISDIR
	case info.IsDir():
		return 0, 0
	case flag&experimental.O_DIRECTORY != 0:
		return 0, experimental.ENOTDIR
	case !info.Mode().IsRegular():
		return 0, experimental.EPERM // a pipe or a device would block or act
	}
	return info.Size(), 0
}

// admitNew reports whether a job may make a file or a folder of a name.
func (r *rootFS) admitNew(name string) experimental.Errno {
	switch {
	case r.quota == nil:
		return experimental.EROFS
	case len(name) > blob.PathMax:
		return experimental.ENAMETOOLONG
	case blob.CheckPath(name) != nil:
		return experimental.EINVAL // it could not stand in the manifest of the output
	case !r.quota.enter():
		return experimental.EIO
	}
	return 0
}

// osFlags translates the flags that have a meaning here. Appending is done by
// rootFile, because it counts.
func osFlags(flag experimental.Oflag) int {
	out := os.O_RDONLY
	switch {
	case flag&experimental.O_RDWR != 0:
		out = os.O_RDWR
	case flag&experimental.O_WRONLY != 0:
		out = os.O_WRONLY
	}
	if flag&experimental.O_CREAT != 0 {
		out |= os.O_CREATE
	}
	if flag&experimental.O_EXCL != 0 {
		out |= os.O_EXCL
	}
	if flag&experimental.O_TRUNC != 0 {
		out |= os.O_TRUNC
	}
	return out
}

// Stat implements experimental/sys.FS.
func (r *rootFS) Stat(name string) (sys.Stat_t, experimental.Errno) { return r.stat(name, r.root.Stat) }

// Lstat implements experimental/sys.FS.
func (r *rootFS) Lstat(name string) (sys.Stat_t, experimental.Errno) {
	return r.stat(name, r.root.Lstat)
}

func (r *rootFS) stat(name string, stat func(string) (fs.FileInfo, error)) (sys.Stat_t, experimental.Errno) {
	name, errno := local(name)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	info, err := stat(name)
	if err != nil {
		return sys.Stat_t{}, errnoOf(err)
	}
	return fixedStat(name, info), 0
}

// change calls act with the checked name, if the folder is writable.
func (r *rootFS) change(name string, act func(string) error) experimental.Errno {
	if r.quota == nil {
		return experimental.EROFS
	}
	name, errno := local(name)
	if errno != 0 {
		return errno
	}
	return errnoOf(act(name))
}

// Mkdir implements experimental/sys.FS.
func (r *rootFS) Mkdir(name string, _ fs.FileMode) experimental.Errno {
	name, errno := local(name)
	if errno == 0 {
		errno = r.admitNew(name)
	}
	if errno != 0 {
		return errno
	}
	return errnoOf(r.root.Mkdir(name, 0o700))
}

// Unlink implements experimental/sys.FS.
func (r *rootFS) Unlink(name string) experimental.Errno {
	return r.change(name, func(name string) error {
		info, err := r.root.Lstat(name)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return syscall.EISDIR
		}
		return r.root.Remove(name)
	})
}

// Rmdir implements experimental/sys.FS.
func (r *rootFS) Rmdir(name string) experimental.Errno {
	return r.change(name, func(name string) error {
		info, err := r.root.Lstat(name)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return syscall.ENOTDIR
		}
		return r.root.Remove(name)
	})
}

// Rename implements experimental/sys.FS.
func (r *rootFS) Rename(from, to string) experimental.Errno {
	to, errno := local(to)
	if errno != 0 {
		return errno
	}
	if blob.CheckPath(to) != nil {
		return experimental.EINVAL
	}
	return r.change(from, func(from string) error { return r.root.Rename(from, to) })
}

// Chmod implements experimental/sys.FS: files have no modes here.
func (r *rootFS) Chmod(name string, _ fs.FileMode) experimental.Errno {
	return r.change(name, func(string) error { return nil })
}

// Utimens implements experimental/sys.FS: files have no times here.
func (r *rootFS) Utimens(name string, _, _ int64) experimental.Errno {
	return r.change(name, func(string) error { return nil })
}

// Link implements experimental/sys.FS: a job makes no links.
func (r *rootFS) Link(_, _ string) experimental.Errno { return experimental.EPERM }

// Symlink implements experimental/sys.FS: a job makes no links.
func (r *rootFS) Symlink(_, _ string) experimental.Errno { return experimental.EPERM }

// Readlink implements experimental/sys.FS: there are no links to read.
func (r *rootFS) Readlink(string) (string, experimental.Errno) { return "", experimental.EINVAL }
