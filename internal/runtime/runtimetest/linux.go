package runtimetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// likeLinux is what programs know of Linux and are held up by where it is otherwise. The values
// are Linux's.
var likeLinux = []promise{
	{"stopped", "a stopped process means nothing to a group that was an orphan before", stoppedProcess},
	{"loopback", "loopback of a new network namespace is down and has no address", loopbackOfANamespace},
	{"exec-only", "a program that may be executed need not be readable, and stays unreadable", executeOnly},
	{"terminal", "a terminal is hung up when its replica was closed, not before it was opened", terminal},
	{"attributes", "attributes of the system are read without permission to read the file", attributes},
	{"names", "a name leads to what it was last made to lead to", func(t *testing.T, h *Host) {
		h.Start("names", "").Want("/call?name=names", "as it was left")
	}},
	{"trace", "a process may trace another of its user", func(t *testing.T, h *Host) {
		h.Start("trace", "").Want("/call?name=trace&uid=1000", "ok")
	}},
	{"fork", "what a fork does not write to is shared with its parent", memoryOfAFork},
	{"text", "a short program's text stays as it is, and calls work after many", func(t *testing.T, h *Host) {
		h.Start("text", "").Want("/call?name=text", "true")
	}},
	{"settings", "what programs look up of the kernel and the network is there", settings},
	{"clocks", "while a guest is frozen, clocks and their timers go as its runtime says", clocksOfAFrozenGuest},
	{"clocks-restored", "so they do between a checkpoint and what is restored from it", clocksOfARestoredGuest},
}

func stoppedProcess(t *testing.T, h *Host) {
	g := h.Start("stopped", "")
	g.Want("/call?name=stopped", "alone")
	g.Want("/call?name=orphaned", "ended")
}

func loopbackOfANamespace(t *testing.T, h *Host) {
	h.Start("loopback", "").Want("/call?name=loopback", "new: loopback []\n"+
		"with an address: loopback [127.0.0.1/8]\n"+
		"up: up|loopback|running [127.0.0.1/8 ::1/128]\n"+
		"only up: up|loopback|running [127.0.0.1/8 ::1/128]\n")
}

func executeOnly(t *testing.T, h *Host) {
	h.Start("exec-only", "").Want("/call?name=exec-only", "dumpable 0, others 1; open /run-only: permission denied; "+
		"open /proc/self/exe: permission denied; script open /script: permission denied")
}

func terminal(t *testing.T, h *Host) {
	h.Start("terminal", "").Want("/call?name=terminal", "EAGAIN, EAGAIN, EIO POLLHUP")
}

func attributes(t *testing.T, h *Host) {
	g := h.Start("attributes", "")
	g.Want("/write?path=/secret&mode=0600", "ok")
	g.Want("/write?path=/dev/shm/secret&mode=0600", "ok")
	g.Want("/call?name=unreadable&uid=1000", "/secret security.selinux ENODATA\n"+
		"/secret trusted.any ENODATA\n/secret user.any EACCES\n"+
		"/dev/shm/secret security.selinux ENODATA\n"+
		"/dev/shm/secret trusted.any ENODATA\n/dev/shm/secret user.any EACCES\n")
}

func memoryOfAFork(t *testing.T, h *Host) {
	g := h.Start("fork", "")
	status, text := g.Ask("/call?name=fork")
	if grown, err := strconv.Atoi(text); err != nil || grown > 16 {
		t.Errorf("32 bytes written in 64 MiB: the guest has %s MiB less (%d)", text, status)
	}
}

// kernelSettings are values other than Linux's own, with which a kernel that heeds them goes on.
var kernelSettings = map[string]string{
	"fs/inotify/max_user_watches": "100000", "fs/inotify/max_user_instances": "512", "fs/inotify/max_queued_events": "20000",
	"vm/max_map_count": "262144", "vm/overcommit_memory": "1", "net/core/somaxconn": "1000",
}

