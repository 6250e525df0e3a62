package firecracker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"shoal/internal/atomicfile"
	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker/api"
	"shoal/internal/runtime/firecracker/attendant"
	"shoal/internal/runtime/firecracker/control"
	"shoal/internal/runtime/firecracker/page"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// The files of a checkpoint, beside those of its memory (package page). There are no directories in it.
const (
	keptState   = "state"
	keptDisk    = "disk" // a layer on its base, of package block
	description = "machine.json"
)

// machine describes a checkpoint.
type machine struct {
	Firecracker string `json:"firecracker"`
	Base        string `json:"base"` // of the disk
	CPUs        int    `json:"cpus"`
	MemoryMB    int64  `json:"memoryMB"`
	// Unlimited means that its devices had no bounds of rates.
	Unlimited bool `json:"unlimited,omitempty"`

	Volumes []keptVolume `json:"volumes,omitempty"`
}

// Checkpoint writes the guest. Firecracker writes only memory that has changed since it was last
// written; the rest is in a file of the jail. The guest stands still for what Firecracker does and for its disk, and
// goes on while its memory is put in order.
func (g *guest) Checkpoint(ctx context.Context, dir string) (err error) {
	defer telemetry.Begin(ctx, "guest_checkpoint")()
	g.changing.Lock()
	defer g.changing.Unlock()
	frozen, err := g.isFrozen()
	if err != nil {
		return err
	}
	diff := !exists(g.jail.beside(untoldMark))
	err = g.awake(ctx, frozen, func() error { return g.write(ctx, dir, diff) })
	if err == nil {
		err = g.keepMemory(ctx, dir, diff)
	}
	if err != nil {
		return g.unlessGone(fmt.Errorf("write the checkpoint: %w", err))
	}
	return nil
}

// write has Firecracker write the machine, of its memory only what has changed if diff, and writes all else of a
// checkpoint. The machine stands still meanwhile.
func (g *guest) write(ctx context.Context, dir string, diff bool) (err error) {
	defer telemetry.Begin(ctx, "guest_still")()
	defer g.goOnShares(context.WithoutCancel(ctx)) // the machine runs again then
	if err := g.api.Pause(ctx); err != nil {
		return err
	}
	tried := false
	defer func() {
		if tried {
			err = errors.Join(err, g.api.Resume(context.WithoutCancel(ctx)))
		} else {
			err = errors.Join(err, g.jail.resumeUnwritten(context.WithoutCancel(ctx), g.api))
		}
	}()
	// A Firecracker that fails may have forgotten what has changed, so what can be found out before is.
	m := g.describe()
	if m.Volumes, err = g.saveShares(ctx, dir); err != nil {
		return err
	}
	if err := writeDescription(dir, m); err != nil {
		return err
	}
	if err := g.jail.forgetWritten(); err != nil {
		return err
	}
	kind := "Full"
	if diff {
		kind = "Diff"
	}
	tried = true
	if err := g.api.CreateSnapshot(ctx, api.Snapshot{Type: kind, State: "/" + newStateFile,
		Memory: "/" + newMemoryFile}); err != nil {
		return err
	}
	if err := g.keep(newStateFile, filepath.Join(dir, keptState)); err != nil {
		return fmt.Errorf("keep the state: %w", err)
	}
	return g.capture(ctx, filepath.Join(dir, keptDisk))
}

func (g *guest) describe() machine {
	return machine{Firecracker: g.programName(), Base: g.jail.Base, CPUs: virtualCPUs(g.spec.Resources.CPUCount),
		MemoryMB: g.spec.Resources.MemoryMB, Unlimited: g.jail.Unlimited}
}

func (g *guest) programName() string {
	p, err := g.driver.programOf(g.spec)
	if err != nil {
		return ""
	}
	return p.Name
}

func writeDescription(dir string, m machine) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, description), data, 0o600)
}

// untoldMark, beside the root of a jail, means that what has changed since the memory was last kept is not
// known. knownMemory is the directory of that.
const (
	untoldMark  = "untold-memory"
	knownMemory = "known-memory"
)

