package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"shoal/internal/shoal"
)

// The files of a guest kernel in its directory.
const (
	kernelFile   = "vmlinux"
	modulesFile  = "modules.cpio"
	kernelRecord = "kernel.json"
)

// Kernel is a guest kernel on this machine.
type Kernel struct {
	Name    string `json:"name"`
	Release string `json:"release"` // as uname -r says
	Digest  string `json:"digest"`  // SHA-256 of the kernel, in hex
	Modules string `json:"modules"` // that of the archive of modules; empty without one
	Size    int64  `json:"size"`    // of both, in bytes
	// Features are what guests need, and where the kernel has it.
	Features map[string]Presence `json:"features"`
	From     string              `json:"from"` // where it came from, for people
	At       time.Time           `json:"at"`
	// Path is where the kernel lies, Archive where the modules do: an archive (cpio) that an
	// initial root file system begins with. Empty without modules.
	Path    string `json:"-"`
	Archive string `json:"-"`
}

// Presence is where a kernel has a feature.
type Presence string

// What can be known of a feature. A kernel without its configuration inside does not tell what
// it lacks; what leaves no trace in it is unknown, and found out by the first guest.
const (
	BuiltIn  Presence = "built in"
	AsModule Presence = "module"
	Absent   Presence = "absent"
	Unknown  Presence = "unknown"
)

// KernelSource is what a kernel is imported from.
type KernelSource struct {
	Path string // of an ELF kernel (vmlinux), or of a bzImage, from which that is taken out
	// Config is the path of its configuration. Without one, what is inside the kernel counts.
	Config string
	// Modules is a directory (lib/modules/RELEASE) with modules for what is not built in; may be
	// empty.
	Modules string
	Name    string // empty is the kernel's release
	From    string // for people; empty is Path
}

// ImportKernel checks a kernel and keeps a copy, with the modules that guests need.
func (s *Store) ImportKernel(ctx context.Context, from KernelSource) (Kernel, error) {
	dir, err := os.MkdirTemp("", "shoal-kernel-")
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(dir)
	path, err := uncompressed(ctx, from.Path, dir)
	if err != nil {
		return Kernel{}, err
	}
	k, err := examineKernel(path, from.Config)
	if err != nil {
		return Kernel{}, err
	}
	var modules []module
	if from.Modules != "" {
		if modules, err = collectModules(ctx, from.Modules, k.Features); err != nil {
			return Kernel{}, err
		}
		for _, m := range modules {
			for f, p := range k.Features {
				if featureModules[f] == m.name && p != BuiltIn {
					k.Features[f] = AsModule
				}
			}
		}
	}
	if err := k.sufficient(); err != nil {
		return Kernel{}, err
	}
	k.Name, k.From, k.At = k.Release, from.Path, time.Now().UTC().Truncate(time.Second)
	if from.Name != "" {
		k.Name = from.Name
	}
	if from.From != "" {
		k.From = from.From
	}
	if err := checkName(k.Name); err != nil {
		return Kernel{}, err
	}
	return s.keepKernel(k, path, modules, dir)
}

func (s *Store) keepKernel(k Kernel, path string, modules []module, dir string) (Kernel, error) {
	var err error
	if k.Digest, k.Size, err = digestOf(path); err != nil {
		return Kernel{}, err
	}
	archive := ""
	if len(modules) > 0 {
		archive = filepath.Join(dir, modulesFile)
		if err := writeModules(archive, modules); err != nil {
			return Kernel{}, fmt.Errorf("write the archive of modules: %w", err)
		}
		var size int64
		if k.Modules, size, err = digestOf(archive); err != nil {
			return Kernel{}, err
		}
		k.Size += size
	}
	if old, err := s.Kernel(k.Name); err == nil && old.Digest == k.Digest && old.Modules == k.Modules {
		return old, nil
	} else if err == nil {
		return Kernel{}, shoal.ErrFirecrackerExists.New("another kernel is imported as %s", k.Name)
	}
	err = s.put(filepath.Join(kernelsDir, k.Name), k, kernelRecord, func(to string) error {
		err := copyFile(path, filepath.Join(to, kernelFile), 0o644)
		if archive != "" {
			err = errors.Join(err, copyFile(archive, filepath.Join(to, modulesFile), 0o644))
		}
		return err
	})
	if err != nil {
		return Kernel{}, err
	}
	return s.Kernel(k.Name)
}

// needed are the features without which no guest runs, with what is wrong without them.
var needed = []string{featureMMIO, featureBlock, featureExt4, featureNet, featureVsock, featureInitrd}

// sufficient says what a kernel lacks. A feature that is a module must have been taken in.
func (k Kernel) sufficient() error {
	var lacks []string
	for _, f := range needed {
		switch k.Features[f] {
		case Absent:
			lacks = append(lacks, f)
		case AsModule:
			continue
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	kind := shoal.ErrFirecrackerKernelDrivers
	return kind.New("the kernel %s has no %s", k.Release, strings.Join(lacks, ", no "))
}

// Kernels lists what is imported, the latest release first.
func (s *Store) Kernels() ([]Kernel, error) {
	var list []Kernel
	err := s.each(kernelsDir, func(name string) error {
		k, err := s.Kernel(name)
		if err == nil {
			list = append(list, k)
		}
		return err
	})
	slices.SortFunc(list, func(a, b Kernel) int {
		if c := CompareVersions(b.Release, a.Release); c != 0 {
			return c
		}
		return strings.Compare(b.Name, a.Name)
	})
	return list, err
}

// Kernel finds one by its name. One that is not there is shoal.ErrFirecrackerKernelMissing.
func (s *Store) Kernel(name string) (Kernel, error) {
	if err := checkName(name); err != nil {
		return Kernel{}, err
	}
	dir := filepath.Join(s.dir, kernelsDir, name)
	var k Kernel
	if err := readRecord(filepath.Join(dir, kernelRecord), &k); errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, shoal.ErrFirecrackerKernelMissing.New("the guest kernel %s is not imported on this machine", name)
	} else if err != nil {
		return Kernel{}, err
	}
	k.Name, k.Path = name, filepath.Join(dir, kernelFile)
	if k.Modules != "" {
		k.Archive = filepath.Join(dir, modulesFile)
	}
	return k, nil
}

// Verify compares a kernel with what was imported.
func (k Kernel) Verify() error {
	err := verifyFile(k.Path, k.Digest)
	if k.Archive != "" {
		err = errors.Join(err, verifyFile(k.Archive, k.Modules))
	}
	return err
}

// RemoveKernel removes a kernel. Guests that run have theirs in memory.
func (s *Store) RemoveKernel(name string) error {
	if _, err := s.Kernel(name); err != nil {
		return err
	}
	return s.remove(filepath.Join(kernelsDir, name))
}

// FUSE tells whether its guests can have volumes. A kernel that was imported before Shoal looked for it
// does not tell.
func (k Kernel) FUSE() bool {
	there := k.Features[featureFUSE]
	return there == BuiltIn || there == AsModule
}

// FeatureNames lists the features that are known of, sorted.
func (k Kernel) FeatureNames() []string { return slices.Sorted(maps.Keys(k.Features)) }

// Count tells how many features are present in one way.
func (k Kernel) Count(p Presence) (n int) {
	for _, there := range k.Features {
		if there == p {
			n++
		}
	}
	return n
}
