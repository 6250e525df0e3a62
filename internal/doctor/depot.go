package doctor

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/artifact"
	"shoal/internal/config"
)

// fileTime is how exactly file systems tell when a file was written, at worst.
const fileTime = time.Second

// checkDepot writes to the directory that snapshots are kept in for good. A mount that is missing
// leaves a directory behind in which everything seems to work, so it is said where it is.
func checkDepot(_ context.Context, cfg *config.Config) Result {
	if cfg.ArtifactDir == "" {
		return ok("none; snapshots are in the data directory alone")
	}
	dir := cfg.ArtifactDir
	if _, err := os.Stat(dir); err != nil {
		return Fail.because("mount it, or correct artifact-dir",
			"paused sandboxes and builds cannot be kept: %v", err)
	}
	e := exchange{sent: time.Now(), precision: fileTime}
	var err error
	if e.told, err = artifact.Probe(dir); err != nil {
		return Fail.because("mount it writable for root, or correct artifact-dir",
			"paused sandboxes and builds cannot be kept: %v", err)
	}
	e.received = time.Now()
	var there, here unix.Statfs_t
	if err := unix.Statfs(dir, &there); err != nil {
		return Warn.because("", "%s: %v", dir, err)
	}
	if free := int64(there.Bavail) * there.Bsize; free < minDisk {
		return Warn.because("free some space there, by `shoal gc --empty-trash` for example",
			"%d MiB free in %s", free>>20, dir)
	}
	if r := e.judge(); r.Level != OK {
		return Warn.because(r.Fix, "%s is on a server whose clock is %s", dir, r.Found)
	}
	if err := unix.Statfs(existing(cfg.DataDir), &here); err == nil && here.Fsid == there.Fsid {
		return Note.because("mount the depot, if it is to be elsewhere",
			"%s is on the same file system as the data directory", dir)
	}
	return ok("%s takes files, and gives them back", dir)
}
