package watch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// networkMagics are the file systems on which inotify sees only local changes.
var networkMagics = map[int64]string{
	0x6969:     "NFS",
	0xff534d42: "CIFS",
	0x517b:     "SMB",
	0xfe534d42: "SMB2",
	0x65735546: "FUSE",
}

// NetworkMount returns the kind of network mount that the path is on, or "".
func NetworkMount(path string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return "", fmt.Errorf("statfs %s: %w", path, err)
	}
	return networkMagics[fs.Type&0xffffffff], nil
}
