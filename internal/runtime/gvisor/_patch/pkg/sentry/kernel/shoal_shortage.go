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
				k.endLargest()
			}()
		}
	})
}

// endLargest ends the process that uses most memory, and waits until it has returned it.
func (k *Kernel) endLargest() {
	before, err := k.mf.TotalUsage()
	if err != nil || before <= usage.MaximumTotalMemoryBytes {
		return
	}
	var largest *ThreadGroup
	var most int64
	for _, tg := range k.RootPIDNamespace().ThreadGroups() {
		if score := k.memoryScore(tg); score > most {
			largest, most = tg, score
		}
	}
	if largest == nil {
		return
	}
	largest.SendSignal(&linux.SignalInfo{Signo: int32(linux.SIGKILL), Code: linux.SI_KERNEL})
	for deadline := time.Now().Add(exitTime); time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		if k.memoryScore(largest) == 0 {
			return
		}
	}
}

// memoryScore is what a process uses, in bytes, weighed by its own wish as Linux does; 0 if
// it must not be ended or has nothing to return.
func (k *Kernel) memoryScore(tg *ThreadGroup) int64 {
	adjust := int64(tg.oomScoreAdj.Load())
	if tg == k.GlobalInit() || adjust == -1000 {
		return 0
	}
	m := memoryOf(tg)
	if m == nil {
		return 0
	}
	defer m.DecUsers(k.SupervisorContext())
	used := int64(m.ResidentSetSize())
	if used == 0 {
		return 0
	}
	return max(used+adjust*int64(usage.MaximumTotalMemoryBytes/1000), 1)
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
