package program

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"strings"
	"time"

	"shoal/internal/shoal"
)

// minVersion is the oldest Firecracker that understands all that is asked of it.
const minVersion = "v1.12.0"

// examine looks at a build of Firecracker and its jailer, and asks both for their version.
func examine(ctx context.Context, firecracker, jailer string) (Program, error) {
	p := Program{}
	var err error
	if p.Version, err = askVersion(ctx, firecracker, "Firecracker"); err != nil {
		return p, err
	}
	theirs, err := askVersion(ctx, jailer, "Jailer")
	if err != nil {
		return p, err
	}
	if theirs != p.Version {
		return p, shoal.ErrFirecrackerVersion.New("%s is of version %s, its jailer %s of %s",
			firecracker, p.Version, jailer, theirs)
	}
	if CompareVersions(p.Version, minVersion) < 0 {
		return p, shoal.ErrFirecrackerVersion.New("%s is of version %s; %s is the oldest that can be used",
			firecracker, p.Version, minVersion)
	}
	p.Static, p.Filter = true, FilterBuiltIn
	for _, path := range []string{firecracker, jailer} {
		facts, err := look(path)
		if err != nil {
			return p, err
		}
		if !facts.static {
			return p, shoal.ErrFirecrackerStatic.New("%s needs the libraries of this host (%s)", path, facts.loader)
		}
		if path == firecracker && facts.gnu {
			p.Filter = FilterNone
		}
	}
	var other int64
	if p.Digest, p.Size, err = digestOf(firecracker); err != nil {
		return p, err
	}
	if p.Jailer, other, err = digestOf(jailer); err != nil {
		return p, err
	}
	p.Size += other
	return p, nil
}

// facts are what an executable's file says.
type facts struct {
	static bool
	loader string // of one that is not static
	gnu    bool   // it has the GNU C library inside
}

// gnuMark is in every program that the GNU C library is linked into: the name of a variable that it reads.
var gnuMark = []byte("GLIBC_TUNABLES")

// look reads an executable for this machine.
func look(path string) (facts, error) {
	f, err := elf.Open(path)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return facts{}, shoal.ErrFirecrackerProgram.Wrap(err, "%s is no executable", path)
		}
		return facts{}, shoal.ErrFirecrackerProgram.Wrap(err, "%s cannot be read", path)
	}
	defer f.Close()
	if f.Machine != machine() {
		return facts{}, shoal.ErrFirecrackerProgram.New("%s is for another processor (%s)", path, f.Machine)
	}
	found := facts{static: true}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, _ := io.ReadAll(io.LimitReader(p.Open(), 256))
			found.static, found.loader = false, string(bytes.TrimRight(name, "\x00"))
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return facts{}, err
	}
	found.gnu = bytes.Contains(data, gnuMark)
	return found, nil
}

func machine() elf.Machine {
	if goruntime.GOARCH == "arm64" {
		return elf.EM_AARCH64
	}
	return elf.EM_X86_64
}

const versionTime = 10 * time.Second

var versionPattern = regexp.MustCompile(`^(Firecracker|Jailer) (v[0-9]+\.[0-9]+\.[0-9]+\S*)`)

// askVersion runs a program with --version.
func askVersion(ctx context.Context, path, who string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	file, err := filepath.Abs(path) // a mere name would be looked for in PATH
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, file, "--version").Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		return "", shoal.ErrFirecrackerProgram.Wrap(err, "%s --version failed: %s", path, firstLine(exit.Stderr))
	default:
		return "", shoal.ErrFirecrackerProgram.Wrap(err, "%s cannot be executed", path)
	}
	found := versionPattern.FindStringSubmatch(string(out))
	if found == nil || found[1] != who {
		return "", shoal.ErrFirecrackerProgram.New("%s is no %s: asked for its version, it says %q", path,
			strings.ToLower(who), firstLine(out))
	}
	return found[2], nil
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	return line
}

// String is one line for people.
func (p Program) String() string {
	filter := "filter of system calls: " + string(p.Filter)
	return fmt.Sprintf("%s (%s, static, %s)", p.Name, p.Version, filter)
}
