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

// packagesVersion changes when the same recipe is meant to result in another root
// directory.
const packagesVersion = "3"

// recipeFiles are the files from which the root directory with the packages is made.
var recipeFiles = []string{"packages", "dpkg.cfg", "slim-root", "node", "install-node", "quick-shell"}

// recipeKey identifies the root directory with the packages by a hash of the recipe.
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

// packages returns the root directory with the template's packages, and whether it was made
// just now. The caller holds the lock.
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
	// The name says that the content is complete, so the content must be on the disk before
	// the directory gets its name.
	if err := syncFileSystem(root); err != nil {
		return "", false, fmt.Errorf("write the packages to disk: %w", err)
	}
	return dir, true, atomicfile.Rename(root, dir, atomicfile.Durable)
}

// bootstrap runs mmdebstrap in process and mount namespaces of its own, so that it leaves
// nothing running or mounted, even if this process is killed. work is a directory for the
// recipe's files.
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
	// This goes through the environment, because the hooks are shell commands.
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

// syncFileSystem syncs the whole file system that contains dir.
func syncFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
