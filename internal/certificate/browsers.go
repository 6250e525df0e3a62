package certificate

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Home is the home directory of somebody whose browsers are to trust an authority.
type Home struct {
	Dir string
	// UID and GID own what is in it.
	UID, GID uint32
}

// Homes are those of whoever runs this process, also through sudo.
func Homes() []Home {
	var list []Home
	for _, name := range []string{os.Getenv("SUDO_USER"), currentUser()} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		h := Home{Dir: u.HomeDir, UID: uint32(uid), GID: uint32(gid)}
		if own := os.Getenv("HOME"); own != "" && int(uid) == os.Getuid() {
			h.Dir = own
		}
		if uidErr == nil && gidErr == nil && !slices.Contains(list, h) {
			list = append(list, h)
		}
	}
	return list
}

func currentUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// databases are the NSS databases of Chromium and its relatives, where one is installed or has
// been used, and of Firefox's profiles.
func (h Home) databases() []string {
	var list []string
	chromium := filepath.Join(h.Dir, ".pki", "nssdb")
	if _, err := os.Stat(filepath.Join(chromium, "cert9.db")); err == nil || hasChromium() {
		list = append(list, chromium)
	}
	for _, pattern := range []string{".mozilla/firefox/*/cert9.db", "snap/firefox/common/.mozilla/firefox/*/cert9.db"} {
		found, _ := filepath.Glob(filepath.Join(h.Dir, pattern))
		for _, db := range found {
			list = append(list, filepath.Dir(db))
		}
	}
	return list
}

func hasChromium() bool {
	return slices.ContainsFunc([]string{"chromium", "chromium-browser", "google-chrome", "microsoft-edge", "brave-browser"},
		func(name string) bool {
			_, err := exec.LookPath(name)
			return err == nil
		})
}

func (h Home) add(ctx context.Context, db, name, file string) Change {
	c := Change{Store: db}
	if _, err := exec.LookPath("certutil"); err != nil {
		c.Skipped = "certutil is missing; install libnss3-tools (Debian), nss-tools (Fedora) or nss (Arch), and call this again"
		return c
	}
	// The directories are made by their owner too.
	if err := h.run(ctx, "mkdir", "-p", "-m", "0700", db); err != nil {
		c.Skipped = err.Error()
		return c
	}
	if _, err := os.Stat(filepath.Join(db, "cert9.db")); err != nil {
		if err := h.run(ctx, "certutil", "-N", "--empty-password", "-d", "sql:"+db); err != nil {
			c.Skipped = err.Error()
			return c
		}
	}
	_ = h.run(ctx, "certutil", "-D", "-d", "sql:"+db, "-n", name) // an earlier authority of the domain, if there is one
	if err := h.run(ctx, "certutil", "-A", "-d", "sql:"+db, "-t", "C,,", "-n", name, "-i", file); err != nil {
		c.Skipped = err.Error()
	}
	return c
}

func (h Home) remove(ctx context.Context, db, name string) Change {
	c := Change{Store: db}
	if _, err := os.Stat(filepath.Join(db, "cert9.db")); err != nil {
		return c // it never was there
	}
	if h.run(ctx, "certutil", "-L", "-d", "sql:"+db, "-n", name) != nil {
		return c
	}
	if err := h.run(ctx, "certutil", "-D", "-d", "sql:"+db, "-n", name); err != nil {
		c.Skipped = err.Error()
	}
	return c
}

// run runs a program as the owner of the home.
func (h Home) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+h.Dir)
	if os.Geteuid() == 0 && h.UID != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: h.UID, Gid: h.GID}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
