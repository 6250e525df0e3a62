package gvisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"shoal/internal/runtime"
	"shoal/internal/runtime/gvisor/pin"
)

// Name is the runtime's name in records and captures.
const Name = "gvisor"

// The programs of sandbox kernels lie side by side, each in a directory named by its
// content hash: a checkpoint is restored by the very program that took it, which is kept
// while a snapshot needs it.

// Maker names this driver, the gVisor that it is built with, and the present kernel.
func (d *Driver) Maker() runtime.Maker {
	return runtime.Maker{Runtime: Name, Version: pin.Version, Kernel: d.present()}
}

// present is the name of the directory that the present kernel's program lies in; "" if
// this very program is the kernel.
func (d *Driver) present() string {
	if d.opts.Kernel == "" {
		return ""
	}
	return filepath.Base(filepath.Dir(d.opts.Kernel))
}

// Fits wants the kernel that took the checkpoint, whatever its version. The present
// kernel has the present version.
func (d *Driver) Fits(made runtime.Maker) error {
	if made.Runtime != Name {
		return fmt.Errorf("%w: it was made by %s", runtime.ErrUnfit, made.Runtime)
	}
	if made.Kernel != d.present() {
		_, err := d.kernelPath(made.Kernel)
		return err
	}
	if made.Version != pin.Version {
		return fmt.Errorf("%w: it was made by version %s of %s, and this is %s", runtime.ErrUnfit, made.Version, Name, pin.Version)
	}
	return nil
}

// kernelPath finds the program of a kernel beside the present one's.
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

// RemoveKernels removes the directories of programs that needed does not name. The
// present one stays.
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

// sizeOf sums up the files of a tree, in bytes, as far as they can be seen.
func sizeOf(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it may just have gone
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}
