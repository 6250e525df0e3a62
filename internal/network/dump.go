package network

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// Dump calls list until the result is consistent. If something changes while a list is
// read, the host's kernel marks it (NLM_F_DUMP_INTR) because entries may be missing, and expects
// the caller to ask again.
func Dump[T any](list func() ([]T, error)) ([]T, error) {
	for {
		items, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return items, err
		}
	}
}
