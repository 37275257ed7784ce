package blob

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinfi/pinfi/p2p"
)

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func wantFile(t *testing.T, path, text string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != text {
		t.Errorf("%s holds %q, %v, want %q", path, b, err, text)
	}
}

// [JOB-3] An output folder is named by the digest of its manifest: one
// folder content has one digest, whatever the order in which it was written.
func TestPackUnpack(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	files := map[string]string{"a/b": "1", "a-b": "2", "z": "", "a/c/d": "1"}
	one, two, out := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "out")
	writeTree(t, one, files)
	writeTree(t, two, files)
	limits := Limits{Bytes: 3, Files: 4}
	d, m, err := PackDir(ctx, s, one, limits)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range m.Files {
		paths = append(paths, f.Path)
	}
	if want := []string{"a-b", "a/b", "a/c/d", "z"}; !slices.Equal(paths, want) || m.Size() != 3 {
		t.Errorf("packed %v of %d bytes, want %v of 3", paths, m.Size(), want)
	}
	if again, _, err := PackDir(ctx, s, two, limits); err != nil || again != d {
		t.Errorf("the same files packed again: %v, %v, want %v", again, err, d)
	}
	for range 2 { // the second time over the first
		if _, err := Unpack(ctx, s, d, out); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		wantFile(t, filepath.Join(out, filepath.FromSlash(name)), text)
	}
	if again, _, err := PackDir(ctx, s, out, limits); err != nil || again != d {
		t.Errorf("unpacked and packed: %v, %v, want %v", again, err, d)
	}
}

func TestPackLimits(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	writeTree(t, dir, map[string]string{"a": "12", "b": "34"})
	for _, limits := range []Limits{{Bytes: 3, Files: 2}, {Bytes: 4, Files: 1}, {}} {
		if _, _, err := PackDir(t.Context(), s, dir, limits); !errors.Is(err, ErrTooBig) {
			t.Errorf("PackDir with %+v: %v, want ErrTooBig", limits, err)
		}
	}
	empty := t.TempDir()
	d, m, err := PackDir(t.Context(), s, empty, Limits{})
	if err != nil || len(m.Files) != 0 || d.IsZero() {
		t.Errorf("PackDir of an empty folder = %v, %v, %v", d, m, err)
	}
}

// [JOB-4] Packing an output folder follows no symbolic link and takes regular
// files only.
func TestPackRefusesLinks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"file": secret, "folder": filepath.Dir(secret), "inside": "a", "dangling": "nowhere",
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t), t.TempDir()
			writeTree(t, dir, map[string]string{"a": "1"})
			if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
				t.Skip("no symbolic links here:", err)
			}
			_, _, err := PackDir(t.Context(), s, dir, Limits{Bytes: 100, Files: 10})
			if !errors.Is(err, ErrIrregular) || !strings.Contains(err.Error(), "link") {
				t.Errorf("PackDir: %v, want ErrIrregular that names the link", err)
			}
			if s.Has(p2p.SumContent([]byte("key"))) {
				t.Error("the file behind the link was stored")
			}
		})
	}
}

// [JOB-5] Unpacking writes below the chosen folder only, whatever the manifest
// says and whatever links stand in the folder.
func TestUnpackStaysInside(t *testing.T) {
	s, dir, out := newStore(t), t.TempDir(), t.TempDir()
	writeTree(t, dir, map[string]string{"sub/a": "new", "b": "new"})
	d, _, err := PackDir(t.Context(), s, dir, Limits{Bytes: 100, Files: 10})
	if err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	writeTree(t, outside, map[string]string{"a": "old", "b": "old"})
	// A link in place of a file is replaced, one in place of a folder refused.
	if err := os.Symlink(filepath.Join(outside, "b"), filepath.Join(out, "b")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if _, err := Unpack(t.Context(), s, d, out); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(out, "b"), "new")
	wantFile(t, filepath.Join(outside, "b"), "old")
	if err := os.RemoveAll(filepath.Join(out, "sub")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(out, "sub")); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(t.Context(), s, d, out); err == nil {
		t.Error("Unpack through a link that leaves the folder succeeded")
	}
	wantFile(t, filepath.Join(outside, "a"), "old")
}

