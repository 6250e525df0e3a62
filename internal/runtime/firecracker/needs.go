package firecracker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/runtime/firecracker/attendant"
)

// needs is what guests of memories need first, by memory. It is kept apart from checkpoints, whose files are what
// was stored, and may be lost at any time: then it is recorded again.
type needs struct{ dir string }

// needsFile is its name beside a memory, as package page has it.
const needsFile = "working-set"

// maxNeeds bounds how many memories there is something kept of: those that guests were restored from last. Most
// are of pauses, and are restored once.
const maxNeeds = 512

func (d *Driver) needs() needs { return needs{filepath.Join(d.opts.BaseDir, "needs")} }

// of is the path of what guests of a memory need.
func (n needs) of(memory string) string {
	chain, _ := os.ReadFile(filepath.Join(memory, "memory.json"))
	return filepath.Join(n.dir, fmt.Sprintf("%.16x", sha256.Sum256(chain)))
}

// place gives a memory what is known of it, if anything is.
func (n needs) place(memory string) error {
	path, now := n.of(memory), time.Now()
	err := os.Chtimes(path, now, now) // it is used
	if err == nil {
		err = place(path, filepath.Join(memory, needsFile))
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// keep keeps what is needed of a memory that has it in its directory, and lets go of what was not used for longest.
func (n needs) keep(memory string) error {
	data, err := os.ReadFile(filepath.Join(memory, needsFile))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(n.of(memory), data, 0o600, atomicfile.Volatile); err != nil {
		return err
	}
	return n.trim()
}

func (n needs) trim() error {
	entries, err := os.ReadDir(n.dir)
	if err != nil || len(entries) <= maxNeeds {
		return err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // else another has removed it
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, f := range files[min(maxNeeds, len(files)):] {
		if removeErr := os.Remove(filepath.Join(n.dir, f.Name())); !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}

// recordNeeds keeps what a restored guest has needed until it answered, for the next ones. It is best
// effort.
func (g *guest) recordNeeds(ctx context.Context) {
	if !g.jail.Served {
		return
	}
	known, n := g.jail.beside(knownMemory), g.driver.needs()
	if exists(n.of(known)) {
		return
	}
	_, err := g.attendant().Ask(ctx, attendant.Request{Record: &attendant.Empty{}})
	if err == nil {
		err = n.keep(known)
	}
	if err != nil {
		g.driver.log.Warn("what a guest needs first is not kept", "guest", g.spec.ID, "error", err)
	}
}
