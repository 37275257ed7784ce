// Package gpu holds the words for devices that compute, be they graphics cards or
// processors: what they are, which class they sell in, what they were measured to
// do. It finds no device and runs nothing; gpu/kernel computes.
//
// The words you need are Class, Device and Capability. A Class that Valid accepts
// can stand in a topic, a file name and a ledger operation as it is.
package gpu

import (
	"fmt"
	"math/bits"
)

// A Class names devices that are interchangeable to a buyer: a family and a memory
// tier, "cpu.small" or "gpu.80" say.
type Class string

// ClassMax is the length in bytes of the longest Class.
const ClassMax = 32

// Valid reports whether the class is 1 to ClassMax lower case letters, digits,
// dots and hyphens, the first one a letter.
func (c Class) Valid() bool {
	if len(c) == 0 || len(c) > ClassMax || c[0] < 'a' || c[0] > 'z' {
		return false
	}
	for i := range len(c) {
		b := c[i]
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '.' && b != '-' {
			return false
		}
	}
	return true
}

// A Kind says what sort of device it is. The zero Kind is none.
type Kind uint8

// The kinds of device.
const (
	CPU Kind = 1
	GPU Kind = 2
)

// String returns "cpu" or "gpu".
func (k Kind) String() string {
	switch k {
	case CPU:
		return "cpu"
	case GPU:
		return "gpu"
	default:
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
}

// A Device is one thing that computes, as its machine describes it. Nothing in it
// is proven.
type Device struct {
	Kind   Kind
	Name   string // as its maker calls it
	Class  Class  // that it would sell in
	Cores  uint32 // cores of a CPU, multiprocessors of a GPU
	Memory uint64 // bytes it can compute on
}

// A Capability is what a kernel was measured to do on a device.
type Capability struct {
	Kernel string // name of the kernel
	Rate   uint64 // int8 multiplications and additions a second
}

// MilliCU returns the capability in mCU, rounded down, where one CU is reference
// operations a second. It is 0 for a reference of 0 and the largest uint64 when
// it does not fit.
func (c Capability) MilliCU(reference uint64) uint64 {
	if reference == 0 {
		return 0
	}
	hi, lo := bits.Mul64(c.Rate, 1000)
	if hi >= reference {
		return 1<<64 - 1
	}
	q, _ := bits.Div64(hi, lo, reference)
	return q
}
