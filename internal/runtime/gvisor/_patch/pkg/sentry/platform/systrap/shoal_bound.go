package systrap

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/atomicbitops"
	"gvisor.dev/gvisor/pkg/hostsyscall"
)

// bound has the threads that may run at home only.
var bound struct {
	// kept has, at a thread's ID modulo its length, that ID and the thread's home, so that mostly
	// no lock is needed to know where a thread is bound to.
	kept [256]atomicbitops.Uint64

	// mu is held while threads are bound or let go. It comes before subprocess.sysmsgThreadsMu.
	mu sync.Mutex
	// +checklocks:mu
	kernel map[int32]struct{} // threads of the kernel, by ID
	// +checklocks:mu
	guest map[*subprocess]struct{}
}

// goHome binds the calling thread and those of s, which are about to alternate.
func (s *subprocess) goHome() {
	at := home.processor.Load()
	if at == anywhere {
		return
	}
	tid, _ := hostsyscall.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	if at == undecided || s.home.Load() != at || bound.kept[tid%256].Load() != boundTo(int32(tid), at) {
		s.bindHome(int32(tid))
	}
}

func boundTo(tid, at int32) uint64 { return uint64(uint32(tid))<<32 | uint64(uint32(at)) }

func (s *subprocess) bindHome(tid int32) {
	bound.mu.Lock()
	defer bound.mu.Unlock()
	at := home.processor.Load()
	if at == undecided {
		var cpu uint32
		hostsyscall.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
		at = int32(cpu) + 1
		if !home.processor.CompareAndSwap(undecided, at) {
			return
		}
	}
	if at == anywhere {
		return
	}
	bind(tid, at)
	if bound.kernel == nil {
		bound.kernel, bound.guest = map[int32]struct{}{}, map[*subprocess]struct{}{}
	}
	bound.kernel[tid] = struct{}{}
	bound.kept[tid%256].Store(boundTo(tid, at))
	if s.home.Load() != at {
		s.bindAll(at)
		bound.guest[s] = struct{}{}
	}
}

// leaveHome lets all threads run anywhere.
func leaveHome() {
	bound.mu.Lock()
	defer bound.mu.Unlock()
	home.processor.Store(anywhere)
	for tid := range bound.kernel {
		bind(tid, anywhere)
		bound.kept[tid%256].Store(0)
	}
	clear(bound.kernel)
	for s := range bound.guest {
		s.bindAll(anywhere)
	}
	clear(bound.guest)
}

// bindAll binds the threads of s. The caller holds bound.mu.
func (s *subprocess) bindAll(at int32) {
	bind(int32(s.syscallThread.thread.tid), at)
	s.sysmsgThreadsMu.RLock()
	defer s.sysmsgThreadsMu.RUnlock()
	for _, t := range s.sysmsgThreads {
		bind(int32(t.thread.tid), at)
	}
	s.home.Store(at)
}

// bindNew binds a thread that s has begun meanwhile. It was bound like the one that made it,
// which may have been let go since.
func (s *subprocess) bindNew(t *thread) {
	if !home.exists {
		return
	}
	bound.mu.Lock()
	defer bound.mu.Unlock()
	bind(int32(t.tid), s.home.Load())
}

// bind lets a thread run there only. A thread that is gone is no error.
func bind(tid, at int32) {
	set := home.all
	if at != anywhere {
		set.Zero()
		set.Set(int(at - 1))
	}
	hostsyscall.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
}
