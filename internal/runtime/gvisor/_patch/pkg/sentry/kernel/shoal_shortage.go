package kernel

import (
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/sentry/kernelmem"
	"gvisor.dev/gvisor/pkg/sentry/mm"
	"gvisor.dev/gvisor/pkg/sentry/usage"
)

// exitTime bounds how long an ended process is given to return its memory.
const exitTime = 2 * time.Second

// watchMemory ends processes of the guest when it has no memory left, as Linux does. The
// host would choose the kernel, which holds the memory of all.
func (k *Kernel) watchMemory() {
	var ending atomic.Bool
	kernelmem.OnShortage(func() {
		if ending.CompareAndSwap(false, true) {
			go func() {
				defer ending.Store(false)
				k.relieve()
			}()
		}
	})
}

// relieve ends a process if the guest uses more than it has.
func (k *Kernel) relieve() {
	if used, err := k.mf.TotalUsage(); err == nil && used > usage.MaximumTotalMemoryBytes {
		k.EndLargest()
	}
}

// EndLargest ends the process that uses most memory, and waits until the host has most of it
// back, which happens in the background, and not for what is shared. It returns the process's
// ID, its name and what was resident of it in bytes; 0 is no process.
func (k *Kernel) EndLargest() (pid ThreadID, name string, bytes int64) {
	var largest *ThreadGroup
	var most int64
	for _, tg := range k.RootPIDNamespace().ThreadGroups() {
		if score := k.memoryScore(tg); score > most {
			largest, most = tg, score
		}
	}
	if largest == nil {
		return 0, "", 0
	}
	pid, bytes = k.RootPIDNamespace().IDOfThreadGroup(largest), residentOf(k, largest)
	if leader := largest.Leader(); leader != nil {
		name = leader.Name()
	}
	before, _ := k.mf.TotalUsage()
	largest.SendSignal(&linux.SignalInfo{Signo: int32(linux.SIGKILL), Code: linux.SI_KERNEL})
	for deadline := time.Now().Add(exitTime); time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		now, err := k.mf.TotalUsage()
		if residentOf(k, largest) == 0 && (err != nil || int64(before)-int64(now) > bytes/2) {
			break
		}
	}
	return pid, name, bytes
}

// memoryScore is what a process uses, in bytes, weighed by its own wish as Linux does; 0 if
// it must not be ended or has nothing to return.
func (k *Kernel) memoryScore(tg *ThreadGroup) int64 {
	adjust := int64(tg.oomScoreAdj.Load())
	if tg == k.GlobalInit() || adjust == -1000 {
		return 0
	}
	used := residentOf(k, tg)
	if used == 0 {
		return 0
	}
	return max(used+adjust*int64(usage.MaximumTotalMemoryBytes/1000), 1)
}

// residentOf is what is resident of a process, in bytes; 0 if it has ended.
func residentOf(k *Kernel, tg *ThreadGroup) int64 {
	m := memoryOf(tg)
	if m == nil {
		return 0
	}
	defer m.DecUsers(k.SupervisorContext())
	return int64(m.ResidentSetSize())
}

// memoryOf returns the memory of a process, which the caller must release by DecUsers; nil if
// it has ended.
func memoryOf(tg *ThreadGroup) *mm.MemoryManager {
	var found *mm.MemoryManager
	tg.ForEachTask(func(t *Task) bool {
		t.WithMuLocked(func(t *Task) {
			if m := t.MemoryManager(); m != nil && m.IncUsers() {
				found = m
			}
		})
		return found == nil
	})
	return found
}
