package runtime

import (
	"errors"
	"fmt"

	"github.com/prometheus/procfs"
)

// HostMemory is what the host's kernel thinks can be had without swapping, and all that the
// host has, in bytes.
func HostMemory() (available, total int64, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, err
	}
	info, err := fs.Meminfo()
	if err != nil {
		return 0, 0, fmt.Errorf("read how much memory is available: %w", err)
	}
	if info.MemAvailableBytes == nil || info.MemTotalBytes == nil {
		return 0, 0, errors.New("the host's kernel does not say how much memory is available")
	}
	return int64(*info.MemAvailableBytes), int64(*info.MemTotalBytes), nil
}
