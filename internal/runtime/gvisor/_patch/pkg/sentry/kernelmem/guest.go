package kernelmem

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/sentry/usage"
)

// shortage is called when the guest's processes need more memory than the guest has.
var shortage atomic.Pointer[func()]

// OnShortage sets what is called, possibly often, by whoever allocates memory when the guest
// has none left. It must return at once.
func OnShortage(f func()) { shortage.Store(&f) }

// Admit reports whether length more bytes may be allocated, of which used are taken. Only
// the data of files in memory is refused, since nothing else could be done about it; a
// process gets what it asks for, and the largest one is ended. The host's limit of the guest
// leaves room for the moment until then.
func Admit(used, length uint64, kind usage.MemoryKind) bool {
	total := usage.MaximumTotalMemoryBytes
	if total == 0 {
		return true
	}
	if kind == usage.Tmpfs {
		return used+length <= total-total/8
	}
	if used+length > total {
		if f := shortage.Load(); f != nil {
			(*f)()
		}
	}
	return true
}
