package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"shoal/internal/config"
	"shoal/internal/runtime/firecracker/program"
)

type firecrackerCmd struct {
	Import   firecrackerImportCmd   `cmd:"" help:"Check a build of Firecracker with its jailer, and keep it for microVMs."`
	Download firecrackerDownloadCmd `cmd:"" help:"Fetch a release of Firecracker, compare its checksum, and import it."`
	List     firecrackerListCmd     `cmd:"" help:"List the builds that are imported."`
	Verify   firecrackerVerifyCmd   `cmd:"" help:"Compare builds and kernels with what was imported."`
	Rm       firecrackerRmCmd       `cmd:"" help:"Remove a build. Snapshots that it took cannot be restored without it."`
	Inspect  firecrackerInspectCmd  `cmd:"" help:"Say what is wrong with files to run microVMs from: kernels, disks, descriptions, inits."`
}

type firecrackerImportCmd struct {
	File   string `arg:"" help:"The program firecracker, or the archive of a release (.tgz)."`
	Jailer string `placeholder:"FILE" help:"Its jailer; beside it by default, by the same name with jailer in place of firecracker."`
	Name   string `placeholder:"NAME" help:"The name to keep it by; its version by default."`
}

type firecrackerDownloadCmd struct {
	Version string `arg:"" help:"The version, such as v1.16.1."`
	From    string `placeholder:"URL" help:"Where releases are, in place of the project's own address."`
	SHA256  string `name:"sha256" placeholder:"HEX" help:"The archive's checksum, if you have it from elsewhere than beside the archive."`
}

type firecrackerListCmd struct{}

type firecrackerVerifyCmd struct{}

type firecrackerRmCmd struct {
	Name string `arg:"" help:"The build's name."`
}

type firecrackerInspectCmd struct {
	Path []string `arg:"" help:"Files or directories."`
}

func programs(cfg *config.Config) *program.Store { return program.Open(cfg.Firecracker()) }

// Run imports a build.
func (c *firecrackerImportCmd) Run(ctx context.Context, cfg *config.Config) error {
	var p program.Program
	var err error
	if strings.HasSuffix(c.File, ".tgz") || strings.HasSuffix(c.File, ".tar.gz") {
		p, err = programs(cfg).ImportRelease(ctx, c.File, c.Name)
	} else {
		p, err = programs(cfg).Import(ctx, c.File, c.jailer(), c.Name)
	}
	return told(p, err)
}

// jailer is the path of the jailer: releases name both alike.
func (c *firecrackerImportCmd) jailer() string {
	if c.Jailer != "" {
		return c.Jailer
	}
	dir, base := filepath.Split(c.File)
	return filepath.Join(dir, strings.Replace(base, "firecracker", "jailer", 1))
}

func told(p program.Program, err error) error {
	if err != nil {
		return err
	}
	fmt.Println(p)
	if p.Filter == program.FilterNone {
		fmt.Println("note: it has no default filter of system calls; a release has one, and should be preferred")
	}
	return nil
}

// Run fetches and imports a release.
func (c *firecrackerDownloadCmd) Run(ctx context.Context, cfg *config.Config) error {
	from := c.From
	if from == "" {
		from = program.ReleaseBase
	}
	return told(programs(cfg).Download(ctx, program.Release{Base: from, Version: c.Version, SHA256: c.SHA256,
		Client: http.DefaultClient}))
}

// Run lists what is imported.
func (firecrackerListCmd) Run(cfg *config.Config) error {
	list, err := programs(cfg).Programs()
	rows := make([][]string, len(list))
	for n, p := range list {
		rows[n] = []string{p.Name, p.Version, string(p.Filter), strconv.FormatInt(p.Size>>20, 10), day(p.At), p.Digest[:12]}
	}
	return errors.Join(printTable("NAME\tVERSION\tFILTER\tMIB\tIMPORTED\tSHA-256", rows), err)
}

