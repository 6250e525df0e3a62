package program

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"shoal/internal/runtime/firecracker/cpio"
	"shoal/internal/shoal"
)

// module is one module of a kernel, unpacked.
type module struct {
	name    string // with _ in place of -, as the kernel has it
	data    []byte
	depends []string
}

// collectModules finds the modules of what is not built in, with those that they depend on, each
// before those that need it.
func collectModules(ctx context.Context, dir string, have map[string]Presence) ([]module, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if name, _, ok := strings.Cut(d.Name(), ".ko"); ok {
				paths[kernelName(name)] = path
			}
		}
		return err
	})
	if err != nil {
		return nil, shoal.ErrFirecrackerKernelFormat.Wrap(err, "the modules in %s cannot be read", dir)
	}
	c := collector{ctx: ctx, paths: paths, state: map[string]bool{}}
	for _, f := range slices.Sorted(maps.Keys(featureModules)) {
		if have[f] == BuiltIn {
			continue
		}
		if _, ok := paths[featureModules[f]]; ok {
			if err := c.take(featureModules[f]); err != nil {
				return nil, shoal.ErrFirecrackerKernelFormat.Wrap(err, "the modules in %s cannot be used", dir)
			}
		}
	}
	return c.list, nil
}

func kernelName(name string) string { return strings.ReplaceAll(name, "-", "_") }

type collector struct {
	ctx   context.Context
	paths map[string]string
	state map[string]bool // false while a module's dependencies are looked for
	list  []module
}

// take adds a module after those that it depends on. A dependency without a file is built in.
func (c *collector) take(name string) error {
	if done, seen := c.state[name]; seen {
		if !done {
			return fmt.Errorf("%s depends on itself", name)
		}
		return nil
	}
	c.state[name] = false
	m, err := readModule(c.ctx, name, c.paths[name])
	if err != nil {
		return err
	}
	for _, d := range m.depends {
		if _, ok := c.paths[d]; !ok {
			continue
		}
		if err := c.take(d); err != nil {
			return err
		}
	}
	c.state[name] = true
	c.list = append(c.list, m)
	return nil
}

func readModule(ctx context.Context, name, path string) (module, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return module{}, err
	}
	if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		if data, err = unpack(ctx, data); err != nil {
			return module{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return module{}, fmt.Errorf("%s: %w", path, err)
	}
	info := f.Section(".modinfo")
	if info == nil {
		return module{}, fmt.Errorf("%s is no module of a kernel", path)
	}
	text, err := info.Data()
	if err != nil {
		return module{}, fmt.Errorf("%s: %w", path, err)
	}
	m := module{name: name, data: data}
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		if list, ok := strings.CutPrefix(string(entry), "depends="); ok && list != "" {
			for d := range strings.SplitSeq(list, ",") {
				m.depends = append(m.depends, kernelName(d))
			}
		}
	}
	return m, nil
}

// ModulesDir is where the archive of a kernel has its modules, in the order of their names.
const ModulesDir = "modules"

func writeModules(path string, modules []module) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := cpio.NewWriter(f)
	if err := a.Dir(ModulesDir); err != nil {
		return err
	}
	for i, m := range modules {
		if err := a.File(fmt.Sprintf("%s/%02d-%s.ko", ModulesDir, i, m.name), 0o400, m.data); err != nil {
			return err
		}
	}
	return a.Close()
}
