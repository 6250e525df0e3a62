// Package guestinit is the first program of a microVM. It lies in the initial root file system that
// Shoal gives to the guest's kernel, so nothing in an image can be in its way: an image needs no init
// of its own. It loads what drivers the kernel lacks, mounts the disk, sets up the network, runs the
// guest's first process in namespaces of its own, and does what the host asks (package control).
//
// It stays outside of what the guest's processes see: they cannot end, trace or imitate it.
package guestinit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/program/bootline"
)

const (
	rootDir    = "/root"    // where the disk is mounted
	modulesDir = "/modules" // of the kernel, in the order of their names
	disk       = "/dev/vda"
	console    = "/dev/console"
)

// stage is the argument by which the program is what prepares the first process's namespaces.
const stage = "first-process"

// Main is the program. It does not return.
func Main() {
	// There is little to collect, and the guest's memory is for others.
	debug.SetGCPercent(20)
	if len(os.Args) > 1 && os.Args[1] == stage {
		enter()
	}
	if err := boot(); err != nil {
		say("%v", err)
		shutDown()
	}
	serve()
}

// say writes a line to the console, which the host keeps the end of.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "init: "+format+"\n", args...)
}

// boot brings the machine to where the host can ask for the first process.
func boot() error {
	for _, m := range []mount{{"devtmpfs", "/dev", "devtmpfs", 0, ""}, {"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""}} {
		if err := m.make(); err != nil {
			return err
		}
	}
	if err := takeConsole(); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := mountDisk(); err != nil {
		return err
	}
	return prepareCgroups()
}

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func (m mount) make() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data)
	if err != nil && !errors.Is(err, unix.EBUSY) { // some kernels mount devtmpfs themselves
		return fmt.Errorf("mount %s at %s: %w", m.kind, m.target, err)
	}
	return nil
}

// takeConsole makes the console the program's output: a kernel that found none when it began left
// the program without.
func takeConsole() error {
	fd, err := unix.Open(console, unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil // the guest runs without one
	}
	for to := range 3 {
		if err := unix.Dup3(fd, to, 0); err != nil && fd != to {
			return err
		}
	}
	return nil
}

// loadModules loads the kernel's modules and frees the memory that their files take.
func loadModules() error {
	files, err := filepath.Glob(filepath.Join(modulesDir, "*.ko"))
	if err != nil {
		return err
	}
	for _, file := range files { // sorted
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", filepath.Base(file), err)
		}
	}
	return os.RemoveAll(modulesDir)
}

// diskTime bounds the wait for the disk after its driver was loaded.
const diskTime = 10 * time.Second

func mountDisk() error {
	for deadline := time.Now().Add(diskTime); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(disk); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return errors.New(bootline.NoDisk)
		}
	}
	return mount{disk, rootDir, "ext4", unix.MS_NOATIME, "discard"}.make()
}

// shutDown writes what is to be written and ends the machine.
func shutDown() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {} // the machine is gone
}