// forgetWritten removes what a checkpoint that was broken off has left, and has the next one write all of the
// memory, unless what is written now is kept.
func (j *jail) forgetWritten() error {
	for _, name := range []string{newStateFile, newMemoryFile} {
		if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.WriteFile(j.beside(untoldMark), nil, 0o600)
}

// resumeUnwritten lets a paused machine go on of which nobody knows that Firecracker has begun to write it. Without
// that, its virtio socket would bring nothing to the guest any more (see freeze.go), so it writes what nobody keeps.
func (j *jail) resumeUnwritten(ctx context.Context, client *api.Client) error {
	if err := j.forgetWritten(); err != nil {
		return errors.Join(err, client.Resume(ctx))
	}
	err := client.CreateSnapshot(ctx, api.Snapshot{Type: "Diff", State: "/" + newStateFile, Memory: "/" + newMemoryFile})
	return errors.Join(err, j.forgetWritten(), client.Resume(ctx))
}

// keepMemory makes what Firecracker has written the memory in a directory, and has the jail know that, so
// that the next time only changes need to be written. The first time after a boot, what was not written
// is zeros.
func (g *guest) keepMemory(ctx context.Context, to string, diff bool) error {
	written, known := g.jail.path(newMemoryFile), g.jail.beside(knownMemory)
	q := attendant.Keep{File: written, Dir: to}
	if diff && exists(known) {
		q.Parent = known
	}
	var err error
	if g.jail.Served {
		_, err = g.attendant().Ask(ctx, attendant.Request{Keep: &q})
	} else {
		_, err = page.Keep(ctx, to, page.Dump{File: q.File, Parent: q.Parent, Move: true,
			Durability: atomicfile.Volatile})
	}
	if err != nil {
		return err
	}
	if err := linkMemory(to, known); err != nil {
		return fmt.Errorf("know the memory: %w", err)
	}
	if err := os.Remove(written); err != nil && !errors.Is(err, fs.ErrNotExist) { // it has become the memory
		return err
	}
	return os.Remove(g.jail.beside(untoldMark))
}

// keep moves a file of the jail out of it.
func (g *guest) keep(name, to string) error {
	from := g.jail.path(name)
	if err := errors.Join(os.Chown(from, 0, 0), os.Chmod(from, 0o600)); err != nil {
		return err
	}
	return move(from, to)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// restore makes a machine of a checkpoint, and lets it go on.
func (g *guest) restore(ctx context.Context, checkpoint string, volumes []runtime.Volume) error {
	defer telemetry.Begin(ctx, "guest_restore")()
	m, err := readDescription(checkpoint)
	if err != nil {
		return err
	}
	room, ok := roomOf(m.Base)
	if !ok || baseName(g.spec.Root, room) != m.Base {
		return fmt.Errorf("%w: its disk belongs to other images", runtime.ErrUnfit)
	}
	if err := g.stand(room); err != nil {
		return err
	}
	if err := g.makeDisk(ctx, filepath.Join(checkpoint, keptDisk)); err != nil {
		return missing(err)
	}
	if err := place(filepath.Join(checkpoint, keptState), g.jail.path(stateFile)); err != nil {
		return missing(fmt.Errorf("put the checkpoint into the jail: %w", err))
	}
	memory, err := g.offerMemory(ctx, checkpoint)
	if err != nil {
		return missing(fmt.Errorf("offer the memory: %w", err))
	}
	asIs := m.Unlimited && g.jail.Unlimited // there is nothing to set before it runs
	err = g.api.LoadSnapshot(ctx, api.Load{State: "/" + stateFile, Dirty: true, Resume: asIs, Memory: memory,
		Networks: []api.Override{{Interface: card, Tap: g.tap}}})
	if err == nil && !asIs {
		if err = g.limit(ctx); err == nil {
			err = g.api.Resume(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("restore the guest: %w", err)
	}
	thawed, err := g.welcome(ctx, again(m, volumes))
	if err != nil {
		return err
	}
	if err := g.restoreShares(ctx, checkpoint, m, volumes); err != nil {
		return err
	}
	if !thawed {
		if _, err := g.ask(ctx, control.Request{Thaw: &control.Empty{}}); err != nil {
			return fmt.Errorf("let the guest's processes go on: %w", err)
		}
	}
	g.recordNeeds(ctx)
	return nil
}

// welcome tells a restored machine which guest it is now, and which volumes are about to be there. Processes that
// stood still in the checkpoint do so still if there are any of these.
func (g *guest) welcome(ctx context.Context, volumes []string) (thawed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.driver.opts.Patience+bootTime)
	defer cancel()
	renewal := g.renewal()
	renewal.Shares, renewal.Environment, renewal.Thaw = volumes, g.spec.First.Env, len(volumes) == 0
	answer, err := g.agent.await(ctx, control.Request{Resume: &renewal}, g.done)
	if err != nil {
		return false, fmt.Errorf("tell the guest that it is back: %w", err)
	}
	return answer.Thawed, nil
}

// limit sets the rates of this machine's devices, in place of those in the checkpoint.
func (g *guest) limit(ctx context.Context) error {
	unlimited := api.Limiter{Bandwidth: &api.Bucket{}, Ops: &api.Bucket{}}
	network, disk := limiter(g.driver.opts.Rates.Network), limiter(g.driver.opts.Rates.Disk)
	if network == nil {
		network = &unlimited
	}
	if disk == nil {
		disk = &unlimited
	}
	return errors.Join(g.api.LimitInterface(ctx, card, *network, *network), g.api.LimitDrive(ctx, rootDrive, *disk))
}

func readDescription(checkpoint string) (machine, error) {
	var m machine
	data, err := os.ReadFile(filepath.Join(checkpoint, description))
	if err != nil {
		return m, missing(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, shoal.ErrSnapshotDamaged.Wrap(err, "the description of the snapshot cannot be read")
	}
	return m, nil
}

// missing names an error of a file that is not there.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return shoal.ErrSnapshotMissing.Wrap(err, "a part of the snapshot is missing")
	}
	return err
}
