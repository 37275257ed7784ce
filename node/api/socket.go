package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// The ways in which an API cannot be opened.
var (
	// ErrInUse says that a live process has the socket or the port.
	ErrInUse = errors.New("is in use")
	// ErrUnsafe says that others could take the socket over, or reach the port.
	ErrUnsafe = errors.New("is open to others")
	// ErrTooLong says that the path of a socket has more bytes than fit.
	ErrTooLong = errors.New("is too long")
)

// socketMax is how many bytes the path of a socket has room for, on the system
// with the least.
const socketMax = 103

// CheckSocket reports whether the path of a socket is too long: ErrTooLong.
func CheckSocket(path string) error {
	if len(path) > socketMax {
		return fmt.Errorf("api socket %s %w: %d bytes, at most %d fit; choose a shorter path",
			path, ErrTooLong, len(path), socketMax)
	}
	return nil
}

// listenUnix listens on a socket at path, which only the user may open, in a
// folder that only the user may change; both are made when missing. The socket of
// a dead process is replaced. One of a live process is ErrInUse.
func listenUnix(ctx context.Context, path string) (_ net.Listener, err error) {
	if err := CheckSocket(path); err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("api socket: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("api socket: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("api socket: folder %s %w: its mode is %04o, want 0700; choose another, or chmod 700 it",
			dir, ErrUnsafe, info.Mode().Perm())
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("api socket: lock %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("api socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("api socket: %w", err), l.Close())
	}
	return l, nil
}

// removeStale removes the socket of a dead process. Nothing but a refused
// connection tells that it is dead: a process that is merely busy is alive.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("api socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("api socket %s: it is not a socket; choose another path, or move what is there", path)
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // nothing was said
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("api socket %s %w: another node of this network runs; stop it, or give this one another socket",
			path, ErrInUse)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("api socket: replace that of a dead process: %w", err)
	}
	return nil
}

// listenTCP listens on a port of this machine's loopback.
func listenTCP(ctx context.Context, addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("api address %q: %w; want the likes of 127.0.0.1:4748", addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("api address %q %w: it is not of this machine alone; want the likes of 127.0.0.1:4748",
			addr, ErrUnsafe)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("api address %s %w: choose another port, or port 0 for any free one: %w", addr, ErrInUse, err)
	}
	if err != nil {
		return nil, fmt.Errorf("api address %s: %w", addr, err)
	}
	return l, nil
}
