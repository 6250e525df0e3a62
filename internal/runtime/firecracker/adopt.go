package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker/api"
	"shoal/internal/runtime/pidfd"
)

// Adopt takes over the Firecracker that an earlier process started.
func (d *Driver) Adopt(ctx context.Context, s runtime.Spec) (runtime.Guest, error) {
	j, err := d.recorded(s.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, runtime.ErrGone
	}
	if err != nil {
		return nil, err
	}
	if j.PID == 0 || !d.groups.has(s.ID, j.PID) {
		return nil, errors.Join(runtime.ErrGone, d.removeLeftovers(ctx, s.ID))
	}
	if err := d.endCheckpoint(ctx, j); err != nil {
		return nil, fmt.Errorf("end the checkpoint that was under way: %w", err)
	}
	g, err := d.newGuest(s, j, "")
	if err != nil {
		return nil, err
	}
	g.basePath = filepath.Join(d.opts.BaseDir, j.Base+baseSuffix)
	g.frozen, g.still = nil, true // for who had it before may have ended between the two steps of a freeze
	g.endUnknownShares()
	if err := g.adoptAttendant(); err != nil {
		return nil, errors.Join(runtime.ErrGone, err, g.Kill(ctx))
	}
	if frozen, err := g.isFrozen(); err == nil && !frozen && exists(g.jail.beside(balloonMark)) {
		g.deflate(ctx)
	}
	return g, nil
}

// endCheckpoint lets a machine go on that its earlier owner had paused to write it.
func (d *Driver) endCheckpoint(ctx context.Context, j *jail) error {
	if frozen, err := stopped(j.PID); err != nil || frozen { // it is never paused then
		return err
	}
	client := api.New(j.path(apiSocket))
	i, err := client.Instance(ctx)
	if err != nil || i.State != api.Paused {
		return err
	}
	d.log.Warn("a microVM was being written when its owner ended; it goes on", "guest", j.ID)
	return j.resumeUnwritten(ctx, client)
}

// adoptAttendant watches the attendant that an earlier process started. A guest whose attendant has ended
// cannot go on.
func (g *guest) adoptAttendant() error {
	if g.jail.Backend == "" {
		return nil
	}
	fd, err := unix.PidfdOpen(g.jail.Attendant, unix.PIDFD_NONBLOCK)
	if err != nil || !g.driver.groups.has(g.spec.ID, g.jail.Attendant) {
		if err == nil {
			unix.Close(fd)
		}
		return errors.New("its attendant has ended")
	}
	process, ended := os.NewFile(uintptr(fd), "pidfd"), make(chan struct{})
	go func() { // ends with the attendant, which is in the guest's group
		defer close(ended)
		defer process.Close()
		_ = pidfd.Wait(process)
	}()
	g.watchAttendant(ended)
	return nil
}

// Reclaim ends and removes every guest of this driver's run directory and cgroup that is not in use.
func (d *Driver) Reclaim(ctx context.Context, inUse func(id string) bool) error {
	ids, errs := d.groups.ids()
	records, err := filepath.Glob(filepath.Join(d.opts.RunDir, "*.json"))
	errs = errors.Join(errs, err)
	for _, path := range records {
		ids = append(ids, strings.TrimSuffix(filepath.Base(path), ".json"))
	}
	seen := map[string]bool{}
	for _, id := range ids {
		if !seen[id] && !inUse(id) {
			errs = errors.Join(errs, d.removeLeftovers(ctx, id))
		}
		seen[id] = true
	}
	return errs
}

// removeLeftovers ends the processes of a guest, and removes its cgroup and jail. What is gone already
// is no error.
func (d *Driver) removeLeftovers(ctx context.Context, id string) error {
	j, recordErr := d.recorded(id)
	if recordErr != nil {
		j = &jail{}
	}
	err := d.end(ctx, id, j.Backend)
	if err == nil {
		err = d.groups.remove(ctx, id)
	}
	switch {
	case err != nil:
		return err
	case errors.Is(recordErr, fs.ErrNotExist):
		return nil
	case recordErr != nil: // nothing is known of the jail, which is found by its directory at most
		return errors.Join(fmt.Errorf("remove what is left of %s: %w", id, recordErr), os.Remove(d.recordPath(id)))
	}
	return d.removeJail(j)
}

// end ends the processes of a guest, and takes its disk from the host's kernel: Firecracker, which ends by
// closing the disk, would wait for minutes for an attendant to write what the page cache has of it.
func (d *Driver) end(ctx context.Context, id, backend string) error {
	err := d.groups.kill(id)
	if err == nil && backend != "" {
		err = detach(ctx, backend)
	}
	if err != nil {
		return fmt.Errorf("end %s: %w", id, err)
	}
	return nil
}
