package network

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// Dump asks the kernel for a list until it gets one that nothing changed while
// it was read. The kernel marks the others (NLM_F_DUMP_INTR): entries may be
// missing from them, and asking again is what it expects.
func Dump[T any](list func() ([]T, error)) ([]T, error) {
	for {
		items, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return items, err
		}
	}
}