func settings(t *testing.T, h *Host) {
	g := h.Start("settings", "")
	if _, text := g.Ask("/read?path=/proc/self/cgroup"); text == "" || strings.Contains(text, "settings") {
		t.Errorf("the guest's cgroups: %s", text)
	}
	for file, value := range kernelSettings {
		path := "/proc/sys/" + file
		g.Want("/write?path="+path+"&text="+value, "ok")
		g.Want("/read?path="+path, value+"\n")
		status, text := g.Ask("/write?text=-1&path=" + path)
		if status != 500 || !strings.Contains(text, "invalid argument") {
			t.Errorf("-1 for %s: %d %s", path, status, text)
		}
	}
	dir := t.TempDir()
	if err := g.Checkpoint(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*Guest{g, h.Start("restored", dir)} {
		g.Want("/read?path=/proc/sys/vm/max_map_count", kernelSettings["vm/max_map_count"]+"\n")
		g.Want("/read?path=/sys/class/net/eth0/address", g.Spec.Link.MAC.String()+"\n")
		g.Want("/read?path=/sys/class/net/eth0/mtu", fmt.Sprintf("%d\n", g.Spec.Link.MTU))
		g.Want("/read?path=/sys/class/net/eth0/operstate", "up\n")
		g.Want("/read?path=/sys/class/net/lo/operstate", "unknown\n")
	}
}

// times are those of the tests of clocks: what timers wait for, and how long the guest does not run. What it does
// besides takes less than the time that its timers have left.
func times() (timers, pause time.Duration) {
	if os.Getenv("SHOAL_TEST_LAB") != "" { // on emulated processors
		return 30 * time.Second, 60 * time.Second
	}
	return 3 * time.Second, 6 * time.Second
}

func clocksOfAFrozenGuest(t *testing.T, h *Host) {
	ctx := context.Background()
	g := h.Start("clocks", "")
	timers, pause := times()
	g.Want("/timers?for="+timers.String(), "ok")
	before := g.clocks()
	if err := g.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := g.Checkpoint(ctx, dir); err != nil { // which stops and starts time too
		t.Fatal(err)
	}
	time.Sleep(pause)
	if err := g.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	g.wentOn(before, h.Clocks.Frozen)
}

func clocksOfARestoredGuest(t *testing.T, h *Host) {
	g := h.Start("origin", "")
	timers, pause := times()
	g.Want("/timers?for="+timers.String(), "ok")
	before := g.clocks()
	dir := t.TempDir()
	if err := g.Checkpoint(t.Context(), dir); err != nil { // of a running guest, as for a fork
		t.Fatal(err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(pause)
	h.Start("copy", dir).wentOn(before, h.Clocks.Restored)
}

// clocks is what a guest says of its time, in seconds.
type clocks struct {
	Monotonic, Boottime, Library, Uptime, Sysinfo float64
	TimeOfDay                                     float64 // since 1970
	Fired                                         map[string]float64
}

func (g *Guest) clocks() clocks {
	t := g.host.T
	t.Helper()
	status, text := g.Ask("/clocks")
	var c clocks
	if err := json.Unmarshal([]byte(text), &c); err != nil || status != 200 {
		t.Fatalf("clocks: %d %s %v", status, text, err)
	}
	return c
}

// wentOn checks the clocks of a guest that goes on after a pause, and then those of its timers that have time left.
func (g *Guest) wentOn(before clocks, want Time) {
	t := g.host.T
	t.Helper()
	timers, pause := times()
	earliest := time.Now()
	now := g.clocks()
	const coarse = 1.01 // whole seconds and hundredths may lack so much
	for name, c := range map[string]struct {
		passed float64
		goesOn bool
	}{
		"monotonic time": {now.Monotonic - before.Monotonic, want.Monotonic},
		"boot time":      {now.Boottime - before.Boottime, want.Boot}, byLibrary: {now.Library - before.Library, want.Boot},
		"/proc/uptime": {now.Uptime - before.Uptime, want.Boot}, "sysinfo": {now.Sysinfo - before.Sysinfo, want.Boot},
	} {
		if name == byLibrary && now.Library < 0 {
			continue
		}
		if wentOn := c.passed >= pause.Seconds()-coarse; wentOn != c.goesOn || !wentOn && (c.passed < 0 || c.passed >= timers.Seconds()) {
			t.Errorf("%s went on by %.2f s", name, c.passed)
		}
	}
	late := timers / 3 // a guest may hear of the time so late
	if at := time.UnixMilli(int64(now.TimeOfDay * 1000)); at.Before(earliest.Add(-late)) || at.After(time.Now().Add(late)) {
		t.Errorf("the time of day is %v, and was %v when the guest was asked", at, earliest)
	}
	for deadline := time.Now().Add(2 * timers); len(now.Fired) < numTimers; now = g.clocks() {
		if time.Now().After(deadline) {
			t.Fatalf("only these timers have fired: %v", now.Fired)
		}
		time.Sleep(100 * time.Millisecond)
	}
	for timer, took := range now.Fired { // by the monotonic clock
		early := !want.Monotonic && (timer == "timerfd realtime" || timer == "timerfd boottime" && want.Boot)
		if early != (took < timers.Seconds()-0.01) {
			t.Errorf("the timer %q took %.2f s of monotonic time", timer, took)
		}
	}
}

// byLibrary names the clock that not every guest can ask: its program would have to be in C.
const byLibrary = "boot time by the library"

// numTimers is how many the guest starts.
const numTimers = 8
