package main

import "shoal/internal/runtime/firecracker/attendant"

// attendantCmd is how this program attends a microVM, whose driver starts it.
type attendantCmd struct {
	File string `arg:"" help:"File that describes the guest."`
}

// Run serves the guest's disk and memory until it ends.
func (c *attendantCmd) Run() error { return attendant.Main(c.File) }
