package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// kinds are all kinds of message.
var kinds = []Kind{
	KindOp, KindFrame, KindBeat, KindOffer, KindBid, KindBundle, KindAccusation, KindAsk, KindQuoted, KindStart,
	KindReport, KindPay,
	KindReveal, KindHeads, KindItems, KindWant,
}

// golden are values and what they encode to: testdata/golden.txt, line by line.
var golden = []struct {
	name string
	put  func(*Writer)
	take func(*Reader) bool
}{
	{"u8", func(w *Writer) { w.U8(0xab) }, func(r *Reader) bool { return r.U8() == 0xab }},
	{"u16", func(w *Writer) { w.U16(0xabcd) }, func(r *Reader) bool { return r.U16() == 0xabcd }},
	{"u32", func(w *Writer) { w.U32(0xabcdef01) }, func(r *Reader) bool { return r.U32() == 0xabcdef01 }},
	{
		"u64", func(w *Writer) { w.U64(0xabcdef0123456789) },
		func(r *Reader) bool { return r.U64() == 0xabcdef0123456789 },
	},
	{
		"bool", func(w *Writer) { w.Bool(true); w.Bool(false) },
		func(r *Reader) bool { return r.Bool() && !r.Bool() },
	},
	{
		"fixed", func(w *Writer) { w.Fixed([]byte{1, 2, 3}) },
		func(r *Reader) bool { return bytes.Equal(r.Fixed(3), []byte{1, 2, 3}) },
	},
	{
		"blob", func(w *Writer) { w.Blob([]byte{1, 2, 3}); w.Blob(nil) },
		func(r *Reader) bool { return bytes.Equal(r.Blob(3), []byte{1, 2, 3}) && len(r.Blob(0)) == 0 },
	},
	{
		"text", func(w *Writer) { w.Text("gpu-24"); w.Text("") },
		func(r *Reader) bool { return r.Text(6) == "gpu-24" && r.Text(0) == "" },
	},
	{
		"count", func(w *Writer) { w.Count(2); w.U32(7); w.U32(8) },
		func(r *Reader) bool { return r.Count(2, 4) == 2 && r.U32() == 7 && r.U32() == 8 },
	},
}

// [WIR-1] Fields are fixed in width, big end first; byte strings and texts come
// after their length.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if name, digits, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			want[name] = digits
		}
	}
	for _, g := range golden {
		var w Writer
		g.put(&w)
		if got := hex.EncodeToString(w.Bytes()); got != want[g.name] {
			t.Errorf("%s encodes to %s, want %s", g.name, got, want[g.name])
		}
		r := NewReader(w.Bytes())
		if !g.take(r) || r.Close() != nil {
			t.Errorf("%s does not decode to itself: %v", g.name, r.Err())
		}
	}
	for _, k := range kinds {
		got := hex.EncodeToString(Seal(k, func(w *Writer) { w.U16(0x0102) }))
		if name := "message-" + k.String(); got != want[name] {
			t.Errorf("%s is %s, want %s", name, got, want[name])
		}
	}
	if len(want) != len(golden)+len(kinds) {
		t.Errorf("the file has %d vectors, the test %d", len(want), len(golden)+len(kinds))
	}
}

// Every way of being wrong has its error, and the reader says where.
//
// [WIR-6] A list is read only when its length is within its limit and can stand
// in the bytes that are left.
func TestReaderErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		take func(*Reader)
		want error
	}{
		{"u8 of nothing", nil, func(r *Reader) { r.U8() }, ErrShort},
		{"u16 of 1", []byte{1}, func(r *Reader) { r.U16() }, ErrShort},
		{"u32 of 3", []byte{1, 2, 3}, func(r *Reader) { r.U32() }, ErrShort},
		{"u64 of 7", make([]byte, 7), func(r *Reader) { r.U64() }, ErrShort},
		{"bool 2", []byte{2}, func(r *Reader) { r.Bool() }, ErrValue},
		{"negative", []byte{2}, func(r *Reader) { r.Fixed(-1) }, ErrShort},
		{"blob over limit", []byte{0, 0, 0, 2, 1, 1}, func(r *Reader) { r.Blob(1) }, ErrLimit},
		{"blob of gigabytes", []byte{0xff, 0xff, 0xff, 0xff}, func(r *Reader) { r.Blob(1 << 20) }, ErrLimit},
		{"blob cut", []byte{0, 0, 0, 2, 1}, func(r *Reader) { r.Blob(2) }, ErrShort},
		{"text over limit", []byte{2, 'a', 'b'}, func(r *Reader) { r.Text(1) }, ErrLimit},
		{"text cut", []byte{2, 'a'}, func(r *Reader) { r.Text(2) }, ErrShort},
		{"count over limit", []byte{0, 3, 1, 1, 1}, func(r *Reader) { r.Count(2, 1) }, ErrLimit},
		{"count beyond the end", []byte{0, 3, 1, 1}, func(r *Reader) { r.Count(3, 1) }, ErrShort},
		{"left over", []byte{1, 2}, func(r *Reader) { r.U8() }, ErrTrailing},
	} {
		r := NewReader(c.in)
		c.take(r)
		if err := r.Close(); !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "at byte ") {
			t.Errorf("%s: %v, want %v and the place", c.name, err, c.want)
		}
	}
}

