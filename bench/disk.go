package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// disk is a new ext4 file system, in a file of the host's disk. On the disk itself a new file
// takes several times as long where others were removed in the last minutes, by the last run
// or by anybody else, because ext4 looks past their inodes.
//
// It is mounted in a namespace of a process that waits for the end of its input. So it goes
// with this process, however that ends.
type disk struct {
	dir    string // where it is mounted, in that namespace
	holder *exec.Cmd
	input  io.Closer
}

const diskBytes = 6 << 30 // what is written takes room, a quarter of it

func newDisk(ctx context.Context, parent string) (*disk, error) {
	file, dir := filepath.Join(parent, "disk"), filepath.Join(parent, "twin")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, diskBytes), os.Mkdir(dir, 0o755)); err != nil {
		return nil, err
	}
	// Not lazily, which would write while something is measured.
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0",
		file).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a file system: %w\n%s", err, out)
	}
	d := &disk{dir: dir, holder: exec.Command("sh", "-c", `mount -o loop "$0" "$1" && echo mounted && exec cat`, file, dir)}
	d.holder.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	d.holder.Stderr = os.Stderr
	input, err := d.holder.StdinPipe()
	if err != nil {
		return nil, err
	}
	d.input = input
	output, err := d.holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.holder.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("mount a file system: %w", err), d.close())
	}
	return d, nil
}

// close unmounts it.
func (d *disk) close() error {
	return errors.Join(d.input.Close(), d.holder.Wait())
}

// path is where this process finds a file.
func (d *disk) path(name string) string {
	return filepath.Join("/proc", fmt.Sprint(d.holder.Process.Pid), "root", d.dir, name)
}

// inside is a command in its namespace.
func (d *disk) inside(ctx context.Context, args ...string) *exec.Cmd {
	mounts := fmt.Sprintf("--mount=/proc/%d/ns/mnt", d.holder.Process.Pid)
	return exec.CommandContext(ctx, "nsenter", append([]string{mounts}, args...)...)
}
