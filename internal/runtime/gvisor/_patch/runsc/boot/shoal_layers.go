// This file is added to package boot when the sandbox kernel is built (scripts/gvisor).
// With vfs.patch, a root file system can consist of several EROFS images: each image after
// the first lies on top of those before it.
package boot

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/cleanup"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/sentry/checkpoint"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/erofs"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// layerID names a layer's image in checkpoints, so that a restore finds it.
func (c *containerMounter) layerID(n int) checkpoint.ResourceID {
	return checkpoint.ResourceID{ContainerName: c.containerName, Path: fmt.Sprintf("layer %d", n)}
}

// mountLayers mounts all remaining images and returns their roots, topmost first. In
// Shoal's guests only the root mount takes images.
func (c *containerMounter) mountLayers(ctx context.Context, creds *auth.Credentials,
	cu *cleanup.Cleanup) ([]vfs.VirtualDentry, error) {
	var roots []vfs.VirtualDentry
	for n := 1; !c.goferFDs.empty(); n++ {
		opts := &vfs.MountOptions{ReadOnly: true, GetFilesystemOptions: vfs.GetFilesystemOptions{
			InternalMount: true,
			Data:          fmt.Sprintf("ifd=%d", c.goferFDs.remove()),
			InternalData:  erofs.InternalFilesystemOptions{UniqueID: c.layerID(n)},
		}}
		mount, err := c.l.k.VFS().MountDisconnected(ctx, creds, "", erofs.Name, opts)
		if err != nil {
			return nil, fmt.Errorf("mount layer %d: %w", n, err)
		}
		cu.Add(func() { mount.DecRef(ctx) })
		roots = append([]vfs.VirtualDentry{vfs.MakeVirtualDentry(mount, mount.Root())}, roots...)
	}
	return roots, nil
}

// restoreLayers hands the images of the layers to a restore, and what is held of volumes.
func (c *containerMounter) restoreLayers(mounts *restoreMounts) {
	for n := 1; !c.goferFDs.empty(); n++ {
		mounts.fdmap[c.layerID(n)] = c.goferFDs.remove()
	}
	restoreVolumes(mounts)
}