// After the first error a reader returns nothing and keeps its error.
func TestReaderSticks(t *testing.T) {
	r := NewReader([]byte{2, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9})
	r.Bool()
	first := r.Err()
	if r.U8() != 0 || r.U16() != 0 || r.U32() != 0 || r.U64() != 0 || r.Bool() || r.Fixed(1) != nil ||
		r.Blob(9) != nil || r.Text(9) != "" || r.Count(9, 1) != 0 {
		t.Error("a broken reader returns something")
	}
	var dst [2]byte
	if r.Into(dst[:]); dst != [2]byte{} {
		t.Error("a broken reader fills something")
	}
	r.Fail(errors.New("second"))
	if last := r.Close(); first == nil || !errors.Is(last, first) || !errors.Is(last, ErrValue) {
		t.Errorf("error is %v, was %v", last, first)
	}
}

// What a writer cannot encode is a bug of its caller.
func TestWriterPanics(t *testing.T) {
	for name, f := range map[string]func(*Writer){
		"text":    func(w *Writer) { w.Text(strings.Repeat("a", 256)) },
		"count":   func(w *Writer) { w.Count(65536) },
		"below 0": func(w *Writer) { w.Count(-1) },
		"message": func(*Writer) { Seal(KindBid, func(w *Writer) { w.Fixed(make([]byte, KindBid.Limit()-1)) }) },
		"kind":    func(*Writer) { Seal(99, func(*Writer) {}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f(&Writer{})
		}()
	}
	if got := len(Seal(KindBid, func(w *Writer) { w.Fixed(make([]byte, KindBid.Limit()-2)) })); got != KindBid.Limit() {
		t.Errorf("the largest bid has %d bytes", got)
	}
}

// [WIR-4] A message opens only with its version, a known kind, and at most its
// kind's limit of bytes.
func TestOpen(t *testing.T) {
	for _, k := range kinds {
		largest := append([]byte{Version, byte(k)}, make([]byte, k.Limit()-2)...)
		if got, r, err := Open(largest); err != nil || got != k || r.Rest() != k.Limit()-2 || r.Offset() != 2 {
			t.Errorf("the largest %v does not open: %v", k, err)
		}
		if _, _, err := Open(append(largest, 0)); !errors.Is(err, ErrLimit) {
			t.Errorf("a %v over its limit: %v, want ErrLimit", k, err)
		}
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":      {nil, ErrShort},
		"one byte":     {[]byte{Version}, ErrShort},
		"no version":   {[]byte{0, byte(KindBid)}, ErrValue},
		"next version": {[]byte{Version + 1, byte(KindBid)}, ErrValue},
		"kind 0":       {[]byte{Version, 0}, ErrValue},
		"kind 255":     {[]byte{Version, 255}, ErrValue},
	} {
		if _, _, err := Open(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// [WIR-5] The table of limits in the specification is the one in the code, and
// no kind is missing from either.
func TestLimits(t *testing.T) {
	spec, err := os.ReadFile("../../docs/spec/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	known, largest := 0, 0
	for n := range 256 {
		k := Kind(n)
		if k.Limit() == 0 {
			if !strings.HasPrefix(k.String(), "kind(") {
				t.Errorf("%v has a name and no limit", k)
			}
			continue
		}
		known++
		largest = max(largest, k.Limit())
		if row := fmt.Sprintf("| %d | %v | %d |", n, k, k.Limit()); !strings.Contains(string(spec), "\n"+row) {
			t.Errorf("the specification has no row %s", row)
		}
	}
	if known != len(kinds) || largest != MaxMessage {
		t.Errorf("%d kinds, the largest of %d bytes; want %d and %d", known, largest, len(kinds), MaxMessage)
	}
	rows := strings.Count(string(spec), "\n| ") - 2 // two tables' heads
	if rows != known+fieldRows {
		t.Errorf("the specification has %d rows of tables, want %d", rows, known+fieldRows)
	}
}

// fieldRows is the length of the specification's table of fields.
const fieldRows = 8

// A script is a list of fields: what to write and how to read it.
type script []byte

// run reads the fields of the script from data and writes what it read.
func (s script) run(data []byte) ([]byte, error) {
	r, w := NewReader(data), NewWriter(len(data))
	for _, op := range s {
		limit := int(op >> 4)
		switch op & 0xf % 9 {
		case 0:
			w.U8(r.U8())
		case 1:
			w.U16(r.U16())
		case 2:
			w.U32(r.U32())
		case 3:
			w.U64(r.U64())
		case 4:
			w.Bool(r.Bool())
		case 5:
			w.Fixed(r.Fixed(limit))
		case 6:
			w.Blob(r.Blob(limit))
		case 7:
			w.Text(r.Text(limit))
		case 8:
			n := r.Count(limit, 2)
			w.Count(n)
			for range n {
				w.U16(r.U16())
			}
		}
		if r.Err() != nil {
			return nil, r.Err()
		}
	}
	return w.Bytes(), r.Close()
}

// [WIR-2] What decodes encodes to itself again: one value, one encoding.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4}, make([]byte, 16))
	f.Add([]byte{0x45, 0x46, 0x47, 0x48}, []byte("\x01\x02\x03\x04\x00\x00\x00\x02ab\x03abc\x00\x01zz"))
	f.Add([]byte{0xf6}, []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, fields, data []byte) {
		out, err := script(fields).run(data)
		if err == nil && !bytes.Equal(out, data) {
			t.Fatalf("%x decodes and encodes to %x", data, out)
		}
	})
}

// [WIR-3] Decoders never panic, and bytes that are not a message are an error.
func FuzzOpen(f *testing.F) {
	for _, k := range kinds {
		f.Add(Seal(k, func(w *Writer) { w.Text("hello") }))
	}
	f.Add([]byte{})
	f.Add([]byte{Version, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, r, err := Open(b)
		if err != nil {
			if k != 0 || r != nil {
				t.Fatal("an error comes with a message")
			}
			return
		}
		if len(b) > k.Limit() || len(b) > MaxMessage {
			t.Fatalf("a %v of %d bytes opens", k, len(b))
		}
		if again := Seal(k, func(w *Writer) { w.Fixed(r.Fixed(r.Rest())) }); !bytes.Equal(again, b) {
			t.Fatalf("%x opens and seals to %x", b, again)
		}
		if err := r.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	})
}

// What is written is read, whatever the fields.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blob := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "blob")
		text := rapid.StringOfN(rapid.Rune(), 0, 40, 255).Draw(t, "text")
		u8, u16 := rapid.Uint8().Draw(t, "u8"), rapid.Uint16().Draw(t, "u16")
		u32, u64 := rapid.Uint32().Draw(t, "u32"), rapid.Uint64().Draw(t, "u64")
		yes := rapid.Bool().Draw(t, "bool")
		w := NewWriter(0)
		w.U8(u8)
		w.Blob(blob)
		w.U16(u16)
		w.Text(text)
		w.U32(u32)
		w.Bool(yes)
		w.U64(u64)
		r := NewReader(w.Bytes())
		if r.U8() != u8 || !bytes.Equal(r.Blob(len(blob)), blob) || r.U16() != u16 || r.Text(len(text)) != text ||
			r.U32() != u32 || r.Bool() != yes || r.U64() != u64 || r.Close() != nil {
			t.Fatalf("%x does not decode to what it was: %v", w.Bytes(), r.Err())
		}
		short := NewReader(w.Bytes()[:rapid.IntRange(0, len(w.Bytes())-1).Draw(t, "cut")])
		short.U8()
		short.Blob(len(blob))
		short.U16()
		short.Text(len(text))
		short.U32()
		short.Bool()
		short.U64()
		if short.Close() == nil {
			t.Fatal("a cut encoding decodes")
		}
	})
}

