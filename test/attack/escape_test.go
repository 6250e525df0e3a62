package attack

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostSettings are what a guest might try to change. Those that change by themselves are
// left out.
var hostSettings = []string{"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
	"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic", "/proc/sys/kernel/sysrq",
	"/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/file-max", "/proc/sys/kernel/pid_max", "/proc/swaps",
	"/proc/sys/kernel/random/boot_id", "/proc/modules"}

// readSettings reads them. Numbers of users in the list of modules are left out.
func readSettings(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range hostSettings {
		data, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all[path] = string(data)
		if path == "/proc/modules" {
			var names []string
			for line := range strings.Lines(string(data)) {
				names = append(names, strings.Fields(line)[0])
			}
			all[path] = strings.Join(names, " ")
		}
	}
	return all
}

// TestEscapes lets root in a guest try what leads out of containers. Nothing changes on the
// host, and a neighbor goes on undisturbed.
func TestEscapes(t *testing.T) {
	neighbor := create(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, line := range []string{"echo neighbor > /root/mark; echo neighbor > /dev/shm/mark",
		"hostname neighbor", "mkdir -p /srv/empty"} {
		if _, err := neighbor.run(ctx, "root", line); err != nil {
			t.Fatal(err)
		}
	}
	nothingArrives(t)
	guest := create(t, "")
	before, clock := readSettings(t), time.Now()
	out := guest.python(t, 2*time.Minute, "root", "escape.py")
	if !strings.Contains(out, "all tried") {
		t.Errorf("the attempts ended early: %s", out)
	}
	var done []string
	for line := range strings.Lines(out) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), " done"); ok {
			done = append(done, name)
		}
	}
	t.Logf("without an error: %s", strings.Join(done, ", "))
	for _, name := range []string{"chroot", "device mem", "device sda", "device vda", "device kvm", "call init_module",
		"call kexec_load", "call bpf", "call userfaultfd", "call perf_event_open", "vsock host", "reboot off"} {
		if slices.Contains(done, name) {
			t.Errorf("%s was possible", name)
		}
	}
	after := readSettings(t)
	for path, want := range before {
		if got := after[path]; got != want {
			t.Errorf("%s changed from %q to %q", path, want, got)
		}
	}
	if now := time.Now(); now.Round(0).Sub(clock.Round(0))-now.Sub(clock) > time.Second {
		t.Error("the clock was set")
	}
	if evil, _ := filepath.Glob("/tmp/evil*"); len(evil) > 0 {
		t.Errorf("on the host: %v", evil)
	}
	guest.works(t)
	neighbor.works(t)
	for path, want := range map[string]string{"cat /root/mark /dev/shm/mark": "neighbor\nneighbor\n",
		"hostname": "neighbor\n", "date +%Y": time.Now().Format("2006\n"), "find /srv/empty": "/srv/empty\n"} {
		if got, err := neighbor.run(ctx, "root", path); err != nil || got != want {
			t.Errorf("the neighbor says %q to %s, error %v", got, path, err)
		}
	}
}

// TestOrdinaryRoot: what root may do in ordinary containers is possible.
func TestOrdinaryRoot(t *testing.T) {
	guest := create(t, "")
	if out := guest.python(t, time.Minute, "root", "ordinary.py"); !strings.Contains(out, "all works") {
		t.Errorf("%s", out)
	}
}

// TestTakenIdentity: a guest that takes its neighbor's addresses is still known as itself,
// and hears nothing that is meant for the neighbor.
func TestTakenIdentity(t *testing.T) {
	neighbor, guest := create(t, ""), create(t, "")
	nothingArrives(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address, _, _ := strings.Cut(strings.TrimPrefix(neighbor.URL, "http://"), ":")
	link := linkOf(t, address)
	out, err := guest.run(ctx, "root", fmt.Sprintf(`
ip addr add %[1]s/32 dev eth0 2>&1
ip addr add %[3]s/31 dev eth0 2>&1
curl -s -m 2 --interface %[1]s http://192.0.2.1/me
curl -s -m 2 --interface %[3]s http://192.0.2.1/me
curl -s -m 2 http://192.0.2.1/me
curl -s -m 2 -X POST http://192.0.2.1/logs -d '{"message":"forged","sandboxID":"%[2]s","instanceID":"%[2]s"}'
true`, address, neighbor.ID, link))
	if err != nil || strings.Contains(out, neighbor.ID) {
		t.Errorf("the guest is told %q, error %v", out, err)
	}
	if !strings.Contains(out, guest.ID) {
		t.Errorf("the guest is not known as itself: %q", out)
	}
	if a := ask(ctx, "GET", "/v2/sandboxes/"+neighbor.ID+"/logs", ""); !a.ok() || strings.Contains(a.body, "forged") {
		t.Errorf("the neighbor's log: %v", a)
	}
	guest.works(t)
	neighbor.works(t)
}

// linkOf is the host's end of the link of the sandbox at an address. A guest that takes its own link's
// cuts itself off.
func linkOf(t *testing.T, address string) netip.Addr {
	t.Helper()
	at, err := netip.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	b := at.As4()
	n := 2 * binary.BigEndian.Uint16(b[2:])
	return netip.AddrFrom4([4]byte{b[0], b[1] + 1, byte(n >> 8), byte(n)})
}

// TestEndedDaemon: root that ends every process it can, its daemon first, ends nothing but
// its own sandbox.
func TestEndedDaemon(t *testing.T) {
	neighbor := create(t, "")
	for _, line := range []string{"kill -9 1", "kill -9 -1", "kill -STOP 1", "rm -rf --no-preserve-root / 2>/dev/null",
		`python3 -c "import ctypes; p = ctypes.CDLL(None).ptrace; p(16, 1, 0, 0); p(8, 1, 0, 0)"`, // attach, kill
		`python3 -c "import ctypes; ctypes.CDLL(None).ptrace(16, 1, 0, 0); import time; time.sleep(100)"`} {
		guest := create(t, "")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, _ = guest.run(ctx, "root", line) // the answer may not come
		cancel()
		for path, body := range map[string]string{"/pause": `{}`, "/snapshots": `{}`} {
			a := ask(t.Context(), "POST", "/sandboxes/"+guest.ID+path, body)
			// It is saved as it is, or it is gone. Nobody learns how the machine noticed.
			if !a.ok() && a.status != http.StatusNotFound && a.status != http.StatusConflict {
				t.Errorf("%s, then %s: %v", line, path, a)
			}
		}
		if a := guest.kill(); a.status != 204 && a.status != 404 {
			t.Errorf("%s: the sandbox cannot be killed: %v", line, a)
		}
		neighbor.works(t)
	}
	if err := unix.Kill(up.PID(), 0); err != nil {
		t.Errorf("Shoal's process: %v", err)
	}
}
