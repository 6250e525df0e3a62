package firecracker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker/control"
	"shoal/internal/runtime/firecracker/share"
	"shoal/internal/telemetry"
)

// A volume is served to a guest by a process of its own (package share), which is in the guest's cgroup and ends
// with it. It connects to the guest's first program by itself, also after a checkpoint, which ends all
// connections; so it outlives the process that started it.

// sharedVolume is a volume of a guest, as its jail's record has it.
type sharedVolume struct {
	ID   string `json:"id"`
	Path string `json:"path"`
	// Name is what its files beside the root of the jail begin with.
	Name string `json:"name"`
	PID  int    `json:"pid"` // of the process that serves it
}

// shareFiles is what the names of all of them begin with.
const shareFiles = "share-"

func (v sharedVolume) socket(j *jail) string { return j.beside(v.Name + ".sock") }

// keptVolume describes a volume in a checkpoint. File is what its server knew of the guest's files; empty if no
// server could be asked.
type keptVolume struct {
	ID   string `json:"id"`
	Path string `json:"path"`
	File string `json:"file,omitempty"`
}

// keptVolumeFiles is what the names of those files begin with.
const keptVolumeFiles = "volume-"

// mountTime bounds the wait for a volume's file system, beside that for the guest.
const mountTime = 10 * time.Second

// Mount starts a process that serves the volume, unless there is one, and has the guest mount it.
func (g *guest) Mount(ctx context.Context, v runtime.Volume) error {
	defer telemetry.Begin(ctx, "volume_mount")()
	g.changing.Lock()
	defer g.changing.Unlock()
	frozen, err := g.isFrozen()
	if err != nil {
		return err
	}
	if g.serves(ctx, v) {
		return nil
	}
	err = g.awake(ctx, frozen, func() error { return g.giveVolume(ctx, v, "", true) })
	if err != nil {
		return g.unlessGone(fmt.Errorf("mount the volume %s: %w", v.ID, err))
	}
	return nil
}

// serves tells whether a volume has a process that serves it to the guest at its path.
func (g *guest) serves(ctx context.Context, v runtime.Volume) bool {
	at := slices.IndexFunc(g.jail.Shares, func(s sharedVolume) bool { return s.ID == v.ID && s.Path == v.Path })
	if at < 0 || !g.driver.groups.has(g.spec.ID, g.jail.Shares[at].PID) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, mountTime)
	defer cancel()
	a, err := share.Ask(ctx, g.jail.Shares[at].socket(g.jail), share.Question{})
	return err == nil && !a.Refused
}

// giveVolume has a process of its own serve a volume, and returns when the guest has it. state is the path of
// what an earlier one knew; mount has the guest mount it if it is not.
func (g *guest) giveVolume(ctx context.Context, v runtime.Volume, state string, mount bool) error {
	if err := g.endShares(func(s sharedVolume) bool { return s.ID == v.ID || s.Path == v.Path }); err != nil {
		return err
	}
	s := sharedVolume{ID: v.ID, Path: v.Path, Name: g.nextShare()}
	hello := control.Share{ID: v.ID, Path: v.Path, Mounted: !mount}
	done, err := g.startShare(&s, v, hello, state)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mountTime+g.driver.opts.Patience)
	defer cancel()
	if err := share.AwaitConnection(ctx, s.socket(g.jail), done); err != nil {
		endErr := g.endShares(func(other sharedVolume) bool { return other.Name == s.Name })
		return errors.Join(fmt.Errorf("%w; its server says: %s", err, g.jail.lastWords(s.Name)), endErr)
	}
	return nil
}

// nextShare is a name that no server of the guest has had.
func (g *guest) nextShare() string {
	g.jail.Shared++
	return fmt.Sprintf("%s%d", shareFiles, g.jail.Shared)
}

// startShare starts a server in the guest's cgroup.
func (g *guest) startShare(s *sharedVolume, v runtime.Volume, hello control.Share, state string) (<-chan struct{}, error) {
	d, j := g.driver, g.jail
	first, err := json.Marshal(control.Request{Share: &hello})
	if err != nil {
		return nil, err
	}
	hello.Mounted = true
	again, err := json.Marshal(control.Request{Share: &hello})
	if err != nil {
		return nil, err
	}
	var done <-chan struct{}
	s.PID, done, err = d.startServer(j, server{command: share.Command, name: s.Name, unshare: share.Unshare,
		config: share.Config{Dir: v.Dir, Guest: j.path(vsockSocket), Port: control.Port, Hello: string(first) + "\n",
			Again: string(again) + "\n", Socket: s.socket(j), State: state, Bytes: v.Bytes, Counter: v.Counter}})
	if err != nil {
		return nil, fmt.Errorf("start the server of a volume: %w", err)
	}
	j.Shares = append(j.Shares, *s)
	return done, d.record(j)
}

