package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for machine, want := range map[int64]int64{0: 512 << 20, 1 << 30: 512 << 20, 8 << 30: 2 << 30, 24 << 30: 6 << 30} {
		if got := memoryLimit(machine); got != want {
			t.Errorf("%d MiB of a machine with %d", got>>20, machine>>20)
		}
	}
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	debug.SetMemoryLimit(math.MaxInt64)
	t.Setenv("GOMEMLIMIT", "3GiB")
	limitMemory()
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("the operator's limit became %d", got)
	}
	t.Setenv("GOMEMLIMIT", "")
	limitMemory()
	if got := debug.SetMemoryLimit(-1); got < memoryFloor || got > machineMemory() {
		t.Errorf("the limit is %d of %d", got, machineMemory())
	}
}
