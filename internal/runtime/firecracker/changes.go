package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"

	"shoal/internal/image/ext4"
	"shoal/internal/runtime/firecracker/block"
	"shoal/internal/runtime/firecracker/control"
	"shoal/internal/shoal"
)

// Upper writes what the guest has changed of its disk, as a layer of blocks.
func (g *guest) Upper(ctx context.Context, to *os.File) error {
	return g.withDisk(ctx, func(layer string) error { return copyInto(layer, to) })
}

// Changes writes what the guest has changed of its files. The guest goes on while its disk is compared
// with the base. Both are read as bytes: the host's kernel never sees what a guest made of its disk.
func (g *guest) Changes(ctx context.Context, to *os.File) error {
	return g.withDisk(ctx, func(layer string) error { return g.compare(ctx, layer, to) })
}

// withDisk calls do with the path of a layer that has all of the guest's changes, and removes it then.
func (g *guest) withDisk(ctx context.Context, do func(layer string) error) (err error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	path := g.jail.beside(capturedFile)
	if err := g.capturing(ctx, path); err != nil {
		return g.unlessGone(fmt.Errorf("read the guest's disk: %w", err))
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	return do(path)
}

// capturedFile, beside the root of a jail, is what was captured of its disk.
const capturedFile = "upper"

// capturing captures a disk on which everything is that was written. The machine runs meanwhile: with its
// processes still and its disk written there is nothing that it would write.
func (g *guest) capturing(ctx context.Context, path string) error {
	frozen, err := g.isFrozen()
	if err != nil {
		return err
	}
	return g.awake(ctx, frozen, func() (err error) {
		if !frozen {
			g.still = true
			defer func() { err = errors.Join(err, g.release(context.WithoutCancel(ctx))) }()
			if _, err := g.ask(ctx, control.Request{Freeze: &control.Empty{}}); err != nil {
				return err
			}
		}
		if _, err := g.ask(ctx, control.Request{Sync: &control.Empty{}}); err != nil {
			return err
		}
		return g.capture(ctx, path)
	})
}

// compare writes what files differ between a layer and its base.
func (g *guest) compare(ctx context.Context, layer string, to *os.File) error {
	base, err := block.OpenBase(g.basePath, g.jail.Base)
	if err != nil {
		return err
	}
	defer base.Close()
	disk, err := block.OpenLayer(layer, base)
	if err != nil {
		return err
	}
	defer disk.Close()
	was, err := ext4.Open(base, base.Size())
	if err != nil {
		return fmt.Errorf("read the disk of the images: %w", err)
	}
	is, err := ext4.Open(disk, disk.Size())
	if err == nil {
		err = ext4.Changes(ctx, to, was, is)
	}
	var holes *ext4.HolesError
	switch {
	case errors.As(err, &holes):
		return shoal.ErrFirecrackerHoles.Wrap(err, "%s and other files with holes are longer than the disk", holes.Path)
	case errors.As(err, new(*ext4.DamageError)):
		return shoal.ErrFirecrackerDisk.Wrap(err, "the file system on the guest's disk cannot be read")
	case err != nil:
		return fmt.Errorf("compare the guest's disk with its images: %w", err)
	}
	return nil
}
