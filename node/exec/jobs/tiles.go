package jobs

import (
	"cmp"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// ErrTiles says that tiles do not make a picture. Errors wrap it and say which
// tile or which rows are at fault.
var ErrTiles = errors.New("tiles do not make a picture")

// sideMax is the largest width or height of a picture, in pixels, as in render.c.
const sideMax = 8192

// A Tile is a rectangle of a picture.
type Tile struct {
	Name                    string // for errors
	X, Y, Width, Height     int    // pixels from the left and the top
	ImageWidth, ImageHeight int    // of the whole picture
	Pixels                  []byte // red, green, blue; rows from top to bottom
}

// ReadTiles reads the tiles in the root of a folder: every NAME.txt that has a
// NAME.rgb, in the order of names. It is called once for each task's output, or
// once for a folder that holds them all.
func ReadTiles(folder fs.FS) ([]Tile, error) {
	names, err := fs.Glob(folder, "tile-*.txt")
	if err != nil {
		return nil, fmt.Errorf("read tiles: %w", err)
	}
	var tiles []Tile
	for _, name := range names {
		tile, err := readTile(folder, strings.TrimSuffix(name, ".txt"))
		if err != nil {
			return nil, err
		}
		tiles = append(tiles, tile)
	}
	return tiles, nil
}

// readTile reads one tile and holds the number of its pixels to its size.
func readTile(folder fs.FS, name string) (Tile, error) {
	t := Tile{Name: name}
	text, err := fs.ReadFile(folder, name+".txt")
	if err != nil {
		return Tile{}, fmt.Errorf("read tile: %w", err)
	}
	n, err := fmt.Sscanf(string(text), "%d %d %d %d %d %d\n",
		&t.X, &t.Y, &t.Width, &t.Height, &t.ImageWidth, &t.ImageHeight)
	if err != nil {
		return Tile{}, fmt.Errorf("%w: %s.txt: number %d of 6: %w; want x y w h image-width image-height",
			ErrTiles, name, n+1, err)
	}
	if t.Pixels, err = fs.ReadFile(folder, name+".rgb"); err != nil {
		return Tile{}, fmt.Errorf("read tile: %w", err)
	}
	return t, t.validate()
}

// validate reports a tile that stands outside of its picture or whose pixels are
// not as many as its size says.
func (t *Tile) validate() error {
	switch {
	case t.ImageWidth < 1 || t.ImageWidth > sideMax || t.ImageHeight < 1 || t.ImageHeight > sideMax:
		return fmt.Errorf("%w: %s belongs to a picture of %d by %d pixels, want 1 to %d a side",
			ErrTiles, t.Name, t.ImageWidth, t.ImageHeight, sideMax)
	case t.Width < 1 || t.Width > t.ImageWidth || t.X < 0 || t.X > t.ImageWidth-t.Width,
		t.Height < 1 || t.Height > t.ImageHeight || t.Y < 0 || t.Y > t.ImageHeight-t.Height:
		return fmt.Errorf("%w: %s is %d by %d pixels at %d, %d, not inside a picture of %d by %d",
			ErrTiles, t.Name, t.Width, t.Height, t.X, t.Y, t.ImageWidth, t.ImageHeight)
	case len(t.Pixels) != 3*t.Width*t.Height:
		return fmt.Errorf("%w: %s has %d bytes, %d by %d pixels have %d",
			ErrTiles, t.Name, len(t.Pixels), t.Width, t.Height, 3*t.Width*t.Height)
	}
	return nil
}

// Assemble puts tiles together, in whatever order they are given. Tiles that
// overlap, leave a pixel out, or belong to pictures of different sizes are
// ErrTiles.
func Assemble(tiles []Tile) (*image.NRGBA, error) {
	if len(tiles) == 0 {
		return nil, fmt.Errorf("%w: there are none", ErrTiles)
	}
	first := tiles[0]
	for _, t := range tiles {
		if err := t.validate(); err != nil {
			return nil, err
		}
		if t.ImageWidth != first.ImageWidth || t.ImageHeight != first.ImageHeight {
			return nil, fmt.Errorf("%w: %s belongs to a picture of %d by %d pixels, %s to one of %d by %d", ErrTiles,
				t.Name, t.ImageWidth, t.ImageHeight, first.Name, first.ImageWidth, first.ImageHeight)
		}
	}
	// In order, so that the error does not depend on the order given.
	tiles = slices.SortedFunc(slices.Values(tiles), func(a, b Tile) int {
		return cmp.Or(cmp.Compare(a.Y, b.Y), cmp.Compare(a.X, b.X), cmp.Compare(a.Name, b.Name))
	})
	picture := image.NewNRGBA(image.Rect(0, 0, first.ImageWidth, first.ImageHeight))
	for _, t := range tiles {
		if err := draw(picture, t); err != nil {
			return nil, err
		}
	}
	if p, missing := firstEmpty(picture); missing {
		return nil, fmt.Errorf("%w: no tile covers the pixel %d, %d of %d by %d; a task's output is missing",
			ErrTiles, p.X, p.Y, first.ImageWidth, first.ImageHeight)
	}
	return picture, nil
}

// draw copies a tile into the picture, where it must be empty: every pixel drawn
// is opaque.
func draw(picture *image.NRGBA, t Tile) error {
	for y := range t.Height {
		for x := range t.Width {
			to := picture.Pix[picture.PixOffset(t.X+x, t.Y+y):][:4]
			if to[3] != 0 {
				return fmt.Errorf("%w: %s overlaps another tile at the pixel %d, %d", ErrTiles, t.Name, t.X+x, t.Y+y)
			}
			copy(to, t.Pixels[3*(y*t.Width+x):][:3])
			to[3] = 0xff
		}
	}
	return nil
}

// firstEmpty returns the first pixel that no tile covered.
func firstEmpty(picture *image.NRGBA) (image.Point, bool) {
	for y := range picture.Rect.Dy() {
		for x := range picture.Rect.Dx() {
			if picture.Pix[picture.PixOffset(x, y)+3] == 0 {
				return image.Pt(x, y), true
			}
		}
	}
	return image.Point{}, false
}

// WritePNG writes the picture that the tiles make as a PNG file.
func WritePNG(w io.Writer, tiles []Tile) error {
	picture, err := Assemble(tiles)
	if err != nil {
		return err
	}
	if err := png.Encode(w, picture); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}
