package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"shoal/internal/image"
	"shoal/templates"
)

// twin is the host's side of what is measured in guests: the base template's root directory
// on a file system of the host, so that the programs and their versions are the same and only
// the kernel is another.
type twin struct{ *disk }

// What figures say of it.
const (
	ofHost = "a shell in new namespaces of the host"
	ofTwin = "the same script in new namespaces of the host"
	ofDisk = "the same on the host"
)

// uid is that of the user whom commands run as, in guests and on the host.
const uid = 1000

// newTwin copies the base template's packages, and lays the template's files and user over
// them.
func newTwin(ctx context.Context, dir, imageDir string) (*twin, error) {
	d, err := newDisk(ctx, dir)
	if err != nil {
		return nil, err
	}
	t := &twin{d}
	if err := t.fill(ctx, imageDir); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *twin) fill(ctx context.Context, imageDir string) error {
	if err := copyPackages(imageDir, t.path("/")); err != nil {
		return err
	}
	if err := t.layFiles(); err != nil {
		return err
	}
	add := fmt.Sprintf("useradd --create-home --uid %d --shell /bin/bash %s", uid, image.DefaultUser)
	_, err := t.runAs(ctx, 0, add)
	return err
}

func (t *twin) layFiles() error {
	return templates.BaseFiles(func(name string, data []byte) error {
		name = t.path(name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		os.Remove(name) // what was there may be a link to somewhere else
		return os.WriteFile(name, data, 0o644)
	})
}

// copyPackages copies the base template's packages. Links would not do, because the copy is
// written to.
func copyPackages(imageDir, to string) error {
	roots, err := filepath.Glob(filepath.Join(imageDir, "roots", "*"))
	if err != nil {
		return err
	}
	if len(roots) == 0 {
		return fmt.Errorf("no package root in %s", imageDir)
	}
	newest := slices.MaxFunc(roots, func(a, b string) int { return madeAt(a).Compare(madeAt(b)) })
	if out, err := exec.Command("cp", "-a", newest+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the packages: %w\n%s", err, out)
	}
	// Else the disk is busy with it while something is measured.
	if out, err := exec.Command("sync", "-f", to).CombinedOutput(); err != nil {
		return fmt.Errorf("write the packages to disk: %w\n%s", err, out)
	}
	return nil
}

// madeAt is when a directory got its last entry, or the zero time.
func madeAt(dir string) (at time.Time) {
	if info, err := os.Stat(dir); err == nil {
		at = info.ModTime()
	}
	return at
}

// run runs a command line as a guest's daemon does, in new namespaces of the host, and
// returns what it prints.
func (t *twin) run(ctx context.Context, line string) (string, error) {
	return t.runAs(ctx, uid, line)
}

// shell is the least that run can do. It stands beside what a guest has no equal of on the
// host, such as a create, as a measure of how fast the host is at that moment.
func (t *twin) shell(ctx context.Context) error {
	_, err := t.run(ctx, "true")
	return err
}

func (t *twin) runAs(ctx context.Context, uid int, line string) (string, error) {
	id, home := strconv.Itoa(uid), image.DefaultWorkdir
	if uid == 0 {
		home = "/root"
	}
	cmd := t.inside(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts",
		"--root="+t.dir, "--mount-proc", "--setgid="+id, "--setuid="+id, "--wd="+home, "/bin/bash", "-l", "-c", line)
	cmd.Env = []string{"HOME=" + home, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("on the host: %s: %w\n%s", line, err, out)
	}
	return string(out), nil
}
