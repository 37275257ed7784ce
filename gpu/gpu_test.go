package gpu_test

import (
	"strings"
	"testing"

	"github.com/pinfi/pinfi/gpu"
	"github.com/pinfi/pinfi/ledger"
)

func TestClassValid(t *testing.T) {
	for class, want := range map[gpu.Class]bool{
		"cpu.small": true, "gpu.80": true, "a": true, "gpu.h200-sxm": true,
		gpu.Class(strings.Repeat("a", gpu.ClassMax)): true, gpu.Class(strings.Repeat("a", gpu.ClassMax+1)): false,
		"": false, "GPU": false, "8gpu": false, ".": false, "cpu/small": false,
		"cpu small": false, "cpu\x00": false, "é": false,
	} {
		if got := class.Valid(); got != want {
			t.Errorf("Class(%q).Valid() = %v, want %v", class, got, want)
		}
	}
	if gpu.ClassMax != ledger.MaxClass {
		t.Errorf("a class has at most %d bytes here and %d in the ledger", gpu.ClassMax, ledger.MaxClass)
	}
}

func TestMilliCU(t *testing.T) {
	for _, c := range []struct{ rate, reference, want uint64 }{
		{0, 1, 0},
		{1, 1, 1000},
		{1, 0, 0},
		{1999, 2_000_000, 0},
		{2000, 2_000_000, 1},
		{13e9, 13e9, 1000},
		{13e9 - 1, 13e9, 999},
		{1<<64 - 1, 1000, 1<<64 - 1},
		{1<<64 - 1, 999, 1<<64 - 1},
	} {
		if got := (gpu.Capability{Rate: c.rate}).MilliCU(c.reference); got != c.want {
			t.Errorf("%d operations of %d a second = %d mCU, want %d", c.rate, c.reference, got, c.want)
		}
	}
}

func TestKind(t *testing.T) {
	for k, want := range map[gpu.Kind]string{gpu.CPU: "cpu", gpu.GPU: "gpu", 0: "kind(0)"} {
		if got := k.String(); got != want {
			t.Errorf("Kind(%d) = %q, want %q", uint8(k), got, want)
		}
	}
}
