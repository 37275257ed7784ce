package exec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	experimental "github.com/tetratelabs/wazero/experimental/sys"

	"github.com/pinfi/pinfi/node/blob"
)

// newRootFS returns a writable folder that holds the folder sub, the file file,
// and links that lead out of it and around in it.
func newRootFS(t *testing.T) (*rootFS, string) {
	t.Helper()
	outside, dir := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(outside, "secret"), filepath.Join(dir, "file")} {
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out": outside, "leak": filepath.Join(outside, "secret"), "up": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return &rootFS{root: root, quota: &quota{bytes: 100, files: 10}}, outside
}

// TestRootFSLinks reaches for the outside in every call, through links that the
// job could not have made. It fails when rootFS uses os.Open instead of os.Root.
func TestRootFSLinks(t *testing.T) {
	fs, outside := newRootFS(t)
	for _, name := range []string{"out/secret", "leak", "up/x", "../x", "sub/../../x", "out/new", "/../x"} {
		for _, flag := range []experimental.Oflag{
			experimental.O_RDONLY, experimental.O_RDWR | experimental.O_CREAT, experimental.O_WRONLY | experimental.O_TRUNC,
		} {
			if f, errno := fs.OpenFile(name, flag, 0); errno == 0 {
				t.Errorf("OpenFile(%q, %v) worked", name, flag)
				f.Close()
			}
		}
		if _, errno := fs.Stat(name); errno == 0 {
			t.Errorf("Stat(%q) worked", name)
		}
		if name == "leak" {
			continue // the calls below act on the link itself
		}
		if fs.Mkdir(name, 0) == 0 || fs.Rename("file", name) == 0 || fs.Unlink(name) == 0 || fs.Rmdir(name) == 0 {
			t.Errorf("Mkdir, Rename, Unlink or Rmdir of %q worked", name)
		}
	}
	if fs.Link("file", "hard") == 0 || fs.Symlink("file", "soft") == 0 {
		t.Error("a link was made")
	}
	if b, err := os.ReadFile(filepath.Join(outside, "secret")); err != nil || string(b) != "old" {
		t.Errorf("the file outside holds %q, %v", b, err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside are %v, %v", entries, err)
	}
}

func TestRootFSReadOnly(t *testing.T) {
	fs, _ := newRootFS(t)
	fs.quota = nil
	f, errno := fs.OpenFile("file", experimental.O_RDONLY, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer f.Close()
	_, write := f.Write([]byte("x"))
	_, pwrite := f.Pwrite([]byte("x"), 0)
	_, open := fs.OpenFile("file", experimental.O_RDWR, 0)
	_, create := fs.OpenFile("new", experimental.O_CREAT, 0)
	_, truncate := fs.OpenFile("file", experimental.O_TRUNC, 0)
	for what, errno := range map[string]experimental.Errno{
		"write": write, "pwrite": pwrite, "open": open, "create": create, "open to truncate": truncate,
		"truncate": f.Truncate(0), "mkdir": fs.Mkdir("new", 0), "unlink": fs.Unlink("file"), "rmdir": fs.Rmdir("sub"),
		"rename": fs.Rename("file", "new"), "chmod": fs.Chmod("file", 0), "utimens": fs.Utimens("file", 0, 0),
	} {
		if errno != experimental.EROFS && errno != experimental.EBADF {
			t.Errorf("%s: %v, want EROFS or EBADF", what, errno)
		}
	}
}

func TestRootFSNumbers(t *testing.T) {
	fs, _ := newRootFS(t)
	long := strings.Repeat("x", blob.PathMax+1)
	_, missing := fs.OpenFile("missing", experimental.O_RDONLY, 0)
	_, asFolder := fs.OpenFile("file", experimental.O_DIRECTORY, 0)
	_, asFile := fs.OpenFile("sub", experimental.O_RDWR, 0)
	_, tooLong := fs.OpenFile(long, experimental.O_RDWR|experimental.O_CREAT, 0)
	_, badName := fs.OpenFile("a\nb", experimental.O_RDWR|experimental.O_CREAT, 0)
	_, there := fs.OpenFile("file", experimental.O_RDWR|experimental.O_CREAT|experimental.O_EXCL, 0)
	for what, c := range map[string]struct{ got, want experimental.Errno }{
		"missing": {missing, experimental.ENOENT}, "file as folder": {asFolder, experimental.ENOTDIR},
		"folder as file": {asFile, experimental.EISDIR}, "too long": {tooLong, experimental.ENAMETOOLONG},
		"bad name": {badName, experimental.EINVAL}, "exclusive": {there, experimental.EEXIST},
		"unlink folder": {fs.Unlink("sub"), experimental.EISDIR}, "rmdir file": {fs.Rmdir("file"), experimental.ENOTDIR},
		"unlink nothing": {fs.Unlink("missing"), experimental.ENOENT},
		"mkdir twice":    {fs.Mkdir("sub", 0), experimental.EEXIST},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
}

// TestQuota writes, appends, truncates and reopens a file and follows the count
// of bytes that are left of 100.
func TestQuota(t *testing.T) {
	fs, _ := newRootFS(t)
	file, errno := fs.OpenFile("new", experimental.O_RDWR|experimental.O_CREAT, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer file.Close()
	wantLeft := func(after string, errno experimental.Errno, left int64) {
		t.Helper()
		if errno != 0 || fs.quota.bytes != left {
			t.Errorf("after %s: %v, %d bytes left, want %d", after, errno, fs.quota.bytes, left)
		}
	}
	_, errno = file.Write(make([]byte, 40))
	wantLeft("40 bytes", errno, 60)
	_, errno = file.Pwrite(make([]byte, 10), 0)
	wantLeft("10 bytes over them", errno, 60)
	wantLeft("growing to 90", file.Truncate(90), 10)
	wantLeft("shrinking to 20", file.Truncate(20), 80)
	_ = file.SetAppend(true)
	_, errno = file.Write(make([]byte, 30))
	wantLeft("appending 30", errno, 50)
	if _, errno := file.Write(make([]byte, 51)); errno != experimental.EIO || !fs.quota.hit {
		t.Errorf("writing 51 more: %v, want EIO", errno)
	}
	if _, errno := file.Pwrite([]byte("x"), 1<<63-1); errno != experimental.EINVAL {
		t.Errorf("writing past the largest offset: %v, want EINVAL", errno)
	}
	again, errno := fs.OpenFile("new", experimental.O_WRONLY|experimental.O_TRUNC, 0)
	wantLeft("opening it empty", errno, 100)
	defer again.Close()
}
