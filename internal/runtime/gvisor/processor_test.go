package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/sentry/platform/systrap/sysmsg"
)

// TestHome: with two processors, what runs a guest's program is bound to one while it alternates
// with the kernel, and to none while threads of the guest work side by side.
func TestHome(t *testing.T) {
	if goruntime.NumCPU() != 2 {
		t.Skip("needs two processors")
	}
	b := newHost(t).start("home", "")
	b.Want("/alternate", "ok")
	b.await("bound to one processor", func(bound int) bool { return bound > 0 })
	b.Want("/burn", "ok")
	b.await("bound to no processor", func(bound int) bool { return bound == 0 })
}

// await waits until the number of the guest's threads that may use one processor only is as
// wanted. The guest's programs run in processes that are not the kernel's.
func (b *booted) await(what string, wanted func(bound int) bool) {
	t := b.host.T
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		bound := 0
		for _, pid := range b.host.driver.cgroups.processes(b.Spec.ID) {
			if pid == b.guest().pid {
				continue
			}
			tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
			for _, task := range tasks {
				var set unix.CPUSet
				tid, _ := strconv.Atoi(filepath.Base(task))
				if unix.SchedGetaffinity(tid, &set) == nil && set.Count() == 1 {
					bound++
				}
			}
		}
		if wanted(bound) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads are bound to one processor, want %s", bound, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestCPUID: a guest asks the processor itself what it is, here for the name of the hypervisor,
// which gVisor does not tell. To have each question trapped would make every handover write a
// register of the processor, which a virtual machine has to emulate.
func TestCPUID(t *testing.T) {
	if host, err := os.ReadFile("/proc/cpuinfo"); err != nil || !strings.Contains(string(host), " hypervisor") {
		t.Skip("there is no hypervisor to ask for")
	}
	b := newHost(t).start("cpuid", "")
	if status, name := b.Ask("/call?name=hypervisor"); status != 200 || strings.Trim(name, "\x00") == "" {
		t.Errorf("the hypervisor: %d %q", status, name)
	}
}

// TestHandlerCopies: the handler of a guest's signals has the memcpy that is replaced there.
func TestHandlerCopies(t *testing.T) {
	if goruntime.GOARCH == "amd64" && !sysmsg.CopyAsAWhole(slices.Clone(sysmsg.SighandlerBlob)) {
		t.Error("gVisor's handler of signals has another memcpy; see _patch/pkg/sentry/platform/systrap/sysmsg")
	}
}
