package proofs

import (
	"encoding/binary"
	"math/bits"

	"github.com/pinfi/pinfi/p2p"
)

// The domains of a stream: which matrix, or which use.
const (
	domainA      = 0xA
	domainB      = 0xB
	domainSample = 0x5A
)

const (
	blockSize = 64 // bytes of a ChaCha block
	lanes     = 16 // blocks of a whole chunk
	chunkSize = lanes * blockSize
)

// A stream is the generator of matrices: ChaCha with 8 rounds, the seed as key,
// and block counter, domain, row and 0 as the last four words of the state. It can
// start at any row, and its layout needs no shuffling in a vector register or on a
// GPU: sixteen blocks are interleaved word by word (layout in
// docs/spec/proofs.md, "Generator").
type stream [8]uint32

func newStream(seed p2p.Digest) *stream {
	var s stream
	for i := range s {
		s[i] = binary.LittleEndian.Uint32(seed[4*i:])
	}
	return &s
}

// row fills dst with row number row of a domain. The length must be a multiple of
// blockSize. A last chunk of fewer than 1024 bytes has as many lanes as it has
// blocks.
func (s *stream) row(dst []int8, domain, row uint32) {
	var words [16]uint32
	for counter := uint32(0); len(dst) > 0; {
		width := min(lanes, len(dst)/blockSize)
		for lane := range width {
			s.block(counter, domain, row, &words)
			counter++
			for w, v := range words {
				at := (w*width + lane) * 4
				d := dst[at : at+4 : at+4]
				d[0], d[1], d[2], d[3] = int8(v), int8(v>>8), int8(v>>16), int8(v>>24)
			}
		}
		dst = dst[width*blockSize:]
	}
}

// The first words of a ChaCha state: "expand 32-byte k".
const (
	sigma0 = 0x61707865
	sigma1 = 0x3320646e
	sigma2 = 0x79622d32
	sigma3 = 0x6b206574
)

// block computes one block: four double rounds and the feed-forward (RFC 8439,
// section 2.3, with 8 rounds in the place of 20).
func (s *stream) block(counter, domain, row uint32, out *[16]uint32) {
	x0, x1, x2, x3 := uint32(sigma0), uint32(sigma1), uint32(sigma2), uint32(sigma3)
	x4, x5, x6, x7, x8, x9, x10, x11 := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	x12, x13, x14, x15 := counter, domain, row, uint32(0)
	for range 4 {
		x0, x4, x8, x12 = quarter(x0, x4, x8, x12)
		x1, x5, x9, x13 = quarter(x1, x5, x9, x13)
		x2, x6, x10, x14 = quarter(x2, x6, x10, x14)
		x3, x7, x11, x15 = quarter(x3, x7, x11, x15)
		x0, x5, x10, x15 = quarter(x0, x5, x10, x15)
		x1, x6, x11, x12 = quarter(x1, x6, x11, x12)
		x2, x7, x8, x13 = quarter(x2, x7, x8, x13)
		x3, x4, x9, x14 = quarter(x3, x4, x9, x14)
	}
	out[0], out[1], out[2], out[3] = x0+sigma0, x1+sigma1, x2+sigma2, x3+sigma3
	out[4], out[5], out[6], out[7] = x4+s[0], x5+s[1], x6+s[2], x7+s[3]
	out[8], out[9], out[10], out[11] = x8+s[4], x9+s[5], x10+s[6], x11+s[7]
	out[12], out[13], out[14], out[15] = x12+counter, x13+domain, x14+row, x15
}

// quarter is the quarter round of RFC 8439, section 2.1.
func quarter(a, b, c, d uint32) (uint32, uint32, uint32, uint32) {
	a += b
	d = bits.RotateLeft32(d^a, 16)
	c += d
	b = bits.RotateLeft32(b^c, 12)
	a += b
	d = bits.RotateLeft32(d^a, 8)
	c += d
	b = bits.RotateLeft32(b^c, 7)
	return a, b, c, d
}
