package share

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are the system calls that a server makes of its own accord, and those that Go's runtime makes for it.
// Others are refused with EPERM: among them all that open a file by a handle, make a program, or see another
// process.
var calls = append([]uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_PWRITEV2, unix.SYS_LSEEK, unix.SYS_CLOSE,
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_FSTAT, unix.SYS_FSTATFS, unix.SYS_GETDENTS64, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE,
	unix.SYS_COPY_FILE_RANGE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_READLINKAT,
	unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT,
	unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
	unix.SYS_GETXATTR, unix.SYS_SETXATTR, unix.SYS_LISTXATTR, unix.SYS_REMOVEXATTR,
	unix.SYS_FLOCK, unix.SYS_FCNTL,
	unix.SYS_CONNECT, unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT,
	unix.SYS_GETSOCKOPT, unix.SYS_SHUTDOWN,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2,
	unix.SYS_FUTEX, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_NANOSLEEP,
	unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_GETTIMEOFDAY, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_TGKILL,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_GETRANDOM, unix.SYS_RSEQ,
}, archCalls...)

// Where a filter finds what it decides by.
const (
	numberAt   = 0
	archAt     = 4
	argumentAt = 16 // the lower half of the first one
)

// installFilter has all threads make no other system calls. Sockets are of this machine; what is cloned is a
// thread.
func installFilter() error {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		all    = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K

		allow  = unix.SECCOMP_RET_ALLOW
		refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		// thread is what makes a clone a thread; others are the flags that make namespaces.
		thread = unix.CLONE_VM | unix.CLONE_THREAD
		others = unix.CLONE_NEWNS | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	)
	f := []unix.SockFilter{
		{Code: load, K: archAt}, {Code: equal, K: arch, Jt: 1}, {Code: answer, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: numberAt},
		{Code: equal, K: unix.SYS_SOCKET, Jf: 4}, {Code: load, K: argumentAt}, {Code: equal, K: unix.AF_UNIX, Jf: 1},
		{Code: answer, K: allow}, {Code: answer, K: refuse},
		{Code: equal, K: unix.SYS_CLONE, Jf: 5}, {Code: load, K: argumentAt}, {Code: all, K: thread | others},
		{Code: equal, K: thread, Jf: 1}, {Code: answer, K: allow}, {Code: answer, K: refuse},
		{Code: equal, K: unix.SYS_CLONE3, Jf: 1}, {Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	}
	for _, n := range calls {
		f = append(f, unix.SockFilter{Code: equal, K: n, Jf: 1}, unix.SockFilter{Code: answer, K: allow})
	}
	f = append(f, unix.SockFilter{Code: answer, K: refuse})
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}
