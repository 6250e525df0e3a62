package gofer

import (
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/lisafs"
)

// charge counts bytes that are to be written to a shared file system whose size is bounded. It is
// ENOSPC if there is no room for them. What is written over counts too: the server finds the truth when
// it has nothing left to grant.
func (fs *filesystem) charge(ctx context.Context, bytes int64) error {
	if !fs.shared() || bytes <= 0 || !fs.client.IsSupported(lisafs.Grant) {
		return nil
	}
	if fs.granted.Add(-bytes) >= 0 {
		return nil
	}
	granted, err := fs.client.Grant(ctx, bytes)
	if err != nil {
		fs.granted.Add(bytes)
		return err
	}
	fs.granted.Add(granted)
	return nil
}
