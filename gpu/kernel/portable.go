package kernel

// Portable packs three rows of a into one 64-bit word, 21 bits apart, so that one
// multiplication by an entry of b makes three products, and one addition adds them
// to three sums. A lane holds the sum of at most stepMax products of int8, which
// lies between -64*128*127 and 64*128*128 = 2^20: one bit more than 20, and as the
// least value is above -2^20, 21 bits tell all of them apart.
const (
	laneBits = 21
	laneBias = 1<<20 - 1 // added to a lane, it makes all its sums positive
	laneMask = 1<<laneBits - 1
	stepMax  = 64 // products that a lane can sum
)

const (
	chunk   = 256 // entries of a row that are packed at a time: what fits the first cache
	rows    = 6   // rows of a strip of a: two words of three
	columns = 4   // columns of a strip of b
)

// A strip of a, one entry of each row at a time, and one of b.
type (
	rowWords    [2]int64
	columnWords [4]int64
)

// A block is the product of a strip of a and a strip of b, row by row.
type block [rows * columns]int32

// Portable multiplies in plain Go, on any machine and for any m and n and for k up
// to 2^16, where all sums fit. It has the contract of a Kernel's Multiply.
func Portable(c []int32, a, b []int8, m, n, k int) {
	clear(c[:m*n])
	strips := (m + rows - 1) / rows
	packed := make([]rowWords, strips*min(k, chunk))
	var column [chunk]columnWords
	for from := 0; from < k; from += chunk {
		length := min(chunk, k-from)
		for s := range strips {
			packRows(packed[s*length:(s+1)*length], a, s*rows, m, k, from)
		}
		for j := 0; j < n; j += columns {
			packColumns(column[:length], b, j, n, k, from)
			for s := range strips {
				var sums block
				multiplyStrips(&sums, packed[s*length:(s+1)*length], column[:length])
				sums.addTo(c, s*rows, j, m, n)
			}
		}
	}
}

// packRows packs the entries of a strip of a from number from on. Rows beyond m
// are zero.
func packRows(dst []rowWords, a []int8, row, m, k, from int) {
	clear(dst)
	for r := range min(rows, m-row) {
		word, shift := r/3, laneBits*(r%3)
		for x, v := range a[(row+r)*k+from:][:len(dst)] {
			dst[x][word] += int64(v) << shift
		}
	}
}

// packColumns packs the entries of a strip of b from number from on. Columns
// beyond n are zero.
func packColumns(dst []columnWords, b []int8, column, n, k, from int) {
	clear(dst)
	for j := range min(columns, n-column) {
		for x, v := range b[(column+j)*k+from:][:len(dst)] {
			dst[x][j] = int64(v)
		}
	}
}

// multiplyStrips adds the products of two strips to sums.
func multiplyStrips(sums *block, a []rowWords, b []columnWords) {
	for len(a) > 0 {
		step := min(stepMax, len(a))
		addStep(sums, a[:step], b[:step])
		a, b = a[step:], b[step:]
	}
}

// addStep adds the products of at most stepMax entries.
func addStep(sums *block, a []rowWords, b []columnWords) {
	var s00, s01, s02, s03, s10, s11, s12, s13 int64
	b = b[:len(a)]
	for i := range a {
		x, y := &a[i], &b[i]
		x0, x1 := x[0], x[1]
		v := y[0]
		s00 += x0 * v
		s10 += x1 * v
		v = y[1]
		s01 += x0 * v
		s11 += x1 * v
		v = y[2]
		s02 += x0 * v
		s12 += x1 * v
		v = y[3]
		s03 += x0 * v
		s13 += x1 * v
	}
	sums.unpack(0, s00, s01, s02, s03)
	sums.unpack(3, s10, s11, s12, s13)
}

// unpack adds the lanes of four words to three rows of the block.
func (t *block) unpack(row int, words ...int64) {
	for j, w := range words {
		for r := range 3 {
			sum := (w+laneBias)&laneMask - laneBias
			t[(row+r)*columns+j] += int32(sum)
			w = (w - sum) >> laneBits
		}
	}
}

// addTo adds the block to the entries of c from row and column on, as far as they
// exist.
func (t *block) addTo(c []int32, row, column, m, n int) {
	for r := range min(rows, m-row) {
		out := c[(row+r)*n+column:]
		for j := range min(columns, n-column) {
			out[j] += t[r*columns+j]
		}
	}
}
