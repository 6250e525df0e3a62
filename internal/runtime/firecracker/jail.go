package firecracker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"shoal/internal/atomicfile"
	"shoal/internal/runtime"
	"shoal/internal/runtime/console"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/shoal"
)

// The files in a jail, by their names in its root.
const (
	apiSocket     = "api.sock"
	vsockSocket   = "v.sock"
	kernelFile    = "kernel"
	initrdFile    = "initrd"
	diskFile      = "disk"
	stateFile     = "state"       // of the checkpoint that the guest was restored from
	memoryFile    = "memory"      // its memory, where no attendant serves that
	memorySocket  = "memory.sock" // where an attendant does
	newStateFile  = "new-state"   // while a checkpoint is taken
	newMemoryFile = "new-memory"  // likewise
	pidFile       = "firecracker.pid"
)

// jail is where one Firecracker lives: what it needs to be found, ended and removed. It is written to
// the run directory before anything of it exists.
type jail struct {
	ID   string `json:"id"`  // of the guest
	Dir  string `json:"dir"` // removed as a whole
	UID  int    `json:"uid"`
	Base string `json:"base"` // of its disk
	PID  int    `json:"pid"`  // of Firecracker; 0 until it runs
	// Backend is the name by which the host's kernel knows its disk, Attendant the process that serves
	// that; "" and 0 if the disk is a file.
	Backend   string `json:"backend,omitempty"`
	Attendant int    `json:"attendant,omitempty"`
	// Unlimited means that its devices have no bounds of rates.
	Unlimited bool `json:"unlimited,omitempty"`
	// Served means that the attendant serves the guest's memory.
	Served bool `json:"served,omitempty"`
	// Shares are its volumes, Shared is how many servers these have had.
	Shares []sharedVolume `json:"shares,omitempty"`
	Shared int            `json:"shared,omitempty"`
}

// root is what Firecracker sees as its root.
func (j *jail) root() string { return filepath.Join(j.Dir, "root") }

func (j *jail) path(name string) string { return filepath.Join(j.root(), name) }

// beside is the path of a file that Firecracker does not see.
func (j *jail) beside(name string) string { return filepath.Join(j.Dir, name) }

// jailsDir is the directory of jails below a directory of writable layers; the jailer names it after
// the program.
const jailsDir = "firecracker"

// jailName is a guest's ID as jailers take it: letters, digits and hyphens. A hyphen doubles, so that
// no two IDs have one name.
func jailName(id string) string {
	return strings.ReplaceAll(strings.ReplaceAll(id, "-", "--"), "_", "-u")
}

// newJail reserves a user and writes down what will have to be removed.
func (d *Driver) newJail(s runtime.Spec) (*jail, error) {
	uid, err := d.users.take(s.ID)
	if err != nil {
		return nil, err
	}
	j := &jail{ID: s.ID, Dir: filepath.Join(s.UpperDir, jailsDir, jailName(s.ID)), UID: uid}
	if err := d.record(j); err != nil {
		return nil, errors.Join(err, d.users.give(uid))
	}
	if err := os.MkdirAll(j.root(), 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("make the jail: %w", err), d.removeJail(j))
	}
	return j, nil
}

func (d *Driver) recordPath(id string) string { return filepath.Join(d.opts.RunDir, id+".json") }

func (d *Driver) record(j *jail) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(d.recordPath(j.ID), data, 0o600, atomicfile.Volatile); err != nil {
		return fmt.Errorf("write the guest's record: %w", err)
	}
	return nil
}

// recorded reads what was written down of a guest. One of which nothing was is fs.ErrNotExist.
func (d *Driver) recorded(id string) (*jail, error) {
	data, err := os.ReadFile(d.recordPath(id))
	if err != nil {
		return nil, err
	}
	j := &jail{}
	if err := json.Unmarshal(data, j); err != nil || j.Dir == "" {
		return nil, fmt.Errorf("read the guest's record: %w", errors.Join(err, errors.New("it is damaged")))
	}
	return j, nil
}

// removeJail removes the files of a guest that has ended. The record goes last.
func (d *Driver) removeJail(j *jail) error {
	err := os.RemoveAll(j.Dir)
	_ = os.Remove(filepath.Dir(j.Dir)) // if it is empty
	err = errors.Join(err, d.users.give(j.UID))
	if err != nil {
		return fmt.Errorf("remove the jail: %w", err)
	}
	if err := os.Remove(d.recordPath(j.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// execute starts Firecracker in the jail and returns when its process exists. What it says goes to
// the console, with what the guest says there.
func (d *Driver) execute(ctx context.Context, j *jail, p program.Program, s runtime.Spec, output *os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	user := strconv.Itoa(j.UID)
	cmd := exec.CommandContext(ctx, p.JailerPath, "--id", jailName(s.ID), "--exec-file", p.Firecracker,
		"--uid", user, "--gid", user, "--chroot-base-dir", s.UpperDir, "--netns", s.Link.Namespace, "--new-pid-ns",
		"--cgroup-version", "2", "--parent-cgroup", filepath.Join(d.groups.parent, s.ID),
		"--", "--api-sock", "/"+apiSocket, "--level", "Error")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, output, output
	cmd.Env = []string{}
	group, err := d.groups.open(s.ID)
	if err != nil {
		return err
	}
	defer group.Close()
	// It must not be reached by signals for this process, which may end sooner.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Run(); err != nil {
		return shoal.ErrFirecrackerAPI.Wrap(fmt.Errorf("%w; it says: %s", err, said(console.Read(s.Dir))),
			"the jailer of Firecracker %s failed", p.Name)
	}
	data, err := os.ReadFile(j.path(pidFile))
	if err != nil {
		return fmt.Errorf("read the process ID of Firecracker: %w", err)
	}
	if j.PID, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return fmt.Errorf("read the process ID of Firecracker: %w", err)
	}
	return d.record(j)
}

// give lets the jail's user read and write a file in it.
func (j *jail) give(name string) error {
	if err := os.Chown(j.path(name), j.UID, j.UID); err != nil {
		return err
	}
	return os.Chmod(j.path(name), 0o600)
}

// usersDir has a file for each user ID that a jail has, so that two never share one, also while
// guests of an earlier process are still to be adopted.
const usersDir = "users"

// firstUser is the lowest ID of jails' users, of which there are maxUsers. None of them has a name.
const (
	firstUser = 1_400_000_000
	maxUsers  = 100_000
)

type users struct {
	dir  string
	mu   sync.Mutex
	next int
}

// take reserves an ID that no jail has, in turn.
func (u *users) take(guest string) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for range maxUsers {
		uid := firstUser + u.next%maxUsers
		u.next++
		f, err := os.OpenFile(filepath.Join(u.dir, strconv.Itoa(uid)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("reserve a user for the jail: %w", err)
		}
		_, err = f.WriteString(guest)
		return uid, errors.Join(err, f.Close())
	}
	return 0, errors.New("all users of jails are taken")
}

func (u *users) give(uid int) error {
	err := os.Remove(filepath.Join(u.dir, strconv.Itoa(uid)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
