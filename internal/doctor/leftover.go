package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"shoal/internal/config"
	"shoal/internal/network"
)

// checkLeftovers counts what an earlier process has left on the host. It is no fault: sandboxes
// outlive Shoal.
func checkLeftovers(_ context.Context, cfg *config.Config) Result {
	if inUse(filepath.Join(cfg.RunDir, "lock")) {
		return ok("none; what is there belongs to a shoal that runs")
	}
	host, veth, _ := cfg.Prefixes()
	slots, err := network.Existing(cfg.NetworkName(), host, veth)
	if err != nil {
		return Warn.because("", "cannot look at namespaces and links: %v", err)
	}
	guests, err := os.ReadDir(filepath.Join(cfg.RunDir, "guests"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Warn.because("", "cannot look at guests: %v", err)
	}
	if slots+len(guests) == 0 {
		return ok("none")
	}
	return Note.because("shoal up takes over the sandboxes that live and removes the rest; shoal down ends all of them",
		"no shoal runs, and an earlier one has left %d namespace(s) with links, and %d guest(s)", slots, len(guests))
}

// inUse reports whether a process holds the lock of a run directory.
func inUse(lock string) bool {
	f, err := os.Open(lock)
	if err != nil {
		return false
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return errors.Is(err, unix.EWOULDBLOCK)
	}
	return false
}
