//go:build unix

package api_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pinfi/pinfi/node/api"
)

// Whoever looks at a socket has its folder locked: of nodes that start in the same
// instant, the second sees what the first has done.
func TestSocketLock(t *testing.T) {
	dir := shortDir(t)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	listening := make(chan error, 1)
	go func() {
		s, err := listen(t, api.Config{Socket: filepath.Join(dir, "api.sock")})
		if err == nil {
			err = s.Close()
		}
		listening <- err
	}()
	select {
	case err := <-listening:
		t.Fatalf("listened in a folder that is locked: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	f.Close()
	if err := <-listening; err != nil {
		t.Error(err)
	}
}
