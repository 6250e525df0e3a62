package gvisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/sentry/control"
	"gvisor.dev/gvisor/pkg/sentry/state/checkpointfiles"
	"gvisor.dev/gvisor/pkg/state/statefile"
	"gvisor.dev/gvisor/runsc/boot"

	"shoal/internal/runtime"
)

// Checkpoint keeps the guest running: without Resume, a failed checkpoint would end it. A
// frozen kernel stays frozen, because it counts freezes.
func (g *guest) Checkpoint(ctx context.Context, dir string) error {
	if g.ended() {
		return runtime.ErrGone
	}
	used := g.driver.cgroups.memoryOf(g.spec.ID)
	need := used.kernel * savePerKernelByte
	if free, _, err := runtime.HostMemory(); err == nil && need > free {
		return fmt.Errorf("a checkpoint of this guest needs %d MiB of the host's memory, and %d MiB are available",
			need>>20, free>>20)
	}
	files, err := createAll(dir, checkpointfiles.StateFileName, checkpointfiles.PagesMetadataFileName,
		checkpointfiles.PagesFileName)
	if err != nil {
		return fmt.Errorf("make the checkpoint's files: %w", err)
	}
	defer closeAll(files)
	pages, size := files[2], used.shared+g.diskBytes()
	g.widen(size + need)
	reserve(pages, size)
	opts := control.SaveOpts{Resume: true, Metadata: statefile.CompressionLevelNone.ToMetadata(),
		HavePagesFile: true}
	opts.FilePayload.Files = files
	if err := firstLine(g.call(boot.ContMgrCheckpoint, &opts, nil)); err != nil {
		return fmt.Errorf("checkpoint the guest: %w", err)
	}
	return trim(pages)
}

// savePerKernelByte is how many bytes a checkpoint needs at most for each that the kernel
// keeps: it holds all that it writes of files, sockets and tasks at once. About one was
// measured with 280,000 files.
const savePerKernelByte = 3

// reserve allocates size bytes of blocks for a file. Writing into allocated blocks takes a
// quarter less time.
func reserve(f *os.File, size int64) {
	// Best effort: not every file system supports it, and a full one fails the write later.
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
}

// trim frees the blocks beyond a file's end.
func trim(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return f.Truncate(info.Size())
}

// createAll creates the files that the guest's kernel writes to.
func createAll(dir string, names ...string) ([]*os.File, error) {
	var files []*os.File
	for _, name := range names {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}
