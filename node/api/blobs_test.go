package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pinfi/pinfi/node/api"
	"github.com/pinfi/pinfi/node/blob"
	"github.com/pinfi/pinfi/p2p"
)

// [API-9] A file is put as raw bytes, named by their SHA-256, and got back with the
// same bytes.
func TestBlobs(t *testing.T) {
	r := serve(t, api.Config{})
	for _, content := range []string{"", "hello", strings.Repeat("0123456789", 300_000)} {
		file := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		want := api.Blob{Digest: p2p.SumContent([]byte(content)), Size: int64(len(content))}
		for name, from := range map[string]io.Reader{
			"reader": strings.NewReader(content), "file": f,
			"stream": iotest.OneByteReader(strings.NewReader(content[:min(9, len(content))])),
		} {
			got, err := r.PutBlob(t.Context(), from)
			if name == "stream" {
				if err != nil || got.Size != int64(min(9, len(content))) {
					t.Errorf("put stream: %v, %v", got, err)
				}
				continue
			}
			if err != nil || got != want {
				t.Errorf("put %s of %d bytes: %v, %v, want %v", name, len(content), got, err, want)
			}
		}
		f.Close()
		var back bytes.Buffer
		if n, err := r.GetBlob(t.Context(), &back, want.Digest); err != nil || n != want.Size || back.String() != content {
			t.Errorf("got %d bytes back: %v, want %d", n, err, want.Size)
		}
	}
	res, body := r.raw("HEAD", "/v1/blobs/"+p2p.SumContent([]byte("hello")).String(), "", nil)
	if res.StatusCode != 200 || res.ContentLength != 5 || body != "" {
		t.Errorf("head: %s, %d bytes announced", res.Status, res.ContentLength)
	}
	_, err := r.GetBlob(t.Context(), io.Discard, p2p.Digest{1})
	wantProblem(t, err, api.CodeUnknownBlob)
	_, err = r.Output(t.Context(), p2p.SumContent([]byte("hello")))
	wantProblem(t, err, api.CodeNotManifest, "manifest")
}

// [API-10] A body larger than its limit is refused with 413 and nothing of it stays:
// a file of more than Limits.Blob, an order of more than 64 KiB. A head of more
// than 16 KiB is refused too.
func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	store, err := blob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, api.Config{Files: store, Limits: api.Limits{Blob: 1000}})
	exact := strings.Repeat("x", 1000)
	if b, err := r.PutBlob(t.Context(), strings.NewReader(exact)); err != nil || b.Size != 1000 {
		t.Errorf("put 1000 bytes: %v, %v", b, err)
	}
	for _, n := range []int{1001, 5 << 20} {
		content := strings.Repeat("y", n)
		_, err := r.PutBlob(t.Context(), strings.NewReader(content))
		wantProblem(t, err, api.CodeTooLarge, "1000 bytes")
		_, err = r.PutBlob(t.Context(), io.MultiReader(strings.NewReader(content))) // of unknown length
		wantProblem(t, err, api.CodeTooLarge, "1000 bytes")
		if store.Has(p2p.SumContent([]byte(content))) {
			t.Errorf("%d bytes are stored", n)
		}
	}
	// A length over the limit is refused before the first byte is asked for.
	conn, err := net.Dial("unix", r.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "PUT /v1/blobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+string(token)+
		"\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 413 ") {
		t.Errorf("a length over the limit: %q, %v", line, err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left of refused files: %v, %v", left, err)
	}
	_, err = r.SubmitJob(t.Context(), api.Order{Region: strings.Repeat("r", 65<<10)})
	wantProblem(t, err, api.CodeTooLarge)
	res, _ := r.raw("GET", "/v1/status", "", map[string]string{"X-Long": strings.Repeat("h", 64<<10)})
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("long head: %s", res.Status)
	}
}

// [API-11] A file that arrives broken off is not stored.
func TestBrokenUpload(t *testing.T) {
	dir := t.TempDir()
	store, err := blob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, api.Config{Files: store})
	half := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrClosedPipe))
	if _, err := r.PutBlob(t.Context(), half); err == nil {
		t.Error("half a file was put without an error")
	}
	conn, err := net.Dial("unix", r.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "PUT /v1/blobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+string(token)+
		"\r\nContent-Length: 100\r\n\r\nhalf")
	conn.(*net.UnixConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	conn.Close()
	if err != nil || !bytes.Contains(answer, []byte("did not arrive whole")) {
		t.Errorf("answer %s, %v", answer, err)
	}
	until(t, "the broken file to go", func() bool {
		left, err := os.ReadDir(filepath.Join(dir, "tmp"))
		return err == nil && len(left) == 0
	})
	if store.Has(p2p.SumContent([]byte("half"))) {
		t.Error("half a file is stored")
	}
}