// Appending to what a reader returned does not change what it read from.
func TestAliases(t *testing.T) {
	b := []byte{1, 2, 3}
	_ = append(NewReader(b).Fixed(2), 9)
	if b[2] != 3 {
		t.Error("the bytes after a field were overwritten")
	}
}

// BenchmarkCodec encodes and decodes a message of the shape and size of an
// offer: 277 bytes.
func BenchmarkCodec(b *testing.B) {
	key, sig := make([]byte, 32), make([]byte, 64)
	offer := func(w *Writer) {
		w.Fixed(key)
		w.Text("gpu-24")
		w.Text("eu-west")
		for n := range uint64(6) {
			w.U64(n)
		}
		w.Blob(make([]byte, 110))
		w.Fixed(sig)
	}
	size := len(Seal(KindOffer, offer))
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(size))
		for b.Loop() {
			Seal(KindOffer, offer)
		}
	})
	b.Run("decode", func(b *testing.B) {
		message := Seal(KindOffer, offer)
		b.ReportAllocs()
		b.SetBytes(int64(size))
		for b.Loop() {
			_, r, err := Open(message)
			if err != nil {
				b.Fatal(err)
			}
			var id [32]byte
			var end [64]byte
			r.Into(id[:])
			r.Text(32)
			r.Text(32)
			for range 6 {
				r.U64()
			}
			r.Blob(200)
			r.Into(end[:])
			if r.Close() != nil {
				b.Fatal(r.Err())
			}
		}
	})
}
