// This file is added to package hostfd when the sandbox kernel is built (scripts/gvisor).
package hostfd

import "golang.org/x/sys/unix"

// Copy copies up to n bytes from one of the host's files to another, in the host. It fails with EXDEV if
// they are in different file systems.
func Copy(from int32, fromAt int64, to int32, toAt, n int64) (int64, error) {
	copied, err := unix.CopyFileRange(int(from), &fromAt, int(to), &toAt, int(n), 0)
	return int64(copied), err
}
