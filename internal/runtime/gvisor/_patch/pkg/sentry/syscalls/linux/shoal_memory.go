package linux

import (
	"gvisor.dev/gvisor/pkg/errors"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/kernelmem"
)

// bounded are system calls that make the kernel keep something for the guest, with what they
// answer when the kernel may keep no more. Creating files is refused by tmpfs, and opening
// them by vfs. The guest's first process, its daemon, may go on: it starts the commands that
// make room.
var bounded = map[string]struct {
	refuse func() bool
	err    *errors.Error
}{
	"socket":            {kernelmem.Tight, linuxerr.ENFILE},
	"socketpair":        {kernelmem.Tight, linuxerr.ENFILE},
	"pipe":              {kernelmem.Tight, linuxerr.ENFILE},
	"pipe2":             {kernelmem.Tight, linuxerr.ENFILE},
	"epoll_create":      {kernelmem.Tight, linuxerr.ENFILE},
	"epoll_create1":     {kernelmem.Tight, linuxerr.ENFILE},
	"eventfd2":          {kernelmem.Tight, linuxerr.ENFILE},
	"memfd_create":      {kernelmem.Tight, linuxerr.ENFILE},
	"inotify_init1":     {kernelmem.Tight, linuxerr.ENFILE},
	"inotify_add_watch": {kernelmem.Crowded, linuxerr.ENOSPC},
	"semget":            {kernelmem.Crowded, linuxerr.ENOSPC},
	"msgget":            {kernelmem.Crowded, linuxerr.ENOSPC},
	"shmget":            {kernelmem.Crowded, linuxerr.ENOSPC},
	"mount":             {kernelmem.Tight, linuxerr.ENOSPC},
	"unshare":           {kernelmem.Tight, linuxerr.ENOSPC},
	"setxattr":          {kernelmem.Crowded, linuxerr.ENOSPC},
	"lsetxattr":         {kernelmem.Crowded, linuxerr.ENOSPC},
	"fsetxattr":         {kernelmem.Crowded, linuxerr.ENOSPC},
	"clone":             {kernelmem.Drained, linuxerr.EAGAIN},
	"clone3":            {kernelmem.Drained, linuxerr.EAGAIN},
	"fork":              {kernelmem.Drained, linuxerr.EAGAIN},
	"vfork":             {kernelmem.Drained, linuxerr.EAGAIN},
	"accept":            {kernelmem.Drained, linuxerr.ENFILE},
	"accept4":           {kernelmem.Drained, linuxerr.ENFILE},
	"epoll_ctl":         {kernelmem.Drained, linuxerr.ENOSPC},
	"timer_create":      {kernelmem.Drained, linuxerr.EAGAIN},
	"mmap":              {kernelmem.Drained, linuxerr.ENOMEM},
	"mprotect":          {kernelmem.Drained, linuxerr.ENOMEM},
	"sendto":            {kernelmem.Drained, linuxerr.ENOBUFS},
	"sendmsg":           {kernelmem.Drained, linuxerr.ENOBUFS},
	"sendmmsg":          {kernelmem.Drained, linuxerr.ENOBUFS},
	"mq_open":           {kernelmem.Crowded, linuxerr.ENOSPC},
	"msgsnd":            {kernelmem.Drained, linuxerr.ENOMEM},
}

// The tables are changed before init registers them.
var _ = boundTable(AMD64) && boundTable(ARM64)

func boundTable(table *kernel.SyscallTable) bool {
	for number, call := range table.Table {
		bound, ok := bounded[call.Name]
		if !ok {
			continue
		}
		unbounded := call.Fn
		call.Fn = func(t *kernel.Task, sysno uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			if bound.refuse() && !first(t) {
				return 0, nil, bound.err
			}
			return unbounded(t, sysno, args)
		}
		table.Table[number] = call
	}
	return true
}

// first reports whether a task is of the guest's first process.
func first(t *kernel.Task) bool {
	return t.ThreadGroup() == t.Kernel().GlobalInit()
}
