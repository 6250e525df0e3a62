package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
	"shoal/templates"
)

const suite = "bookworm"

// packagesVersion changes when the same recipe shall give another root directory.
const packagesVersion = "3"

// recipeFiles are what the packages' root directory is made from.
var recipeFiles = []string{"packages", "dpkg.cfg", "slim-root", "node", "install-node", "quick-shell"}

// recipeKey names the packages' root directory by what it is made from.
func recipeKey() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s\n", packagesVersion, suite, runtime.GOARCH)
	for _, name := range recipeFiles {
		data, err := templates.Base.ReadFile("base/" + name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(data))
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// packages returns the root directory with the template's packages, and whether
// it was made now. The lock is held.
func (b *Builder) packages(ctx context.Context, progress func(Progress)) (dir string, fresh bool, err error) {
	key, err := recipeKey()
	if err != nil {
		return "", false, err
	}
	dir = filepath.Join(b.store.dir, rootsDir, key)
	if _, err := os.Stat(dir); err == nil {
		return dir, false, nil
	}
	tmp, err := os.MkdirTemp(filepath.Join(b.store.dir, rootsDir), tempMark)
	if err != nil {
		return "", false, err
	}
	defer os.RemoveAll(tmp)
	root := filepath.Join(tmp, "root")
	if err := bootstrap(ctx, root, tmp, progress); err != nil {
		return "", false, err
	}
	// The name says that the content is whole, so the content must reach the disk
	// before the name does.
	if err := syncFileSystem(root); err != nil {
		return "", false, fmt.Errorf("write the packages to disk: %w", err)
	}
	return dir, true, atomicfile.Rename(root, dir, atomicfile.Durable)
}

// bootstrap runs mmdebstrap. It runs in process and mount namespaces of its own,
// so that nothing of it outlives this process, however that ends. work is a
// directory for the recipe's files.
func bootstrap(ctx context.Context, root, work string, progress func(Progress)) error {
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return errors.New("mmdebstrap is not installed; run `apt-get install mmdebstrap`")
	}
	for _, name := range recipeFiles {
		data, err := templates.Base.ReadFile("base/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(work, name), data, 0o644); err != nil {
			return err
		}
	}
	include, err := packageList()
	if err != nil {
		return err
	}
	args := []string{"--pid", "--fork", "--mount", "--mount-proc", "--kill-child", tool,
		"--mode=root", "--variant=apt", "--verbose", "--format=directory",
		"--include=" + strings.Join(include, ","),
		"--aptopt=Apt::Install-Recommends \"false\"",
		"--dpkgopt=force-unsafe-io",
		`--extract-hook=sh "$SHOAL_RECIPE/slim-root" "$1"`,
		`--customize-hook=sh "$SHOAL_RECIPE/install-node" "$1"`,
		`--customize-hook=sh "$SHOAL_RECIPE/quick-shell" "$1"`,
	}
	for _, option := range aptOptions(ctx) {
		args = append(args, "--aptopt="+option)
	}
	args = append(args, suite, root)
	args = append(args, hostSources()...)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	// By the environment, because the hooks are a shell's.
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "SHOAL_RECIPE="+work)
	return runBootstrap(ctx, cmd, progress)
}

func packageList() ([]string, error) {
	data, err := templates.Base.ReadFile("base/packages")
	if err != nil {
		return nil, err
	}
	var list []string
	for _, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	return list, nil
}

// syncFileSystem writes everything of dir's file system to its disk.
func syncFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
