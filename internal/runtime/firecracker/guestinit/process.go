package guestinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/control"
)

// The first process has namespaces of its own for processes, mounts and groups, so that it is
// process 1 and sees nothing of this program. It is started in two steps: this program executes
// itself in the namespaces, prepares them there (enter), and becomes the first process.

// first is what the second step is told, on its standard input.
type first struct {
	Args   []string `json:"args"`
	Env    []string `json:"env"`
	Memory int64    `json:"memory"` // the guest's, in bytes
}

// failures is the descriptor by which the second step says why it failed.
const failures = 3

// begin starts the first process and returns when it runs.
func begin(s *control.Start) (*os.Process, error) {
	group, err := os.Open(guestGroup)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	told, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer told.Close()
	cmd := exec.Cmd{Path: "/proc/self/exe", Args: []string{"init", stage}}
	input, err := json.Marshal(first{s.Args, s.Env, memory()})
	if err != nil {
		return nil, err
	}
	cmd.Stdin = strings.NewReader(string(input))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = []string{}
	cmd.ExtraFiles = []*os.File{tell}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd()),
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return nil, fmt.Errorf("start the first process: %w", err)
	}
	why, err := io.ReadAll(io.LimitReader(told, 4096)) // ends when it is executed
	if err != nil {
		return nil, err
	}
	if len(why) > 0 {
		return nil, errors.New(string(why))
	}
	return cmd.Process, nil
}

func memory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// enter is the second step. It does not return.
func enter() {
	runtime.LockOSThread() // whose namespaces are what a thread's are
	unix.CloseOnExec(failures)
	err := become()
	fmt.Fprint(os.NewFile(failures, "failures"), err)
	os.Exit(1)
}

func become() error {
	var f first
	if err := json.NewDecoder(os.Stdin).Decode(&f); err != nil {
		return fmt.Errorf("read what the first process is: %w", err)
	}
	if len(f.Args) == 0 {
		return errors.New("the first process has no program")
	}
	if err := prepareRoot(f.Memory); err != nil {
		return err
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	if err := unix.Dup3(null, 0, 0); err != nil {
		return err
	}
	unix.Close(null)
	limit := unix.Rlimit{Cur: openFiles, Max: openFilesMost}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit open files: %w", err)
	}
	unix.Umask(0o022)
	if err := unix.Exec(f.Args[0], f.Args, f.Env); err != nil {
		return fmt.Errorf("execute %s: %w", f.Args[0], err)
	}
	return nil
}

// Limits of open files, as guests under gVisor have them.
const (
	openFiles     = 65536
	openFilesMost = 1_048_576
)

// prepareRoot makes the disk the root, with the file systems of the kernel below it.
func prepareRoot(memory int64) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// The group's place is fixed when the namespace is made, which is why it is not made at once.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make a namespace of groups: %w", err)
	}
	nosuid := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	for _, m := range []mount{
		{"proc", "/proc", "proc", nosuid, ""},
		{"sysfs", "/sys", "sysfs", nosuid, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", nosuid, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=755"},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=620,ptmxmode=666,gid=5"},
		{"shm", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", memory/4)},
		{"mqueue", "/dev/mqueue", "mqueue", nosuid, ""},
	} {
		m.target = rootDir + m.target
		if err := m.make(); err != nil && m.kind != "mqueue" { // which some kernels lack
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, filepath.Join(rootDir, "dev", name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	ptmx := filepath.Join(rootDir, "dev/ptmx")
	if err := unix.Mount(filepath.Join(rootDir, "dev/pts/ptmx"), ptmx, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", ptmx, err)
	}
	// Its processes are in a group below their root, so that the root can have controllers.
	own := rootDir + "/sys/fs/cgroup"
	if err := os.Mkdir(own+"/init", 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.WriteFile(own+"/init/cgroup.procs", []byte("0"), 0); err != nil {
		return fmt.Errorf("enter the group of the first process: %w", err)
	}
	delegate(own)
	err := unix.Chdir(rootDir)
	if err == nil {
		err = unix.Mount(".", "/", "", unix.MS_MOVE, "")
	}
	if err == nil {
		err = unix.Chroot(".")
	}
	if err == nil {
		err = unix.Chdir("/")
	}
	if err != nil {
		return fmt.Errorf("make the disk the root: %w", err)
	}
	return nil
}
