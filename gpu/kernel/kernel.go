// Package kernel multiplies matrices of int8 exactly, which is the work of a proof
// of computing power. It is not a linear algebra library: it knows one product, in
// one layout, and every kernel gives the same bits.
//
// The call you need is Select, which runs a known-answer test on each kernel that
// the machine can run and returns the fastest that passes. The invariant: a Kernel
// that Select returns has given the right answer to entries of the full range of
// int8, -128 included, since the process started.
package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/pinfi/pinfi/gpu"
)

// A Kernel is one way to multiply.
type Kernel struct {
	Name string
	// Multiply sets c[i*n+j] to the sum over x of a[i*k+x] * b[j*k+x], exactly: a
	// holds m rows of k entries, b the n columns of the other matrix. It may be
	// called from many goroutines at once, and keeps none of the slices.
	Multiply func(c []int32, a, b []int8, m, n, k int)
}

// All returns the kernels that this machine can run, the simplest first.
func All() []Kernel { return []Kernel{{Name: "portable", Multiply: Portable}} }

// Select returns the fastest kernel that passes Check, and what it was measured to
// do on one core. It takes some tens of milliseconds a kernel. The error says why
// each one failed.
func Select() (Kernel, gpu.Capability, error) { return selectFrom(All()) }

func selectFrom(kernels []Kernel) (Kernel, gpu.Capability, error) {
	var best Kernel
	var capability gpu.Capability
	var errs []error
	for _, k := range kernels {
		if err := k.Check(); err != nil {
			errs = append(errs, err)
			continue
		}
		if c := k.Measure(); c.Rate > capability.Rate {
			best, capability = k, c
		}
	}
	if best.Multiply == nil {
		return Kernel{}, gpu.Capability{}, fmt.Errorf("select a kernel: none is correct: %w", errors.Join(errs...))
	}
	return best, capability, nil
}

// The known-answer test: a product with ragged edges, more entries in a row than
// any kernel packs at a time, and extreme rows. The digest is that of the answer
// of a naive triple loop, entries little end first.
const (
	checkM, checkN, checkK = 50, 38, 1100
	checkDigest            = "503d1fa1df2af0156150a62f1824793fb7ba8acdb238a25713f4a90e4f941f95"
)

// Check runs the known-answer test.
func (k Kernel) Check() error {
	a, b := checkInput()
	c := make([]int32, checkM*checkN)
	for i := range c {
		c[i] = -1 // a kernel must set, not add
	}
	k.Multiply(c, a, b, checkM, checkN, checkK)
	if got := digest(c); got != checkDigest {
		return fmt.Errorf("known-answer test of kernel %s: digest %s, want %s", k.Name, got, checkDigest)
	}
	return nil
}

// checkInput returns the matrices of the known-answer test: entries of a linear
// congruential generator (Knuth, MMIX), and first rows of -128 and of 127.
func checkInput() (a, b []int8) {
	state := uint64(1)
	fill := func(n int) []int8 {
		x := make([]int8, n*checkK)
		for i := range x {
			state = state*6364136223846793005 + 1442695040888963407
			x[i] = int8(state >> 56)
		}
		for i := range checkK {
			x[i], x[checkK+i] = -128, 127
		}
		return x
	}
	return fill(checkM), fill(checkN)
}

// digest returns the SHA-256 digest of the entries, in hexadecimal digits.
func digest(c []int32) string {
	buf := make([]byte, 0, 4*len(c))
	for _, v := range c {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(v))
	}
	sum := sha256.Sum256(buf)
	return hex.EncodeToString(sum[:])
}

// Measure returns what the kernel does on one core: the best of three products of
// 256 x 256 x 1024, 134 million operations each.
func (k Kernel) Measure() gpu.Capability {
	const m, n, deep = 256, 256, 1024
	c, a, b := make([]int32, m*n), make([]int8, m*deep), make([]int8, n*deep)
	best := time.Duration(1<<63 - 1)
	for range 3 {
		start := time.Now()
		k.Multiply(c, a, b, m, n, deep)
		best = min(best, max(time.Since(start), 1))
	}
	return gpu.Capability{Kernel: k.Name, Rate: uint64(2 * m * n * deep * float64(time.Second) / float64(best))}
}
