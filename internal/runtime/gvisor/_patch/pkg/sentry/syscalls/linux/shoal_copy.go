// This file is added to package linux when the sandbox kernel is built (scripts/gvisor).
package linux

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/sentry/hostfd"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

const (
	// leastHostCopy is from how many bytes on a copy within the host is tried.
	leastHostCopy = 64 << 10
	// hostCopyStep is how many bytes the host is told to copy at a time, as signals are not seen then.
	hostCopyStep = 4 << 20
)

// copyOnHost copies up to n bytes between files whose content lies in the host's. It may copy fewer, or
// none, for any reason: whoever then copies the rest otherwise meets the error.
func copyOnHost(t *kernel.Task, in, out *vfs.FileDescription, inOffset, outOffset, n int64) (total int64) {
	if n < leastHostCopy || inOffset < 0 || outOffset < 0 {
		return 0
	}
	for total < n && !t.Interrupted() {
		from, ok := in.HostSource(t, inOffset+total, min(n-total, hostCopyStep))
		if !ok {
			break
		}
		at := from.At
		copied, err := out.WriteOnHost(t, outOffset+total, from.Length, func(fd int32, to, n int64) (int64, error) {
			t.UninterruptibleSleepStart()
			defer t.UninterruptibleSleepFinish()
			some, err := hostfd.Copy(from.FD, at, fd, to, n)
			at += some
			return some, err
		})
		from.Release()
		total += copied
		if err != nil || copied < from.Length {
			break
		}
	}
	return total
}

// moveOnHost does copyOnHost at the files' own offsets where those that are given are -1, moves them, and
// adds what was copied to total. It tells whether that is more than nothing.
func moveOnHost(t *kernel.Task, in, out *vfs.FileDescription, inOffset, outOffset *int64, n int64, total *int64) bool {
	inAt, err := offsetOf(t, in, *inOffset)
	if err != nil {
		return false
	}
	outAt, err := offsetOf(t, out, *outOffset)
	if err != nil {
		return false
	}
	copied := copyOnHost(t, in, out, inAt, outAt, n)
	if copied == 0 {
		return false
	}
	move(t, in, inOffset, inAt+copied)
	move(t, out, outOffset, outAt+copied)
	*total += copied
	return true
}

func offsetOf(t *kernel.Task, file *vfs.FileDescription, given int64) (int64, error) {
	if given >= 0 {
		return given, nil
	}
	return file.Seek(t, 0, linux.SEEK_CUR)
}

func move(t *kernel.Task, file *vfs.FileDescription, given *int64, to int64) {
	if *given >= 0 {
		*given = to
		return
	}
	_, _ = file.Seek(t, to, linux.SEEK_SET) // it could be asked for its offset
}
