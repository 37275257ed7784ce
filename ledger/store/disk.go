package store

import (
	"errors"
	"os"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A watchedFS is a file system that Pebble never sees fail to write. Where a disk is
// full or broken Pebble panics on some of its own goroutines, which ends the process,
// and tries for ever on others. Here fail is told of the first such error, and the
// call that met it does not come back: the process is to end.
type watchedFS struct {
	vfs.FS
	fail func(error)
}

// isFault reports whether a disk will not take what is written to it.
func isFault(err error) bool {
	return slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS},
		func(fault error) bool { return errors.Is(err, fault) })
}

// check returns the error of a call that changes the disk, unless it is a fault.
func (w *watchedFS) check(err error) error {
	if err != nil && isFault(err) {
		w.fail(err)
		select {}
	}
	return err
}

// file returns a file that is watched as well.
func (w *watchedFS) file(f vfs.File, err error) (vfs.File, error) {
	if err := w.check(err); err != nil {
		return nil, err
	}
	return &watchedFile{f, w}, nil
}

func (w *watchedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return w.file(w.FS.Create(name, category))
}

func (w *watchedFS) Link(oldname, newname string) error { return w.check(w.FS.Link(oldname, newname)) }

func (w *watchedFS) OpenReadWrite(
	name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption,
) (vfs.File, error) {
	return w.file(w.FS.OpenReadWrite(name, category, opts...))
}

func (w *watchedFS) OpenDir(name string) (vfs.File, error) { return w.file(w.FS.OpenDir(name)) }

func (w *watchedFS) Remove(name string) error { return w.check(w.FS.Remove(name)) }

func (w *watchedFS) Rename(oldname, newname string) error {
	return w.check(w.FS.Rename(oldname, newname))
}

func (w *watchedFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return w.file(w.FS.ReuseForWrite(oldname, newname, category))
}

func (w *watchedFS) MkdirAll(dir string, perm os.FileMode) error {
	return w.check(w.FS.MkdirAll(dir, perm))
}

// A watchedFile is a file of a watchedFS.
type watchedFile struct {
	vfs.File
	fs *watchedFS
}

func (f *watchedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.check(err)
}

func (f *watchedFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	return n, f.fs.check(err)
}

func (f *watchedFile) Preallocate(offset, length int64) error {
	return f.fs.check(f.File.Preallocate(offset, length))
}

func (f *watchedFile) Sync() error { return f.fs.check(f.File.Sync()) }

func (f *watchedFile) SyncData() error { return f.fs.check(f.File.SyncData()) }

func (f *watchedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fs.check(err)
}

func (f *watchedFile) Close() error { return f.fs.check(f.File.Close()) }
