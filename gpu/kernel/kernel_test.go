package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naive is the definition of the product.
func naive(c []int32, a, b []int8, m, n, k int) {
	for i := range m {
		for j := range n {
			var sum int32
			for x := range k {
				sum += int32(a[i*k+x]) * int32(b[j*k+x])
			}
			c[i*n+j] = sum
		}
	}
}

// newMatrix returns rows of one extreme or of random entries.
func newMatrix(rng *rand.Rand, rows, k int) []int8 {
	x := make([]int8, rows*k)
	for i := range rows {
		kind := rng.IntN(5)
		for j := range k {
			x[i*k+j] = [...]int8{-128, 127, -1, 0, int8(rng.Uint32())}[min(kind, 4)]
		}
	}
	return x
}

// [PRF-8] Every kernel gives the sums of a naive triple loop, bit for bit, for
// entries of the whole range of int8.
func TestKernelsEqualNaive(t *testing.T) {
	for _, kernel := range All() {
		t.Run(kernel.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m, n := rapid.IntRange(1, 40).Draw(t, "m"), rapid.IntRange(1, 40).Draw(t, "n")
				k := rapid.OneOf(rapid.IntRange(1, 70), rapid.IntRange(250, 520)).Draw(t, "k")
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
				a, b := newMatrix(rng, m, k), newMatrix(rng, n, k)
				got, want := make([]int32, m*n), make([]int32, m*n)
				naive(want, a, b, m, n, k)
				for i := range got {
					got[i] = -1
				}
				kernel.Multiply(got, a, b, m, n, k)
				if !slices.Equal(got, want) {
					t.Fatalf("%d x %d x %d differs from the naive product", m, n, k)
				}
			})
		})
	}
}

// The longest rows that a proof has, all -128: the largest sum there is, 2^29.
func TestKernelsExtreme(t *testing.T) {
	const m, n, k = 16, 16, 1 << 15
	a, b := slices.Repeat([]int8{-128}, m*k), slices.Repeat([]int8{-128}, n*k)
	for i := range k {
		b[i] = 127
	}
	for _, kernel := range All() {
		c := make([]int32, m*n)
		kernel.Multiply(c, a, b, m, n, k)
		for i, v := range c {
			want := int32(1 << 29)
			if i%n == 0 {
				want = -128 * 127 * k
			}
			if v != want {
				t.Fatalf("%s: entry %d = %d, want %d", kernel.Name, i, v, want)
			}
		}
	}
}

// [PRF-9] Select runs a known-answer test and returns no kernel that fails it.
func TestSelect(t *testing.T) {
	best, capability, err := Select()
	if err != nil {
		t.Fatal(err)
	}
	if best.Multiply == nil || capability.Kernel != best.Name || capability.Rate < 1e8 {
		t.Errorf("selected %q, measured %+v", best.Name, capability)
	}
	// It is wrong in the last entry only, and of course very fast.
	wrong := Kernel{Name: "wrong", Multiply: func(c []int32, a, b []int8, m, n, k int) {
		if m != checkM {
			return
		}
		Portable(c, a, b, m, n, k)
		c[m*n-1]++
	}}
	best, _, err = selectFrom([]Kernel{wrong, {Name: "portable", Multiply: Portable}})
	if err != nil || best.Name != "portable" {
		t.Errorf("selected %q, %v, want the correct kernel", best.Name, err)
	}
	if _, _, err = selectFrom([]Kernel{wrong}); err == nil || !strings.Contains(err.Error(), "wrong") {
		t.Errorf("select of nothing but a wrong kernel: %v", err)
	}
}

func TestCheckDigest(t *testing.T) {
	a, b := checkInput()
	c := make([]int32, checkM*checkN)
	naive(c, a, b, checkM, checkN, checkK)
	if got := digest(c); got != checkDigest {
		t.Errorf("digest of the known answer is %s, the constant says %s", got, checkDigest)
	}
}

func BenchmarkMultiply(b *testing.B) {
	for _, kernel := range append(All(), Kernel{Name: "naive", Multiply: naive}) {
		for _, s := range [][3]int{{32, 32, 64}, {512, 512, 2048}, {1024, 1024, 1024}} {
			m, n, k := s[0], s[1], s[2]
			b.Run(fmt.Sprintf("%s/%dx%dx%d", kernel.Name, m, n, k), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				x, y, c := newMatrix(rng, m, k), newMatrix(rng, n, k), make([]int32, m*n)
				for b.Loop() {
					kernel.Multiply(c, x, y, m, n, k)
				}
				ops := 2 * float64(m) * float64(n) * float64(k)
				b.ReportMetric(ops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOPS")
			})
		}
	}
}
