package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/attendant"
	"shoal/internal/runtime/firecracker/block"
)

// A guest's disk is its base with a layer that has what was changed (package block). Where the host's
// kernel can, the guest's attendant serves it, and the guest has a device; elsewhere it is a file: a copy
// of the base, which shares blocks with it where the file system can. Layers are the same for both.

// The files of an attendant, beside the root of the jail.
const (
	layerFile     = "layer"
	overlayFile   = "overlay"
	attendantName = "attendant"
	askSocket     = "attendant.sock"
)

// makeDisk makes the disk of a jail: the base, and on it what a layer has, if it is not "".
func (g *guest) makeDisk(ctx context.Context, layer string) error {
	if layer != "" {
		if err := place(layer, g.jail.beside(layerFile)); err != nil {
			return fmt.Errorf("put what was on the disk into the jail: %w", err)
		}
		layer = g.jail.beside(layerFile)
	}
	var err error
	if g.jail.Backend != "" {
		err = g.attend(ctx, layer)
	} else {
		err = g.copyDisk(ctx, layer)
	}
	if err != nil {
		return fmt.Errorf("make the guest's disk: %w", err)
	}
	return g.jail.give(diskFile)
}

// attend has the guest's attendant serve the disk, and makes the device of that in the jail.
func (g *guest) attend(ctx context.Context, layer string) error {
	j := g.jail
	a, err := g.attendant().Await(ctx, attendant.Request{Disk: &attendant.Disk{Base: g.basePath, BaseName: j.Base,
		Layer: layer, Overlay: j.beside(overlayFile)}}, g.attendantDone)
	if err != nil {
		return fmt.Errorf("%w; it says: %s", err, j.lastWords(attendantName))
	}
	var st unix.Stat_t
	if err := unix.Stat(a.Device, &st); err != nil {
		return &os.PathError{Op: "stat", Path: a.Device, Err: err}
	}
	return unix.Mknod(j.path(diskFile), unix.S_IFBLK|0o600, int(st.Rdev))
}

func (g *guest) attendant() attendant.Client {
	return attendant.Client{Socket: g.jail.beside(askSocket)}
}

// startAttendant starts what will serve a guest's disk and memory. The channel is closed when it has ended.
func (d *Driver) startAttendant(j *jail) (ended <-chan struct{}, err error) {
	j.Backend = d.opts.CgroupParent + "/" + j.ID
	j.Attendant, ended, err = d.startServer(j, server{command: attendant.Command, name: attendantName,
		config: attendant.Config{Socket: j.beside(askSocket), Backend: j.Backend}})
	if err != nil {
		return nil, fmt.Errorf("start the guest's attendant: %w", err)
	}
	// Others in the group are to be ended first for want of memory. Best effort.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", j.Attendant), []byte("-900"), 0)
	return ended, nil
}

// watchAttendant has the guest end when its attendant has, whose end is told by a channel.
func (g *guest) watchAttendant(ended <-chan struct{}) {
	g.attendantDone = make(chan struct{})
	go func() { // ends with the attendant, which is in the guest's group
		<-ended
		g.afterAttendant()
	}()
}

// afterAttendant ends a guest whose attendant has ended: its disk would not answer for minutes, and what
// is to be read of its memory never.
func (g *guest) afterAttendant() {
	if !g.hasEnded() {
		g.driver.log.Error("the attendant of a microVM has ended; the guest is ended too", "guest", g.spec.ID,
			"words", g.jail.lastWords(attendantName))
		if err := g.driver.end(context.Background(), g.spec.ID, g.jail.Backend); err != nil {
			g.driver.log.Error("a microVM without its attendant is left", "error", err)
		}
	}
	close(g.attendantDone)
}

// copyDisk makes the disk a file.
func (g *guest) copyDisk(ctx context.Context, layer string) error {
	base, err := block.OpenBase(g.basePath, g.jail.Base)
	if err != nil {
		return err
	}
	defer base.Close()
	var below block.Backing = base
	if layer != "" {
		over, err := block.OpenLayer(layer, base)
		if err != nil {
			return err
		}
		defer over.Close()
		below = over
	}
	disk, _, err := block.CreateCopy(ctx, block.Options{Path: g.jail.path(diskFile), Below: below, Size: base.Size()})
	if err != nil {
		return err
	}
	return disk.Close()
}

// capture writes what the guest has changed of its disk to a file, which is made. Nothing may write to the
// disk meanwhile.
func (g *guest) capture(ctx context.Context, to string) error {
	if g.jail.Backend != "" {
		_, err := g.attendant().Ask(ctx, attendant.Request{Capture: &attendant.Capture{To: to}})
		return err
	}
	return g.captureFile(ctx, to)
}

// captureFile compares a disk that is a file with its base.
func (g *guest) captureFile(ctx context.Context, to string) (err error) {
	base, err := block.OpenBase(g.basePath, g.jail.Base)
	if err != nil {
		return err
	}
	defer base.Close()
	disk, err := block.OpenCopy(g.jail.path(diskFile))
	if err != nil {
		return err
	}
	defer disk.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = disk.Capture(ctx, f, base)
	return errors.Join(err, f.Close())
}

// diskBytes is what the guest's changes take on the host, in bytes.
func (g *guest) diskBytes() int64 {
	if g.jail.Backend != "" {
		return allocated(g.jail.beside(overlayFile)) + allocated(g.jail.beside(layerFile))
	}
	return max(allocated(g.jail.path(diskFile))-allocated(g.basePath), 0)
}

// detach ends what the kernel has of a disk whose attendant has ended.
func detach(ctx context.Context, backend string) error {
	k := block.NewKernel()
	found, is, err := k.Find(backend)
	if err != nil || !is {
		return err
	}
	return k.Disconnect(ctx, found.Index)
}

// baseOf names the base that a layer belongs to.
func baseOf(layer string) (string, error) {
	_, below, err := block.LayerName(layer)
	return below, err
}
