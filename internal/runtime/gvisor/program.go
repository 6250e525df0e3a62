package gvisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/runtime"
	"shoal/internal/runtime/gvisor/pin"
)

// Name is the runtime's name in records and captures.
const Name = "gvisor"

// The programs of sandbox kernels lie side by side, each in a directory named after its
// content hash. A checkpoint can only be restored by the exact program that made it, so
// that program is kept while a snapshot needs it.

// Maker names this driver, the gVisor version that it is built with, and the current
// kernel.
func (d *Driver) Maker() runtime.Maker {
	return runtime.Maker{Runtime: Name, Version: d.version(), Kernel: d.present()}
}

// version is gVisor's, and the platform, which a checkpoint depends on, if it is another than
// the usual one.
func (d *Driver) version() string {
	if d.opts.Platform == "" || d.opts.Platform == "systrap" {
		return pin.Version
	}
	return pin.Version + "+" + d.opts.Platform
}

// present is the name of the directory with the current kernel's program, or "" if this
// program itself is the kernel.
func (d *Driver) present() string {
	if d.opts.Kernel == "" {
		return ""
	}
	return filepath.Base(filepath.Dir(d.opts.Kernel))
}

// Volumes is true: directories of the host are served to guests.
func (d *Driver) Volumes() bool { return true }

// Fits requires the kernel that made the checkpoint, whatever its version. The current
// kernel must also be of the current version, unless the checkpoint's version is unknown.
func (d *Driver) Fits(made runtime.Maker) error {
	if made.Runtime != Name {
		return fmt.Errorf("%w: it was made by %s", runtime.ErrUnfit, made.Runtime)
	}
	if made.Kernel != d.present() {
		_, err := d.kernelPath(made.Kernel)
		return err
	}
	if made.Version != "" && made.Version != d.version() {
		return fmt.Errorf("%w: it was made by version %s of %s, and this is %s",
			runtime.ErrUnfit, made.Version, Name, d.version())
	}
	return nil
}

// kernelPath finds the program of a kernel, beside the current one's.
func (d *Driver) kernelPath(name string) (string, error) {
	if name == "" || name == d.present() {
		return d.opts.Kernel, nil
	}
	path := filepath.Join(d.kernelsDir(), filepath.Base(name), filepath.Base(d.opts.Kernel))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: its sandbox kernel %s is not here", runtime.ErrUnfit, name)
	}
	return path, nil
}

func (d *Driver) kernelsDir() string { return filepath.Dir(filepath.Dir(d.opts.Kernel)) }

// RemoveKernels removes the directories of programs that are not needed. The current one
// stays.
func (d *Driver) RemoveKernels(needed func(kernel string) bool) (removed int, bytes int64, err error) {
	if d.opts.Kernel == "" {
		return 0, 0, nil
	}
	entries, err := os.ReadDir(d.kernelsDir())
	if err != nil {
		return 0, 0, err
	}
	for _, e := range entries {
		if e.Name() == d.present() || needed(e.Name()) {
			continue
		}
		path := filepath.Join(d.kernelsDir(), e.Name())
		bytes += sizeOf(path)
		removed++
		err = errors.Join(err, os.RemoveAll(path))
	}
	return removed, bytes, err
}

// RemoveRoots removes nothing: gVisor reads the images themselves.
func (d *Driver) RemoveRoots([]runtime.Root, time.Time) (removed int, bytes int64, err error) {
	return 0, 0, nil
}

// sizeOf adds up the sizes of the files in a tree, in bytes, ignoring what it cannot read.
func sizeOf(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it may just have been removed
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}
