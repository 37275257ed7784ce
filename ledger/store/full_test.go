package store

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// [LED-31] A full disk fails a write with the system's word for it, and what was
// written before is there when the store is opened again.
func TestFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	disk := vfs.NewCrashableMem()
	var full atomic.Bool
	s, err := openFS("db", network, nil, errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	kept := Record{1, []byte{1}, []byte("kept")}
	if err := s.Write(t.Context(), []Record{kept}); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	lost := []Record{{1, []byte{2}, []byte("lost")}}
	if err := s.Write(t.Context(), lost); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write to a full disk: %v, want %v", err, syscall.ENOSPC)
	}
	if err := s.Write(t.Context(), lost); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write after one that failed: %v, want %v", err, syscall.ENOSPC)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	full.Store(false)
	again, err := openFS("db", network, nil, disk.CrashClone(vfs.CrashCloneCfg{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	wantRecords(t, again, kept)
}
