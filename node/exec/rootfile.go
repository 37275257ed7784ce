package exec

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	experimental "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// A rootFile is an open file or folder of a rootFS.
type rootFile struct {
	experimental.UnimplementedFile
	file    *os.File
	name    string
	quota   *quota // nil: read-only
	appends bool
	entries []experimental.Dirent // of a folder, what Readdir has yet to return
	listed  bool                  // entries were read
}

// Dev implements experimental/sys.File.
func (f *rootFile) Dev() (uint64, experimental.Errno) { return 1, 0 }

// Ino implements experimental/sys.File.
func (f *rootFile) Ino() (sys.Inode, experimental.Errno) { return inode(f.name), 0 }

// IsDir implements experimental/sys.File.
func (f *rootFile) IsDir() (bool, experimental.Errno) {
	info, err := f.file.Stat()
	return err == nil && info.IsDir(), errnoOf(err)
}

// IsAppend implements experimental/sys.File.
func (f *rootFile) IsAppend() bool { return f.appends }

// SetAppend implements experimental/sys.File.
func (f *rootFile) SetAppend(on bool) experimental.Errno {
	f.appends = on
	return 0
}

// Stat implements experimental/sys.File.
func (f *rootFile) Stat() (sys.Stat_t, experimental.Errno) {
	info, err := f.file.Stat()
	if err != nil {
		return sys.Stat_t{}, errnoOf(err)
	}
	return fixedStat(f.name, info), 0
}

// Read implements experimental/sys.File.
func (f *rootFile) Read(p []byte) (int, experimental.Errno) { return ended(f.file.Read(p)) }

// Pread implements experimental/sys.File.
func (f *rootFile) Pread(p []byte, off int64) (int, experimental.Errno) {
	if off < 0 {
		return 0, experimental.EINVAL
	}
	return ended(f.file.ReadAt(p, off))
}

// ended turns io.EOF into no error, as WASI has it.
func ended(n int, err error) (int, experimental.Errno) {
	if errors.Is(err, io.EOF) {
		return n, 0
	}
	return n, errnoOf(err)
}

// A position is an offset in a file. It is an alias so that vet does not take
// Seek, whose error is a number, for a wrong io.Seeker.
type position = int64

// Seek implements experimental/sys.File.
func (f *rootFile) Seek(offset position, whence int) (int64, experimental.Errno) {
	if dir, errno := f.IsDir(); errno != 0 {
		return 0, errno
	} else if dir {
		if offset != 0 || whence != io.SeekStart {
			return 0, experimental.EINVAL
		}
		f.entries, f.listed = nil, false
		_, err := f.file.Seek(0, io.SeekStart)
		return 0, errnoOf(err)
	}
	n, err := f.file.Seek(offset, whence)
	return n, errnoOf(err)
}

// Readdir implements experimental/sys.File, in the order of names.
func (f *rootFile) Readdir(n int) ([]experimental.Dirent, experimental.Errno) {
	if !f.listed {
		list, err := f.file.ReadDir(-1)
		if err != nil {
			return nil, errnoOf(err)
		}
		slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		for _, e := range list {
			ino := inode(path.Join(f.name, e.Name()))
			f.entries = append(f.entries, experimental.Dirent{Name: e.Name(), Type: e.Type(), Ino: ino})
		}
		f.listed = true
	}
	if n <= 0 || n > len(f.entries) {
		n = len(f.entries)
	}
	some := f.entries[:n:n]
	f.entries = f.entries[n:]
	return some, 0
}

// Write implements experimental/sys.File.
func (f *rootFile) Write(p []byte) (int, experimental.Errno) {
	if f.quota == nil {
		return 0, experimental.EBADF
	}
	whence := io.SeekCurrent
	if f.appends {
		whence = io.SeekEnd
	}
	off, err := f.file.Seek(0, whence)
	if err != nil {
		return 0, errnoOf(err)
	}
	if errno := f.reserve(off, int64(len(p))); errno != 0 {
		return 0, errno
	}
	n, err := f.file.Write(p)
	return n, errnoOf(err)
}

// Pwrite implements experimental/sys.File.
func (f *rootFile) Pwrite(p []byte, off int64) (int, experimental.Errno) {
	if f.quota == nil {
		return 0, experimental.EBADF
	}
	if errno := f.reserve(off, int64(len(p))); errno != 0 {
		return 0, errno
	}
	n, err := f.file.WriteAt(p, off)
	return n, errnoOf(err)
}

// reserve takes from the quota what a write of n bytes at off adds to the file.
func (f *rootFile) reserve(off, n int64) experimental.Errno {
	info, err := f.file.Stat()
	if err != nil {
		return errnoOf(err)
	}
	end := off + n
	if off < 0 || end < off {
		return experimental.EINVAL
	}
	if end > info.Size() && n > 0 && !f.quota.take(end-info.Size()) {
		return experimental.EIO // WASI has ENOSPC, the host interface has not
	}
	return 0
}

// Truncate implements experimental/sys.File.
func (f *rootFile) Truncate(size int64) experimental.Errno {
	if f.quota == nil {
		return experimental.EBADF
	}
	if size < 0 {
		return experimental.EINVAL
	}
	info, err := f.file.Stat()
	if err != nil {
		return errnoOf(err)
	}
	if !f.quota.take(size - info.Size()) {
		return experimental.EIO
	}
	if err := f.file.Truncate(size); err != nil {
		f.quota.take(info.Size() - size)
		return errnoOf(err)
	}
	return 0
}

// Utimens implements experimental/sys.File: files have no times here.
func (f *rootFile) Utimens(_, _ int64) experimental.Errno { return 0 }

// Close implements experimental/sys.File.
func (f *rootFile) Close() experimental.Errno { return errnoOf(f.file.Close()) }
