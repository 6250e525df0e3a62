package main

import (
	"context"
	"fmt"
	"strconv"

	"shoal/internal/config"
	"shoal/internal/image"
	"shoal/internal/imagelibrary"
)

type imageCmd struct {
	Import imageImportCmd `cmd:"" help:"Import an image under a name, so that templates can be built from it without a registry."`
	List   imageListCmd   `cmd:"" help:"List the imported images."`
	Rm     imageRmCmd     `cmd:"" help:"Remove an imported image. Templates that were built from it stay."`
}

type imageImportCmd struct {
	Name string `arg:"" help:"The name that templates use, such as ubuntu:22.04."`
	File string `arg:"" help:"An OCI layout (directory or tar), the output of 'docker save', or a tar of a root file system; gzip is fine."`
}

type imageListCmd struct{}

type imageRmCmd struct {
	Name string `arg:"" help:"The image's name."`
}

// Run imports an image.
func (c *imageImportCmd) Run(ctx context.Context, cfg *config.Config) error {
	library, err := localLibrary(cfg)
	if err != nil {
		return err
	}
	i, err := library.Import(ctx, c.Name, c.File, func(text string) { fmt.Println(text) })
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d MiB\n", i.Name, i.Size>>20)
	return nil
}

// Run lists the imported images.
func (imageListCmd) Run(cfg *config.Config) error {
	library, err := localLibrary(cfg)
	if err != nil {
		return err
	}
	list, err := library.List()
	if err != nil {
		return err
	}
	rows := make([][]string, len(list))
	for n, i := range list {
		rows[n] = []string{i.Name, strconv.FormatInt(i.Size>>20, 10), day(i.At), i.From}
	}
	return printTable("NAME\tMIB\tIMPORTED\tFROM", rows)
}

// Run removes an imported image.
func (c *imageRmCmd) Run(cfg *config.Config) error {
	library, err := localLibrary(cfg)
	if err != nil {
		return err
	}
	return library.Remove(c.Name)
}

func localLibrary(cfg *config.Config) (*imagelibrary.Library, error) {
	images, err := image.Open(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	return imagelibrary.Open(imagelibrary.Config{Images: images, Dir: cfg.ImageLibrary()})
}
