package main

import "shoal/internal/runtime/firecracker/share"

// shareCmd is how this program serves a volume to a microVM, whose driver starts it.
type shareCmd struct {
	File string `arg:"" help:"File that describes the volume."`
}

// Run serves the volume until the guest ends.
func (c *shareCmd) Run() error { return share.Main(c.File) }
