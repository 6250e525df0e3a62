package program

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"shoal/internal/shoal"
)

// DebianKernel is the package that depends on Debian's present kernel for virtual machines.
const DebianKernel = "linux-image-cloud-amd64"

// FromDebian prepares a kernel of Debian: it downloads the package by apt, as this machine has it
// set up, or takes a package's file, and imports the kernel with its modules.
//
// Nothing is installed. A package that only depends on a kernel's is followed.
func (s *Store) FromDebian(ctx context.Context, pkg, name string) (Kernel, error) {
	dir, err := os.MkdirTemp("", "shoal-kernel-")
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(dir)
	file, from := pkg, pkg
	if !strings.HasSuffix(pkg, ".deb") {
		if file, err = downloadKernel(ctx, pkg, dir); err != nil {
			return Kernel{}, err
		}
		from = strings.TrimSuffix(filepath.Base(file), ".deb")
	}
	tree := filepath.Join(dir, "tree")
	if _, err := run(ctx, dir, "dpkg-deb", "-x", file, tree); err != nil {
		return Kernel{}, shoal.ErrFirecrackerKernelDebian.Wrap(err, "%s cannot be unpacked", file)
	}
	source, err := debianSource(tree)
	if err != nil {
		return Kernel{}, err
	}
	source.Name, source.From = name, from
	return s.ImportKernel(ctx, source)
}

// debianSource finds the parts of an unpacked package.
func debianSource(tree string) (KernelSource, error) {
	var s KernelSource
	for pattern, part := range map[string]*string{"boot/vmlinuz-*": &s.Path, "boot/config-*": &s.Config,
		"lib/modules/*": &s.Modules, "usr/lib/modules/*": &s.Modules} {
		if found, _ := filepath.Glob(filepath.Join(tree, pattern)); len(found) == 1 {
			*part = found[0]
		}
	}
	if s.Path == "" || s.Config == "" || s.Modules == "" {
		return s, shoal.ErrFirecrackerKernelDebian.New("the package has no kernel with its configuration and modules")
	}
	return s, nil
}

// downloadKernel downloads a kernel's package, or the one that a package depends on.
func downloadKernel(ctx context.Context, pkg, dir string) (string, error) {
	refused := func(err error, what string) (string, error) {
		return "", shoal.ErrFirecrackerKernelDebian.Wrap(err, "%s", what)
	}
	out, err := run(ctx, dir, "apt-cache", "depends", pkg)
	if err != nil {
		return refused(err, "apt does not know the package "+pkg)
	}
	for line := range strings.Lines(out) {
		if to, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(to, "linux-image-") {
			pkg = to
			break
		}
	}
	if _, err := run(ctx, dir, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", pkg); err != nil {
		return refused(err, "apt cannot download "+pkg)
	}
	found, _ := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
	if len(found) != 1 {
		return refused(nil, "apt has downloaded no package "+pkg)
	}
	return found[0], nil
}

func run(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = errors.New(firstLine(exit.Stderr))
	}
	return string(out), err
}
