package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/console"
)

// TestLastWords: the console keeps how a kernel ended, and what it wrote then.
func TestLastWords(t *testing.T) {
	h := newHost(t)
	for sig, want := range map[unix.Signal]string{
		unix.SIGKILL: "the sandbox kernel was ended by a signal: killed",
		unix.SIGSEGV: "the sandbox kernel ended with exit code", // passed on to the first process
	} {
		b := h.start("last-words", "")
		b.Want("/count", "1")
		pid := b.guest().pid
		stderr, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", pid), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(stderr, "panic: of the kernel")
		stderr.Close()
		if err := unix.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		b.Ends(fmt.Sprintf("signal %v", sig))
		for _, text := range []string{want, "its last words: panic: of the kernel"} {
			if !strings.Contains(b.Console(), text) {
				t.Errorf("after %v the console lacks %q:\n%s", sig, text, b.Console())
			}
		}
	}
}

// TestLinksAreNoDirectories: programs that remove trees with care open a directory and
// refuse links. They must not be given the directory that a link leads to.
func TestLinksAreNoDirectories(t *testing.T) {
	b := newHost(t).start("links", "")
	b.Want("/open?path=/proc/self/", "ok") // the slash makes it follow the link
	b.Want("/open?path=/proc", "ok")
	for _, link := range []string{"/proc/self", "/proc/self/cwd", "/proc/self/root"} {
		if status, text := b.Ask("/open?path=" + link); status != 500 ||
			!strings.Contains(text, "not a directory") {
			t.Errorf("opening %s: %d %s", link, status, text)
		}
	}
}

// TestBackground: when both want the whole processor, a guest in the background gets less
// of it than another. Both have one processor: across several, their threads may be spread
// so that the host's scheduler has nothing to share out.
func TestBackground(t *testing.T) {
	h := newHost(t)
	onOneProcessor(t)
	var guests [2]*booted
	var used [2]float64
	for n, id := range []string{"front", "back"} {
		spec, slot := h.Spec(id)
		spec.Background = id == "back"
		guests[n] = h.boot(spec, slot, "")
		guests[n].Want("/burn", "ok")
	}
	read := func(sign float64) {
		for n, b := range guests {
			used[n] += sign * b.CPUTime().Seconds()
		}
	}
	read(-1)
	time.Sleep(3 * time.Second) // some hundred time slices
	read(+1)
	if front, back := used[0], used[1]; back <= 0 || front < 2*back {
		t.Errorf("the guest in front used %.2f s of the processor, the one in the background %.2f s", front, back)
	}
	if err := guests[1].Foreground(); err != nil {
		t.Fatal(err)
	}
	used = [2]float64{}
	read(-1)
	time.Sleep(3 * time.Second)
	read(+1)
	if one, other := used[0], used[1]; one > 1.5*other {
		t.Errorf("both are in front, and one used %.2f s of the processor, the other %.2f s", one, other)
	}
}

// onOneProcessor has this process, and the guests that it starts, use the first processor that
// it may use, until the test ends.
func onOneProcessor(t *testing.T) {
	t.Helper()
	var mine, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !mine.IsSet(cpu) {
		cpu++
	}
	first.Set(cpu)
	use := func(set *unix.CPUSet) {
		for moved := true; moved; { // threads may be created while others are moved
			moved = false
			tasks, _ := filepath.Glob("/proc/self/task/*")
			for _, task := range tasks {
				var its unix.CPUSet
				tid, _ := strconv.Atoi(filepath.Base(task))
				if err := unix.SchedGetaffinity(tid, &its); err == nil && its != *set {
					moved = unix.SchedSetaffinity(tid, set) == nil || moved
				}
			}
		}
	}
	use(&first)
	t.Cleanup(func() { use(&mine) })
}

// TestConsoleIsBounded: root in the guest may write to the console without end.
func TestConsoleIsBounded(t *testing.T) {
	h := newHost(t)
	b := h.start("talks", "")
	b.Want("/count", "1") // it has started and written to the console
	path := filepath.Join(b.Spec.Dir, console.File)
	if err := os.WriteFile(path, make([]byte, console.Limit+1), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Tidy()
	if info, err := os.Stat(path); err != nil || info.Size() > 0 {
		t.Errorf("%v %v", info, err)
	}
}
