package guestinit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The guest's processes are in a group of their own, which is the root of all groups to them: they
// may make groups below it as they like, and freezing it freezes all of them.
const (
	cgroupRoot  = "/sys/fs/cgroup"
	guestGroup  = cgroupRoot + "/guest"
	controllers = "+cpu +memory +pids +io"
)

func prepareCgroups() error {
	if err := (mount{"cgroup2", cgroupRoot, "cgroup2", 0, ""}).make(); err != nil {
		return err
	}
	if err := os.Mkdir(guestGroup, 0o755); err != nil {
		return err
	}
	delegate(cgroupRoot)
	return nil
}

// delegate enables what controllers there are for the groups below one.
func delegate(group string) {
	for c := range strings.FieldsSeq(controllers) {
		_ = os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte(c), 0)
	}
}

func limitProcesses(most int) error {
	if most == 0 {
		return nil
	}
	err := os.WriteFile(filepath.Join(guestGroup, "pids.max"), []byte(strconv.Itoa(most)), 0)
	if err != nil {
		return fmt.Errorf("limit the guest's processes: %w", err)
	}
	return nil
}

// freezeTime bounds how long processes may take to stand still: one that waits for its disk does.
const freezeTime = 10 * time.Second

const freezer = guestGroup + "/cgroup.freeze"

// thaw lets the guest's processes go on, if they may stand still. The caller holds mu.
func (s *server) thaw() error {
	if !s.still {
		return nil
	}
	err := os.WriteFile(freezer, []byte("0"), 0)
	s.still = err != nil
	return err
}

// freeze has the guest's processes stand still, and waits until they do. The caller holds mu.
func (s *server) freeze() error {
	s.still = true
	if err := os.WriteFile(freezer, []byte("1"), 0); err != nil {
		return err
	}
	for deadline := time.Now().Add(freezeTime); ; time.Sleep(time.Millisecond) {
		events, err := os.ReadFile(filepath.Join(guestGroup, "cgroup.events"))
		if err != nil {
			return err
		}
		if bytes.Contains(events, []byte("frozen 1")) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("the guest's processes do not stand still")
		}
	}
}

// syncDisk writes all that the guest's processes have written.
func syncDisk() error {
	f, err := os.Open(rootDir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