// [API-12] A file is hashed before its first byte is sent: a corrupt one is an
// error, never an answer. A client hashes what arrives again.
func TestCorruptBlob(t *testing.T) {
	dir := t.TempDir()
	store, err := blob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, api.Config{Files: store})
	b, err := r.PutBlob(t.Context(), strings.NewReader("precious"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, b.Digest.String()[:2], b.Digest.String())
	os.Chmod(path, 0o600)
	if err := os.WriteFile(path, []byte("previous"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	_, err = r.GetBlob(t.Context(), &got, b.Digest)
	wantProblem(t, err, api.CodeUnreadable, "another digest")
	if got.Len() > 0 {
		t.Errorf("%d corrupt bytes were sent", got.Len())
	}
	liar := serve(t, api.Config{Files: lies{store}, Manifest: noManifest})
	if _, err := liar.GetBlob(t.Context(), io.Discard, p2p.Digest{1}); !errors.Is(err, api.ErrBroken) {
		t.Errorf("a node that sends other bytes: %v, want ErrBroken", err)
	}
	if _, err := liar.PutBlob(t.Context(), strings.NewReader("a")); !errors.Is(err, api.ErrBroken) {
		t.Errorf("a node that stores other bytes: %v, want ErrBroken", err)
	}
}

// lies are the files of a node that sends and stores others.
type lies struct{ *blob.Store }

func (lies) Has(p2p.Digest) bool { return true }

func (l lies) Put(ctx context.Context, _ io.Reader, limit int64) (p2p.Digest, int64, error) {
	return l.Store.Put(ctx, strings.NewReader("lie"), limit)
}

func (l lies) Verified(ctx context.Context, _ p2p.Digest) (*os.File, int64, error) {
	d, err := l.PutBytes([]byte("lie"))
	if err != nil {
		return nil, 0, err
	}
	return l.Store.Verified(ctx, d)
}

// [API-13] A client saves an output below the folder it is told and nowhere else,
// and each file whole or not at all.
func TestSaveOutput(t *testing.T) {
	store := newStore(t)
	src := t.TempDir()
	os.MkdirAll(filepath.Join(src, "sub", "deep"), 0o700)
	os.WriteFile(filepath.Join(src, "a"), []byte("A"), 0o600)
	os.WriteFile(filepath.Join(src, "sub", "deep", "b"), []byte("B"), 0o600)
	d, _, err := blob.PackDir(t.Context(), store, src, blob.Limits{Bytes: 100, Files: 10})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, api.Config{Files: store})
	dir := filepath.Join(t.TempDir(), "new", "out")
	out, err := r.SaveOutput(t.Context(), d, dir)
	if err != nil || len(out.Files) != 2 || out.Files[1].Path != "sub/deep/b" || out.Files[1].Size != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	for name, want := range map[string]string{"a": "A", "sub/deep/b": "B"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v, want %q", name, b, err, want)
		}
	}
	for _, name := range []string{"../evil", "/evil", "sub/../../evil", ".", "", "leak/evil"} {
		os.Symlink(src, filepath.Join(dir, "leak"))
		evil := serve(t, api.Config{Files: store, Manifest: func(context.Context, p2p.Digest) ([]api.File, error) {
			return []api.File{{Path: name, Size: 1, Digest: p2p.SumContent([]byte("A"))}}, nil
		}})
		if _, err := evil.SaveOutput(t.Context(), d, dir); err == nil {
			t.Errorf("a file %q was saved", name)
		}
		for _, where := range []string{src, filepath.Dir(dir), "/"} {
			if _, err := os.Stat(filepath.Join(where, "evil")); err == nil {
				t.Errorf("a file %q was written in %s", name, where)
			}
		}
	}
	lost := serve(t, api.Config{Files: store, Manifest: func(context.Context, p2p.Digest) ([]api.File, error) {
		return []api.File{{Path: "a", Size: 1, Digest: p2p.Digest{9}}}, nil
	}})
	_, err = lost.SaveOutput(t.Context(), d, dir)
	wantProblem(t, err, api.CodeUnknownBlob)
	left, _ := filepath.Glob(filepath.Join(dir, ".pinfi-*"))
	if b, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(b) != "A" || len(left) > 0 {
		t.Errorf("after a failed save the file holds %q, %v, and %v is left", b, err, left)
	}
}