// Run verifies everything.
func (firecrackerVerifyCmd) Run(cfg *config.Config) error {
	store := programs(cfg)
	all, errs := store.Programs()
	for _, p := range all {
		errs = errors.Join(errs, verified(p.Name, p.Verify()))
	}
	kernels, err := store.Kernels()
	errs = errors.Join(errs, err)
	for _, k := range kernels {
		errs = errors.Join(errs, verified(k.Name, k.Verify()))
	}
	return errs
}

func verified(name string, err error) error {
	if err == nil {
		fmt.Printf("%s: as it was imported\n", name)
	}
	return err
}

// Run removes a build.
func (c *firecrackerRmCmd) Run(cfg *config.Config) error { return programs(cfg).Remove(c.Name) }

// Run looks at files.
func (c *firecrackerInspectCmd) Run(cfg *config.Config) error {
	bad := false
	for _, path := range c.Path {
		found := programs(cfg).Inspect(path)
		for _, err := range found {
			bad = true
			report(os.Stdout, err)
		}
		if len(found) == 0 {
			fmt.Printf("%s: nothing is wrong with it as far as is known\n", path)
		}
	}
	if bad {
		return errReported
	}
	return nil
}

type kernelCmd struct {
	Import     kernelImportCmd `cmd:"" help:"Check a kernel for microVMs, and keep it."`
	FromDebian kernelDebianCmd `cmd:"" name:"from-debian" help:"Prepare Debian's kernel for virtual machines, with the modules that guests need."`
	List       kernelListCmd   `cmd:"" help:"List the kernels that are imported."`
	Rm         kernelRmCmd     `cmd:"" help:"Remove a kernel. Snapshots that were taken with it stay as they are."`
}

type kernelImportCmd struct {
	File    string `arg:"" help:"An uncompressed kernel (vmlinux), or a bzImage (vmlinuz)."`
	Options string `placeholder:"FILE" help:"Its configuration, if it is not inside the kernel."`
	Modules string `placeholder:"DIR" help:"Its modules (lib/modules/RELEASE), if drivers that guests need are not built in."`
	Name    string `placeholder:"NAME" help:"The name to keep it by; its release by default."`
}

type kernelDebianCmd struct {
	Package string `arg:"" optional:"" default:"linux-image-cloud-amd64" help:"The package, or a package's file (.deb)."`
	Name    string `placeholder:"NAME" help:"The name to keep it by; its release by default."`
}

type kernelListCmd struct{}

type kernelRmCmd struct {
	Name string `arg:"" help:"The kernel's name."`
}

// Run imports a kernel.
func (c *kernelImportCmd) Run(ctx context.Context, cfg *config.Config) error {
	return toldKernel(programs(cfg).ImportKernel(ctx, program.KernelSource{Path: c.File, Config: c.Options,
		Modules: c.Modules, Name: c.Name}))
}

// Run prepares Debian's kernel.
func (c *kernelDebianCmd) Run(ctx context.Context, cfg *config.Config) error {
	return toldKernel(programs(cfg).FromDebian(ctx, c.Package, c.Name))
}

func toldKernel(k program.Kernel, err error) error {
	if err != nil {
		return err
	}
	fmt.Printf("%s (Linux %s, %d MiB)\n", k.Name, k.Release, k.Size>>20)
	for _, f := range k.FeatureNames() {
		fmt.Printf("  %-24s %s\n", f, k.Features[f])
	}
	return nil
}

// Run lists what is imported.
func (kernelListCmd) Run(cfg *config.Config) error {
	list, err := programs(cfg).Kernels()
	rows := make([][]string, len(list))
	for n, k := range list {
		rows[n] = []string{k.Name, k.Release, strconv.Itoa(k.Count(program.BuiltIn)), strconv.Itoa(k.Count(program.AsModule)),
			strconv.FormatInt(k.Size>>20, 10), day(k.At), k.From}
	}
	return errors.Join(printTable("NAME\tRELEASE\tBUILT IN\tMODULES\tMIB\tIMPORTED\tFROM", rows), err)
}

// Run removes a kernel.
func (c *kernelRmCmd) Run(cfg *config.Config) error { return programs(cfg).RemoveKernel(c.Name) }
