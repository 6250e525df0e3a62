package attendant

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/runtime/firecracker/block"
)

// Disk is to be served to the host's kernel. The answer comes when that has it. To ask again is no error.
type Disk struct {
	// Base is the path of the disk's base, BaseName its name.
	Base     string `json:"base"`
	BaseName string `json:"baseName"`
	// Layer is the path of what the disk begins with on its base; empty without.
	Layer string `json:"layer"`
	// Overlay is the path of what is written. It is made if it is not there.
	Overlay string `json:"overlay"`
}

// served is the guest's disk. The zero pointer is that there is none.
type served struct {
	what       Disk
	disk       *block.Disk
	attachment *block.Attachment
	files      []io.Closer // what the disk stands on
}

var errNoDisk = errors.New("no disk was asked for")

// deviceTime bounds the wait for the kernel to take the disk.
const deviceTime = 20 * time.Second

// serveDisk serves a disk, until ctx ends, and returns its device.
func (a *attendant) serveDisk(ctx context.Context, what *Disk) (device string, err error) {
	if a.disk == nil {
		d, err := openDisk(*what, a.cfg.Backend, a.log)
		if err != nil {
			return "", errors.Join(err, d.close())
		}
		a.disk = d
		a.work.Go(func() { a.endsWith(d.attachment.Run(ctx)) })
	}
	waiting, cancel := context.WithTimeout(ctx, deviceTime)
	defer cancel()
	return a.disk.attachment.Device(waiting)
}

// openDisk opens or makes a disk. What it returns is to be closed also after an error.
func openDisk(what Disk, backend string, log *slog.Logger) (*served, error) {
	d := &served{what: what}
	base, err := block.OpenBase(what.Base, what.BaseName)
	if err != nil {
		return d, err
	}
	d.files = append(d.files, base)
	var below block.Backing = base
	if what.Layer != "" {
		layer, err := block.OpenLayer(what.Layer, base)
		if err != nil {
			return d, err
		}
		d.files = append(d.files, layer)
		below = layer
	}
	o := block.Options{Path: what.Overlay, Below: below, Size: base.Size(), Log: log}
	d.disk, err = block.Open(o)
	if errors.Is(err, os.ErrNotExist) {
		d.disk, err = block.Create(o)
	}
	if err != nil {
		d.disk = nil
		return d, err
	}
	d.attachment, err = block.NewAttachment(block.NewKernel(), d.disk, backend, log)
	return d, err
}

// close closes all files; nobody serves them any more.
func (d *served) close() (err error) {
	if d == nil {
		return nil
	}
	if d.disk != nil {
		err = d.disk.Close()
	}
	for _, f := range d.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

func (a *attendant) capture(ctx context.Context, to string) (err error) {
	d := a.disk
	if d == nil {
		return errNoDisk
	}
	if err := d.attachment.Sync(ctx); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if d.what.Layer == "" {
		_, err := d.disk.Capture(ctx, f, nil)
		return err
	}
	return d.captureAll(ctx, f)
}

// captureAll makes one layer of the overlay and of what the disk began with.
func (d *served) captureAll(ctx context.Context, to *os.File) (err error) {
	upper, err := os.CreateTemp(filepath.Dir(d.what.Overlay), "capture-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, upper.Close(), os.Remove(upper.Name())) }()
	if _, err := d.disk.Capture(ctx, upper, nil); err != nil {
		return err
	}
	base, err := block.OpenBase(d.what.Base, d.what.BaseName)
	if err != nil {
		return err
	}
	defer base.Close()
	lower, err := block.OpenLayer(d.what.Layer, base)
	if err != nil {
		return err
	}
	defer lower.Close()
	layer, err := block.OpenLayer(upper.Name(), lower)
	if err != nil {
		return err
	}
	defer layer.Close()
	_, err = block.Merge(ctx, to, layer, lower)
	return err
}