// endShares ends servers of the guest, and forgets them.
func (g *guest) endShares(which func(sharedVolume) bool) error {
	var rest []sharedVolume
	for _, s := range g.jail.Shares {
		if !which(s) {
			rest = append(rest, s)
		} else if s.PID != 0 && g.driver.groups.has(g.spec.ID, s.PID) {
			_ = unix.Kill(s.PID, unix.SIGKILL) // it may just have ended
		}
	}
	if len(rest) == len(g.jail.Shares) {
		return nil
	}
	g.jail.Shares = rest
	return g.driver.record(g.jail)
}

// endUnknownShares ends servers that were started by a process that ended before it wrote that down.
func (g *guest) endUnknownShares() {
	for _, pid := range g.driver.groups.processes(g.spec.ID) {
		if slices.ContainsFunc(g.jail.Shares, func(s sharedVolume) bool { return s.PID == pid }) {
			continue
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(line), g.jail.beside(shareFiles)) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// saveTime bounds how long a server may take to say what it knows.
const saveTime = 20 * time.Second

// saveShares writes what the servers of the guest's volumes know, and has them wait until goOnShares. The guest's
// machine stands still. What a server that is away knew is lost.
func (g *guest) saveShares(ctx context.Context, dir string) ([]keptVolume, error) {
	var all []keptVolume
	for _, s := range g.jail.Shares {
		kept := keptVolume{ID: s.ID, Path: s.Path}
		asking, cancel := context.WithTimeout(ctx, saveTime)
		a, err := share.Ask(asking, s.socket(g.jail), share.Question{Save: true})
		cancel()
		switch {
		case err != nil || a.State == nil:
			g.driver.log.Warn("the server of a volume is away; what a guest has open in it is not kept", "guest", g.spec.ID,
				"volume", s.ID, "error", err)
		default:
			data, err := json.Marshal(a.State)
			if err != nil {
				return nil, err
			}
			kept.File = keptVolumeFiles + digest([]byte(s.ID))
			if err := os.WriteFile(filepath.Join(dir, kept.File), data, 0o600); err != nil {
				return nil, err
			}
		}
		all = append(all, kept)
	}
	return all, nil
}

// goOnShares lets servers connect again.
func (g *guest) goOnShares(ctx context.Context) {
	for _, s := range g.jail.Shares {
		asking, cancel := context.WithTimeout(ctx, saveTime)
		_, err := share.Ask(asking, s.socket(g.jail), share.Question{GoOn: true})
		cancel()
		if err != nil {
			g.driver.log.Warn("the server of a volume is away", "guest", g.spec.ID, "volume", s.ID, "error", err)
		}
	}
}

// again are the volumes of a checkpoint that a guest has again, by their IDs.
func again(m machine, volumes []runtime.Volume) (ids []string) {
	for _, v := range volumes {
		if slices.ContainsFunc(m.Volumes, func(k keptVolume) bool { return k.ID == v.ID && k.Path == v.Path }) {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// restoreShares has the volumes of a checkpoint served again that are given. One that cannot be is an error to
// the guest who uses it.
func (g *guest) restoreShares(ctx context.Context, checkpoint string, m machine, volumes []runtime.Volume) error {
	for _, v := range volumes {
		at := slices.IndexFunc(m.Volumes, func(k keptVolume) bool { return k.ID == v.ID && k.Path == v.Path })
		if at < 0 {
			continue
		}
		state := ""
		if name := m.Volumes[at].File; name != "" && filepath.Base(name) == name {
			state = filepath.Join(checkpoint, name)
		}
		if err := g.giveVolume(ctx, v, state, false); err != nil {
			if g.ended() || ctx.Err() != nil {
				return cmp.Or(ctx.Err(), runtime.ErrGone)
			}
			g.driver.log.Warn("a guest is back without a volume", "guest", g.spec.ID, "volume", v.ID, "error", err)
		}
	}
	return nil
}
