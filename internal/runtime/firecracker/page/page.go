// Package page keeps the memory of microVMs on the disk, and gives it back page by page.
//
// What a snapshot has of a guest's memory is a chain of layers: files, of which each has
// the pages that changed since the one below it (layer.go says how a file is made up,
// memory.go what a chain is). Keep makes a layer of a file that Firecracker wrote. A Server
// answers the faults of a guest that is restored, by userfaultfd, from the files of a chain.
//
// The files are read by pread and not mapped. The pages come from the host's page cache
// either way, which all sandboxes of a template share; but a file that is cut short, or a
// disk that fails, is an error of the call instead of a signal that ends the process, and a
// page that must come from the disk does not hold up one of Go's processors.
package page

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"shoal/internal/shoal"
)

const (
	// Size is the size of a page, in bytes: what layers are made of, whatever pages back the
	// guest's memory on the host.
	Size = 4096
	// HugeSize is the size of a huge page, in bytes.
	HugeSize = 2 << 20
	// maxPages bounds a guest's memory to 8 TiB.
	maxPages = 1 << 31
)

// DamageError is what is wrong with a file of a snapshot's memory. It is for the operator.
type DamageError struct {
	File   string
	Reason string
}

func (e *DamageError) Error() string { return fmt.Sprintf("%s is damaged: %s", e.File, e.Reason) }

// damaged is a shoal.ErrSnapshotDamaged.
func damaged(file, format string, args ...any) error {
	return shoal.ErrSnapshotDamaged.Wrap(&DamageError{File: file, Reason: fmt.Sprintf(format, args...)},
		"the memory of the snapshot is damaged")
}

// unreadable names an error of the file system: a file that is not there is a
// shoal.ErrSnapshotMissing.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return shoal.ErrSnapshotMissing.Wrap(err, "the memory of the snapshot is missing")
	}
	return fmt.Errorf("read the memory of a snapshot: %w", err)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// zeroPages are what a page is compared with, and what huge pages are made of.
var zeroPages [HugeSize]byte
