package loader

import (
	"bytes"
	"fmt"

	"gvisor.dev/gvisor/pkg/sentry/loader/vdsodata"
)

// vdsoBinary returns the vDSO, changed so that clock_gettime(CLOCK_BOOTTIME) is a system call.
// The vDSO takes CLOCK_BOOTTIME, its largest clock, for CLOCK_MONOTONIC; it compares the clock
// with that number before it looks into its table, and makes a system call for larger ones.
func vdsoBinary() ([]byte, error) {
	if n := bytes.Count(vdsodata.Binary, compareBoottime); n != 1 {
		return nil, fmt.Errorf("the vDSO compares with CLOCK_BOOTTIME in %d places, not in one", n)
	}
	return bytes.Replace(vdsodata.Binary, compareBoottime, compareBelowBoottime, 1), nil
}
