package page

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const errNoMemory = unix.ENOMEM

func fadviseDontNeed(f *os.File) error { return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// mapEmpty maps empty memory over a range, as Firecracker does for what a balloon takes of a mapped
// file.
func mapEmpty(p []byte) error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(&p[0]), uintptr(len(p)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
	return err
}
