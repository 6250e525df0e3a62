package mm

import "gvisor.dev/gvisor/pkg/hostarch"

// forkUnit is how many bytes are copied when a process writes to memory that it shares since a
// fork. Of 2 MiB, as gVisor copies otherwise, nothing stays shared in a heap that is written
// here and there, as Python's is by its counts of references.
const forkUnit = 128 << 10

// forkAligned is ar, expanded to units.
func forkAligned(ar hostarch.AddrRange) hostarch.AddrRange {
	aligned := hostarch.AddrRange{Start: ar.Start &^ (forkUnit - 1), End: ar.End}
	if end := (ar.End + forkUnit - 1) &^ (forkUnit - 1); end > ar.End {
		aligned.End = end
	}
	return aligned
}
