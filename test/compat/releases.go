package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// registry is where a package comes from.
type registry string

const (
	npm  registry = "npm"
	pypi registry = "PyPI"
)

// series asks for releases of a package: for each of the newest minor versions the last one.
type series struct {
	table    string // the heading of the table that it is in
	registry registry
	pkg      string
	minors   int
	major    int // only of this major version; 0 means any
}

// The interpreter's releases run on the base template: what is theirs alone needs a template
// that takes minutes to build, and test/e2e tests it. The desktop's do nothing without theirs.
var matrix = []series{
	{"JavaScript", npm, "e2b", 6, 0},
	{"JavaScript", npm, "e2b", 1, 1},
	{"JavaScript", npm, "@e2b/code-interpreter", 1, 0},
	{"Python", pypi, "e2b", 6, 0},
	{"Python", pypi, "e2b", 1, 1},
	{"Python", pypi, "e2b-code-interpreter", 1, 0},
	{"Command line", npm, commandLine, 3, 0},
}

// resolve asks the registries which releases there are.
func resolve(ctx context.Context) ([]*client, error) {
	var clients []*client
	known := map[registry]func(context.Context, string) ([]string, error){npm: npmVersions, pypi: pypiVersions}
	for _, s := range matrix {
		versions, err := known[s.registry](ctx, s.pkg)
		if err != nil {
			return nil, fmt.Errorf("the releases of %s on %s: %w", s.pkg, s.registry, err)
		}
		chosen := newestMinors(versions, s.minors, s.major)
		if len(chosen) == 0 {
			return nil, fmt.Errorf("no release of %s on %s is among %q", s.pkg, s.registry, versions)
		}
		for _, v := range chosen {
			clients = append(clients, &client{series: s, version: v.String()})
		}
	}
	return clients, nil
}

func npmVersions(ctx context.Context, pkg string) ([]string, error) {
	out, err := output(exec.CommandContext(ctx, "npm", "view", pkg, "versions", "--json"))
	if err != nil {
		return nil, err
	}
	var versions []string
	return versions, json.Unmarshal(out, &versions)
}

// pypiVersions asks with a pip of its own, because not every machine's Python has one.
func pypiVersions(ctx context.Context, pkg string) ([]string, error) {
	venv := filepath.Join(cache, "pip")
	if err := makeVenv(ctx, venv); err != nil {
		return nil, err
	}
	out, err := output(exec.CommandContext(ctx, filepath.Join(venv, "bin", "python"), "-m", "pip",
		"--disable-pip-version-check", "index", "versions", pkg))
	if err != nil {
		return nil, err
	}
	_, list, found := strings.Cut(string(out), "Available versions: ")
	if !found {
		return nil, fmt.Errorf("pip's answer has no list: %s", out)
	}
	list, _, _ = strings.Cut(list, "\n")
	return strings.Split(list, ", "), nil
}

// output runs a command; the error has what it wrote to its standard error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, complaints.String())
	}
	return out, nil
}

// release is the version of one: major, minor and patch.
type release [3]int

func (r release) String() string { return fmt.Sprintf("%d.%d.%d", r[0], r[1], r[2]) }

var released = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)$`)

// newestMinors returns, newest first, the last patch of each of the newest minor versions,
// without releases that are marked as early. A major of 0 means any.
func newestMinors(versions []string, minors, major int) []release {
	var all []release
	for _, version := range versions {
		m := released.FindStringSubmatch(version)
		if m == nil {
			continue
		}
		var r release
		for i := range r {
			r[i], _ = strconv.Atoi(m[i+1])
		}
		if major == 0 || r[0] == major {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b release) int {
		return cmp.Or(cmp.Compare(b[0], a[0]), cmp.Compare(b[1], a[1]), cmp.Compare(b[2], a[2]))
	})
	all = slices.CompactFunc(all, func(a, b release) bool { return a[0] == b[0] && a[1] == b[1] })
	return all[:min(minors, len(all))]
}