func TestUnpackChecksSizes(t *testing.T) {
	s, out := newStore(t), t.TempDir()
	content, err := s.PutBytes([]byte("four"))
	if err != nil {
		t.Fatal(err)
	}
	m := Manifest{Files: []File{{Path: "f", Size: 5, Digest: content}}}
	d, err := s.PutBytes(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(t.Context(), s, d, out); !errors.Is(err, ErrManifest) {
		t.Errorf("Unpack: %v, want ErrManifest", err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// [JOB-6] A manifest has one encoding. One that is out of order, names a path
// twice, leaves its folder or makes a file a folder does not decode.
func TestManifestRefusals(t *testing.T) {
	good := Manifest{Files: []File{{Path: "a", Size: 1}, {Path: "b/c", Size: 2}}}
	if m, err := DecodeManifest(good.Encode()); err != nil || !slices.Equal(m.Files, good.Files) {
		t.Fatalf("DecodeManifest(Encode) = %v, %v", m, err)
	}
	for _, paths := range []string{
		"b a", "a a", "..", "../a", "a/../b", "/a", "a/", "a//b", "./a", ".", "a a/b", "a a-b a/b",
		`a\b`, "c:d", "a\x01", "a\xff",
	} {
		var m Manifest
		for p := range strings.SplitSeq(paths, " ") {
			m.Files = append(m.Files, File{Path: p})
		}
		if _, err := DecodeManifest(m.Encode()); !errors.Is(err, ErrManifest) {
			t.Errorf("paths %q decode: %v, want ErrManifest", paths, err)
		}
	}
	m := Manifest{Files: []File{{Path: "a", Size: 1 << 63}, {Path: "b", Size: 1 << 63}}}
	encodings := [][]byte{m.Encode(), {}, {2, 0, 0}, {1, 0}, {1, 0, 1}, append(good.Encode(), 0), {1, 0xff, 0xff}}
	for _, b := range encodings {
		if _, err := DecodeManifest(b); !errors.Is(err, ErrManifest) {
			t.Errorf("%x decodes: %v, want ErrManifest", b, err)
		}
	}
}

func TestManifestLimitHolds(t *testing.T) {
	var m Manifest
	for i := range FilesMax {
		m.Files = append(m.Files, File{Path: fmt.Sprintf("%04d%s", i, strings.Repeat("x", PathMax-4))})
	}
	b := m.Encode()
	if _, err := DecodeManifest(b); err != nil || len(b) != MaxManifest {
		t.Errorf("the largest manifest has %d bytes, MaxManifest is %d: %v", len(b), MaxManifest, err)
	}
}

func TestManifestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		paths := rapid.SliceOfDistinct(rapid.StringMatching(`[a-c]{1,2}(/[a-c]{1,2}){0,2}`), rapid.ID).Draw(t, "paths")
		slices.Sort(paths)
		var m Manifest
		for _, p := range paths {
			size := rapid.Uint64Range(0, 1<<40).Draw(t, "size")
			m.Files = append(m.Files, File{Path: p, Size: size, Digest: p2p.SumContent([]byte(p))})
		}
		clash := slices.ContainsFunc(paths, func(p string) bool {
			return slices.ContainsFunc(paths, func(q string) bool { return strings.HasPrefix(q, p+"/") })
		})
		got, err := DecodeManifest(m.Encode())
		if clash != (err != nil) || !clash && !slices.Equal(got.Files, m.Files) {
			t.Fatalf("paths %q: decoded %v, %v", paths, got, err)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	good := Manifest{Files: []File{{Path: "a", Size: 1}, {Path: "b/c", Size: 2}}}
	f.Add(good.Encode())
	f.Add((&Manifest{}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err != nil {
			return
		}
		if again := m.Encode(); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes to %x", b, again)
		}
	})
}
