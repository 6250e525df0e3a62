package process

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The standard library's fork resets every signal handler by a system call of its own,
// sixty of them, in the child, and reports a failure through a pipe. In a guest, where a
// call costs 25 µs and more, that is most of what a start costs. Here the kernel resets the
// handlers (CLONE_CLEAR_SIGHAND, Linux 5.5) and the child, which has our memory until it
// executes its program, leaves its error there.

// program is what a child executes, made before the fork: afterwards nothing may be
// allocated.
type program struct {
	path *byte
	argv []*byte // with nil at the end
	envv []*byte
	dir  *byte

	stdio stdio // none below 3, or one would replace another
	tty   bool  // stdio is a terminal and shall control the session

	credentials bool // uid, gid and groups count
	uid, gid    uint32
	groups      []uint32

	signals uint64 // the mask of blocked signals that the program begins with: none
	errno   uintptr
}

func newProgram(path string, argv, env []string, dir string) (*program, error) {
	p := &program{}
	var errs [4]error
	p.path, errs[0] = syscall.BytePtrFromString(path)
	p.argv, errs[1] = syscall.SlicePtrFromStrings(argv)
	p.envv, errs[2] = syscall.SlicePtrFromStrings(env)
	p.dir, errs[3] = syscall.BytePtrFromString(dir)
	return p, errors.Join(errs[:]...)
}

// start forks and executes, and returns the child's process ID. The error is a
// syscall.Errno, of the fork or of what the child did before and by its execve.
func (p *program) start() (int, error) {
	for _, fd := range p.stdio {
		if fd < len(p.stdio) {
			return 0, syscall.EBADF
		}
	}
	// Descriptors that are not yet marked to be closed must not reach the child.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	args := &cloneArgs{flags: unix.CLONE_VFORK | unix.CLONE_VM | unix.CLONE_CLEAR_SIGHAND,
		exitSignal: uint64(syscall.SIGCHLD)}
	pid, errno := p.fork(args)
	afterFork()
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, syscall.Errno(errno)
	}
	if p.errno == 0 {
		return int(pid), nil
	}
	for { // the child has ended by itself
		if _, err := syscall.Wait4(int(pid), nil, 0, nil); err != syscall.EINTR {
			return 0, syscall.Errno(p.errno)
		}
	}
}

// fork returns in the parent only, which must do nothing else here: the child has used the
// same frame. What runs in the child allocates nothing, takes no lock and does not grow the
// stack, which the runtime checks; all signals are blocked until its end.
//
//go:noinline
//go:norace
//go:nocheckptr
func (p *program) fork(args *cloneArgs) (pid, errno uintptr) {
	beforeFork()
	pid, errno = vfork(args, unsafe.Sizeof(*args))
	if errno != 0 || pid != 0 {
		return pid, errno
	}

	var err syscall.Errno
	if _, _, err = syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0); err != 0 {
		goto failed
	}
	if p.credentials {
		var groups unsafe.Pointer
		if len(p.groups) > 0 {
			groups = unsafe.Pointer(&p.groups[0])
		}
		_, _, err = syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(p.groups)), uintptr(groups), 0)
		if err != 0 {
			goto failed
		}
		if _, _, err = syscall.RawSyscall(syscall.SYS_SETGID, uintptr(p.gid), 0, 0); err != 0 {
			goto failed
		}
		if _, _, err = syscall.RawSyscall(syscall.SYS_SETUID, uintptr(p.uid), 0, 0); err != 0 {
			goto failed
		}
	}
	if _, _, err = syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(p.dir)), 0, 0); err != 0 {
		goto failed
	}
	for i := range p.stdio {
		if _, _, err = syscall.RawSyscall(syscall.SYS_DUP3, uintptr(p.stdio[i]), uintptr(i), 0); err != 0 {
			goto failed
		}
	}
	if p.tty {
		if _, _, err = syscall.RawSyscall(syscall.SYS_IOCTL, 0, syscall.TIOCSCTTY, 0); err != 0 {
			goto failed
		}
	}
	_, _, err = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&p.signals)), 0, unsafe.Sizeof(p.signals), 0, 0)
	if err != 0 {
		goto failed
	}
	_, _, err = syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)),
		uintptr(unsafe.Pointer(&p.argv[0])), uintptr(unsafe.Pointer(&p.envv[0])))

failed:
	p.errno = uintptr(err)
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 127, 0, 0)
	}
}

// cloneArgs is struct clone_args in its first version.
type cloneArgs struct {
	flags, _, _, _, exitSignal, _, _, _ uint64
}

// vfork is clone3. The child's calls overwrite the return address on the stack that
// both use, so it is kept in a register.
func vfork(args *cloneArgs, size uintptr) (pid, errno uintptr)

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()
