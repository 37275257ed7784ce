package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/p2p"
)

// listen opens a server at a socket, without running it.
func listen(t *testing.T, cfg api.Config) (*api.Server, error) {
	t.Helper()
	cfg.Token, cfg.Node, cfg.Files = token, deaf{newGenesis(1)}, newStore(t)
	cfg.Manifest, cfg.Hub, cfg.Stop = noManifest, api.NewHub(), func() {}
	return api.Listen(t.Context(), cfg)
}

// A configuration that cannot work is refused with all that is wrong with it.
func TestConfig(t *testing.T) {
	_, err := api.Listen(t.Context(), api.Config{Limits: api.Limits{Backlog: -1}})
	for _, want := range []string{"Socket nor TCP", "Node", "Files", "Manifest", "Hub", "Stop", "token", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want a word about %s", err, want)
		}
	}
}

// [API-5] The socket has mode 0600 and stands in a folder of mode 0700, which is
// made when it is missing; a folder that is open to others is refused.
func TestSocketModes(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "run", "api.sock")
	s, err := listen(t, api.Config{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]fs.FileMode{path: 0o600 | fs.ModeSocket, filepath.Dir(path): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(p); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", p, info.Mode(), err, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the socket is there: %v", err)
	}
	for _, mode := range []fs.FileMode{0o755, 0o770, 0o701} {
		if err := os.Chmod(filepath.Dir(path), mode); err != nil {
			t.Fatal(err)
		}
		_, err := listen(t, api.Config{Socket: path})
		if !errors.Is(err, api.ErrUnsafe) || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("folder of mode %o: %v, want ErrUnsafe", mode, err)
		}
	}
}

// [API-6] The socket that a dead process left is replaced; one of a live process is
// refused and stays, as does a file that is no socket.
func TestSocketInUse(t *testing.T) {
	path := filepath.Join(shortDir(t), "api.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	r := serve(t, api.Config{Socket: path})
	if _, err := r.Events(t.Context(), [32]byte{}); err != nil {
		t.Errorf("events over a replaced socket: %v", err)
	}
	_, err = listen(t, api.Config{Socket: path})
	if !errors.Is(err, api.ErrInUse) || !strings.Contains(err.Error(), "another node") {
		t.Errorf("listen on a live socket: %v, want ErrInUse", err)
	}
	if res, _ := r.raw("GET", "/v1/openapi.json", "", nil); res.StatusCode != 200 {
		t.Errorf("the live server answers %s afterwards", res.Status)
	}
	file := filepath.Join(filepath.Dir(path), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(t, api.Config{Socket: file}); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("listen on a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	_, err = listen(t, api.Config{Socket: filepath.Join(filepath.Dir(path), strings.Repeat("x", 120))})
	if err == nil || !strings.Contains(err.Error(), "shorter path") {
		t.Errorf("listen on a long path: %v", err)
	}
}

// Of many nodes that start in the same instant over a stale socket one gets it.
func TestSocketRace(t *testing.T) {
	path := filepath.Join(shortDir(t), "api.sock")
	for round := range 10 {
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		dead.Close()
		var wait sync.WaitGroup
		got, start := make(chan *api.Server, 16), make(chan struct{})
		cfg := api.Config{
			Socket: path, Token: token, Node: deaf{newGenesis(1)}, Files: newStore(t), Manifest: noManifest,
			Hub: api.NewHub(), Stop: func() {},
		}
		for range cap(got) {
			wait.Go(func() {
				<-start
				if s, err := api.Listen(t.Context(), cfg); err == nil {
					got <- s
				} else if !errors.Is(err, api.ErrInUse) {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		close(start)
		wait.Wait()
		close(got)
		n := 0
		for s := range got {
			n++
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Fatalf("round %d: %d nodes have the socket", round, n)
		}
	}
}

// [API-7] Over TCP the API listens on an address of the loopback only, and asks for
// the token there too.
func TestTCP(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:0", ":0", "localhost:0", "example.org:80"} {
		if _, err := listen(t, api.Config{TCP: addr}); !errors.Is(err, api.ErrUnsafe) {
			t.Errorf("listen on %s: %v, want ErrUnsafe", addr, err)
		}
	}
	r := serve(t, api.Config{TCP: "127.0.0.1:0"})
	for who, want := range map[api.Token]api.Code{
		token: api.CodeUnknownBlob, api.Token(strings.Repeat("1", 64)): api.CodeUnauthorized,
	} {
		c, err := api.DialTCP(r.server.TCP(), who)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Output(t.Context(), [32]byte{1})
		wantProblem(t, err, want)
		c.Close()
	}
	if _, err := listen(t, api.Config{TCP: r.server.TCP()}); !errors.Is(err, api.ErrInUse) {
		t.Errorf("listen on a port in use: %v", err)
	}
	if _, err := listen(t, api.Config{TCP: "nonsense"}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:4748") {
		t.Errorf("listen on nonsense: %v", err)
	}
}

// [API-8] The token is 32 random bytes in a file of mode 0600 in the node's data
// folder; it is made once, and refused when others can read it.
func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := api.ReadToken(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read without a token: %v", err)
	}
	first, err := api.OpenToken(dir)
	if err != nil || len(string(first)) != 64 {
		t.Fatalf("%d characters, %v", len(string(first)), err)
	}
	again, err := api.OpenToken(dir)
	if err != nil || again != first {
		t.Errorf("opened again it is another: %v", err)
	}
	if other, err := api.OpenToken(t.TempDir()); err != nil || other == first {
		t.Errorf("two folders share a token: %v", err)
	}
	if s := fmt.Sprintf("%v %s %#v", first, first, first); strings.Contains(s, string(first)) {
		t.Error("printing a token shows it")
	}
	path := filepath.Join(dir, api.TokenFile)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	os.Chmod(path, 0o644)
	if _, err := api.OpenToken(dir); err == nil || !strings.Contains(err.Error(), "0644") {
		t.Errorf("token that others can read: %v", err)
	}
	os.Chmod(path, 0o600)
	os.WriteFile(path, []byte(strings.Repeat("z", 64)), 0o600)
	if _, err := api.ReadToken(dir); err == nil || !strings.Contains(err.Error(), "64 hexadecimal digits") {
		t.Errorf("token of other characters: %v", err)
	}
	if _, err := api.Dial(path, "short"); err == nil {
		t.Error("dial with half a token: no error")
	}
}

// A client without a node says where it looked.
func TestNoNode(t *testing.T) {
	path := filepath.Join(shortDir(t), "api.sock")
	c, err := api.Dial(path, token)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, api.ErrNoNode) || !strings.Contains(err.Error(), path) {
		t.Errorf("status without a node: %v, want ErrNoNode", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				t.Error(err)
			}
			fmt.Fprint(conn, "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			conn.Close()
		}
	}()
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("status of another program: %v", err)
	}
}

// noManifest knows no outputs.
func noManifest(context.Context, p2p.Digest) ([]api.File, error) { return nil, errors.ErrUnsupported }
