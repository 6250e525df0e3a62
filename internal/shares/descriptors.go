package shares

import "golang.org/x/sys/unix"

// OfDescriptors is one part of so many of the descriptors that this process may have, and
// most if that is less or cannot be told.
func OfDescriptors(parts uint64, most int) int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return most
	}
	return int(min(uint64(most), limit.Cur/parts))
}
