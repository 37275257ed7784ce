package jobs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// tile returns a tile of a picture of 4 by 3 pixels; its pixels tell where they
// belong.
func tile(x, y, width, height int) Tile {
	name := fmt.Sprintf("tile-%d-%d", x, y)
	t := Tile{Name: name, X: x, Y: y, Width: width, Height: height, ImageWidth: 4, ImageHeight: 3}
	for j := range height {
		for i := range width {
			t.Pixels = append(t.Pixels, byte(x+i), byte(y+j), 7)
		}
	}
	return t
}

func TestAssemble(t *testing.T) {
	tiles := []Tile{tile(0, 2, 4, 1), tile(2, 0, 2, 2), tile(0, 0, 2, 2)}
	var buf bytes.Buffer
	if err := WritePNG(&buf, tiles); err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(&buf)
	if err != nil {
		t.Fatal(err)
	}
	for y := range 3 {
		for x := range 4 {
			want := color.NRGBA{R: uint8(x), G: uint8(y), B: 7, A: 0xff}
			if got := color.NRGBAModel.Convert(picture.At(x, y)); got != want {
				t.Errorf("pixel %d, %d is %v, want %v", x, y, got, want)
			}
		}
	}
}

// [JOB-26] Tiles that are missing, overlap, have the wrong size or belong to
// another picture make no picture; the error says which.
func TestAssembleRefuses(t *testing.T) {
	other := tile(0, 1, 4, 2)
	other.ImageWidth = 5
	short := tile(0, 1, 4, 2)
	short.Pixels = short.Pixels[1:]
	huge := Tile{Name: "huge", Width: 1, Height: 1, ImageWidth: sideMax + 1, ImageHeight: 1, Pixels: make([]byte, 3)}
	top := tile(0, 0, 4, 1)
	for want, tiles := range map[string][]Tile{
		"there are none":                       nil,
		"no tile covers the pixel 0, 1 of 4":   {top},
		"no tile covers the pixel 2, 0":        {tile(0, 0, 2, 3), tile(2, 1, 2, 2)},
		"tile-0-0 overlaps":                    {top, top, tile(0, 1, 4, 2)},
		"tile-2-0 overlaps":                    {top, tile(2, 0, 2, 3)},
		"picture of 5 by 3":                    {top, other},
		"tile-0-1 has 23 bytes":                {top, short},
		"tile-2-2 is 3 by 1 pixels at 2, 2":    {tile(2, 2, 3, 1)},
		"tile-0-2 is 4 by 2 pixels at 0, 2":    {tile(0, 2, 4, 2)},
		"tile--1-0 is 4 by 1 pixels at -1, 0":  {tile(-1, 0, 4, 1)},
		"tile-0-0 is 0 by 1 pixels":            {tile(0, 0, 0, 1)},
		"huge belongs to a picture of 8193 by": {huge},
	} {
		if _, err := Assemble(tiles); !errors.Is(err, ErrTiles) || !strings.Contains(err.Error(), want) {
			t.Errorf("Assemble: %v, want ErrTiles that says %q", err, want)
		}
	}
}

func TestReadTiles(t *testing.T) {
	folder := fstest.MapFS{
		"tile-0.txt": {Data: []byte("0 0 4 1 4 3\n")}, "tile-0.rgb": {Data: tile(0, 0, 4, 1).Pixels},
		"tile-1.txt": {Data: []byte("0 1 4 2 4 3\n")}, "tile-1.rgb": {Data: tile(0, 1, 4, 2).Pixels},
		"notes.txt": {Data: []byte("not a tile")},
	}
	tiles, err := ReadTiles(folder)
	if err != nil || len(tiles) != 2 {
		t.Fatalf("ReadTiles = %v, %v", tiles, err)
	}
	if _, err := Assemble(tiles); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"": "number 1 of 6", "0 0 4": "number 4 of 6", "0 0 4 x 4 3\n": "number 4 of 6", "0 0 4 3 4 3\n": "12 bytes",
	} {
		folder["tile-0.txt"] = &fstest.MapFile{Data: []byte(text)}
		if _, err := ReadTiles(folder); !errors.Is(err, ErrTiles) || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadTiles with %q: %v, want ErrTiles that says %q", text, err, want)
		}
	}
	delete(folder, "tile-1.rgb")
	folder["tile-0.txt"] = &fstest.MapFile{Data: []byte("0 0 4 1 4 3\n")}
	if _, err := ReadTiles(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadTiles without pixels: %v, want ErrNotExist", err)
	}
}

// [JOB-27] The committed modules are what their sources build to.
func TestSums(t *testing.T) {
	sums, err := os.ReadFile("render/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"render.c": nil, "render.wasm": Render, "scene.txt": Scene} {
		if b == nil {
			if b, err = os.ReadFile(filepath.Join("render", name)); err != nil {
				t.Fatal(err)
			}
		}
		line := fmt.Sprintf("%x  %s", sha256.Sum256(b), name)
		if !slices.Contains(strings.Split(string(sums), "\n"), line) {
			t.Errorf("SHA256SUMS has no line %q: build again, then write it as README.md says", line)
		}
	}
	if len(Render) > 300<<10 {
		t.Errorf("render.wasm has %d bytes", len(Render))
	}
}

func TestRebuild(t *testing.T) {
	if _, err := exec.LookPath("clang-14"); err != nil {
		t.Skip("clang-14 is not installed; README.md names the packages")
	}
	out := t.TempDir()
	module := filepath.Join(out, "render.wasm")
	build(t, "render/build.sh", module)
	if b, err := os.ReadFile(module); err != nil || !bytes.Equal(b, Render) {
		t.Errorf("render.c builds to other bytes than render.wasm: %v", err)
	}
	build(t, "../testdata/build.sh", out)
	committed, err := filepath.Glob("../testdata/*.wasm")
	if err != nil || len(committed) < 9 {
		t.Fatalf("%d test modules, %v", len(committed), err)
	}
	for _, path := range committed {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(out, filepath.Base(path))); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s: its source builds to other bytes: %v", path, err)
		}
	}
}

func build(t *testing.T, script, to string) {
	t.Helper()
	if out, err := exec.Command("sh", "-e", script, to).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}
