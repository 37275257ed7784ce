// Package wire is the canonical codec of everything that pinfi signs, hashes,
// sends or stores: a cursor that writes fixed-width big-endian fields, and one
// that reads them back and accepts nothing else.
//
// It knows primitives, frames and limits only; each package encodes its own
// types in its own wire.go with a Writer and a Reader. The invariant, which
// every type's fuzz test checks: a byte string that decodes encodes to itself
// again, so that one value has one encoding and no signature is malleable.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Writer appends fields to a byte string. The zero value is ready to use.
type Writer struct{ b []byte }

// NewWriter returns a Writer with room for n bytes.
func NewWriter(n int) *Writer { return &Writer{b: make([]byte, 0, n)} }

// Bytes returns what was written. The slice is the caller's once writing ends.
func (w *Writer) Bytes() []byte { return w.b }

// U8 appends one byte.
func (w *Writer) U8(v uint8) { w.b = append(w.b, v) }

// U16 appends two bytes, big end first.
func (w *Writer) U16(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }

// U32 appends four bytes, big end first.
func (w *Writer) U32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }

// U64 appends eight bytes, big end first.
func (w *Writer) U64(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }

// Bool appends 1 for true and 0 for false.
func (w *Writer) Bool(v bool) {
	if v {
		w.U8(1)
		return
	}
	w.U8(0)
}

// Fixed appends b as it is. The reader must know its length.
func (w *Writer) Fixed(b []byte) { w.b = append(w.b, b...) }

// Blob appends the length of b as four bytes and then b.
func (w *Writer) Blob(b []byte) {
	w.U32(uint32(len(b)))
	w.Fixed(b)
}

// Text appends the length of s as one byte and then s. It panics when s is
// longer than 255 bytes: texts on the wire are names, and names are checked
// where they are made.
func (w *Writer) Text(s string) {
	if len(s) > 255 {
		panic(fmt.Sprintf("wire: text of %d bytes, at most 255 fit", len(s)))
	}
	w.U8(uint8(len(s)))
	w.b = append(w.b, s...)
}

// The ways in which bytes fail to decode. Errors of a Reader wrap one of them.
var (
	ErrShort    = errors.New("ends too early")
	ErrTrailing = errors.New("has bytes left over")
	ErrLimit    = errors.New("exceeds its limit")
	ErrValue    = errors.New("has a value that no encoder writes")
)

// A Reader takes fields off a byte string. After the first error every read
// returns the zero value, so a decoder checks Err or Close once, at its end.
type Reader struct {
	b   []byte
	off int
	err error
}

// NewReader returns a Reader of b. Slices it returns alias b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Rest returns the number of bytes not yet read.
func (r *Reader) Rest() int { return len(r.b) - r.off }

// Offset returns the number of bytes read.
func (r *Reader) Offset() int { return r.off }

// Close returns the first error, or ErrTrailing when bytes are left.
func (r *Reader) Close() error {
	if r.err == nil && r.Rest() > 0 {
		r.Fail(fmt.Errorf("%w: %d of %d", ErrTrailing, r.Rest(), len(r.b)))
	}
	return r.err
}

// Fail makes err the reader's error unless it has one. Decoders use it to refuse
// a field that was read well and holds a value it must not hold.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("at byte %d: %w", r.off, err)
	}
}

// Fixed returns the next n bytes.
func (r *Reader) Fixed(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > r.Rest() {
		r.Fail(fmt.Errorf("%w: want %d bytes, have %d", ErrShort, n, r.Rest()))
		return nil
	}
	b := r.b[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// Into fills dst with the next len(dst) bytes.
func (r *Reader) Into(dst []byte) { copy(dst, r.Fixed(len(dst))) }

// U8 reads one byte.
func (r *Reader) U8() uint8 {
	if b := r.Fixed(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads two bytes, big end first.
func (r *Reader) U16() uint16 {
	if b := r.Fixed(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// U32 reads four bytes, big end first.
func (r *Reader) U32() uint32 {
	if b := r.Fixed(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes, big end first.
func (r *Reader) U64() uint64 {
	if b := r.Fixed(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Bool reads one byte that is 0 or 1.
func (r *Reader) Bool() bool {
	v := r.U8()
	if v > 1 {
		r.Fail(fmt.Errorf("%w: boolean %d", ErrValue, v))
	}
	return v == 1
}

// Blob reads a byte string of at most limit bytes, as Writer.Blob writes it.
func (r *Reader) Blob(limit int) []byte {
	n := r.U32()
	if r.err == nil && uint64(n) > uint64(limit) {
		r.Fail(fmt.Errorf("%w: %d bytes, limit %d", ErrLimit, n, limit))
		return nil
	}
	return r.Fixed(int(n))
}

// Text reads a string of at most limit bytes, as Writer.Text writes it.
func (r *Reader) Text(limit int) string {
	n := int(r.U8())
	if r.err == nil && n > limit {
		r.Fail(fmt.Errorf("%w: text of %d bytes, limit %d", ErrLimit, n, limit))
		return ""
	}
	return string(r.Fixed(n))
}

// Count reads a number of items as two bytes and refuses more than limit, or
// more than can stand in what is left when each takes at least size bytes, so
// that a decoder may allocate what Count returns.
func (r *Reader) Count(limit, size int) int {
	n := int(r.U16())
	if r.err != nil {
		return 0
	}
	if n > limit {
		r.Fail(fmt.Errorf("%w: %d items, limit %d", ErrLimit, n, limit))
		return 0
	}
	if n*size > r.Rest() {
		r.Fail(fmt.Errorf("%w: %d items of %d bytes, have %d", ErrShort, n, size, r.Rest()))
		return 0
	}
	return n
}

// Count appends a number of items as two bytes. It panics when n does not fit:
// lists are bounded where they are made.
func (w *Writer) Count(n int) {
	if n < 0 || n > 0xffff {
		panic(fmt.Sprintf("wire: %d items, at most 65535 fit", n))
	}
	w.U16(uint16(n))
}
