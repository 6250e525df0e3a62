package firecracker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker"
	"shoal/internal/runtime/firecracker/api"
	"shoal/internal/runtime/firecracker/control"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/runtime/runtimetest"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
	"shoal/internal/unixsocket"
)

// Who does it.
const (
	ours  = "driver"
	nbd   = "by hand" // with a disk over NBD, as the driver's
	plain = "by hand, disk a file"
)

// Steps that the driver and a hand do differently.
const (
	still   = "snapshot while it stands still"
	changes = "snapshot of what was used"
)

// turns is how often BenchmarkLabByHand does everything, for medians; rounds is how often it restores what it has
// written in one of them.
const turns, rounds = 8, 3

// BenchmarkLabByHand measures what Shoal's driver adds to Firecracker: the same machine is booted, written and restored,
// by the driver and by hand. By hand are the same requests to the same Firecracker, with the same kernel, first root file
// system and daemon, but no jail and no group. The disk is a file that is there already, once over the reference's NBD
// server and client, and once without; the memory is a file, written as a whole ("snapshot") or as far as it was used.
// Durations on emulated processors mean something only beside each other, so ratios are what it reports, and each way
// has its turn at every step: processors do not stay as fast as they were a minute ago.
func BenchmarkLabByHand(b *testing.B) {
	base := b.TempDir()
	h := runtimetest.NewHost(b, openIn(b, firecracker.Options{BaseDir: base}))
	h.Root = runtime.NewRoot(h.PutImage(map[string]*image.Node{
		strings.TrimPrefix(envdapi.Executable, "/"): image.NewFile(0o755, runtimetest.Program(b, "shoal/cmd/envd")),
		"etc/passwd": image.NewFile(0o644, []byte("root:x:0:0::/root:/bin/sh\n")),
		"etc/group":  image.NewFile(0o644, []byte("root:x:0:\n")),
		"proc":       image.NewDir(0o755), "sys": image.NewDir(0o755), "dev": image.NewDir(0o755), "root": image.NewDir(0o700),
		"run": image.NewDir(0o755), "tmp/.keep": image.NewFile(0o644, nil)}))
	figures := map[string][]time.Duration{}
	for turn := range turns + 1 { // the first of which does not count
		ways := []func() steps{
			func() steps { return byDriver(b, h, turn) }, // which makes the base that the others need
			func() steps { return byHand(b, h, turn, base, true) },
			func() steps { return byHand(b, h, turn, base, false) },
		}
		var written []steps
		for i := range ways {
			w := ways[(i+turn)%len(ways)]()
			w.write(b, figures)
			written = append(written, w)
		}
		for round := range rounds + 1 {
			for _, w := range written {
				w.bringBack(b, round, figures)
			}
		}
		if turn == 0 { // in which bases were made and programs read for the first time
			clear(figures)
		}
	}
	for _, pair := range [][2]string{{"boot", "boot"}, {"boot in a shell", "boot"},
		{"snapshot", "snapshot"}, {"snapshot", changes}, {still, "snapshot"}, {still, changes},
		{"first restore", "first restore"}, {"restore", "restore"}, {"restore in a shell", "restore"}} {
		for _, who := range []string{nbd, plain} {
			driver, hand := figures[ours+" "+pair[0]], figures[who+" "+pair[1]]
			ratio := median(driver).Seconds() / median(hand).Seconds()
			b.Logf("%-31s %v, %s %s %v: ratio %.2f (%v; %v)", pair[0], median(driver), who, pair[1], median(hand), ratio, driver, hand)
			b.ReportMetric(ratio, strings.NewReplacer(" ", "-", ",", "").Replace(pair[0]+"/"+who+" "+pair[1]))
		}
	}
	b.ReportMetric(0, "ns/op") // which is left out
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2].Round(time.Millisecond)
}

// steps are what is measured of one way. Each machine ends before the next one begins.
type steps struct {
	who           string
	boot, restore func()               // until the daemon answers
	snapshot      func()               // of a machine that runs, and then goes on
	changes       func()               // a snapshot of what was used, before the other one; nil if that is no other
	still         func() time.Duration // how long it stood still for that; nil if all the time
	end           func()
	slot          func() // before each machine; its way on the network is not measured
	ahead         func() // prepares the shell that is used next; nil if there are none
}

func (s steps) step(t testing.TB, figures map[string][]time.Duration, name string, do func()) {
	t.Helper()
	begin := time.Now()
	do()
	took := time.Since(begin).Round(time.Millisecond)
	t.Logf("%s %s: %v", s.who, name, took)
	figures[s.who+" "+name] = append(figures[s.who+" "+name], took)
}

// write boots a machine and writes it.
func (s steps) write(t testing.TB, figures map[string][]time.Duration) {
	t.Helper()
	if s.ahead != nil {
		s.slot()
		s.ahead()
		s.step(t, figures, "boot in a shell", s.boot)
		s.end()
	}
	s.slot()
	s.step(t, figures, "boot", s.boot)
	if s.changes != nil {
		s.step(t, figures, changes, s.changes)
	}
	s.step(t, figures, "snapshot", s.snapshot)
	if s.still != nil {
		figures[s.who+" "+still] = append(figures[s.who+" "+still], s.still())
	}
	s.end()
}

// bringBack restores what was written, for the first time in round 0.
func (s steps) bringBack(t testing.TB, round int, figures map[string][]time.Duration) {
	t.Helper()
	name := "restore"
	if round == 0 {
		name = "first restore"
	}
	s.slot()
	s.step(t, figures, name, s.restore)
	s.end()
	if s.ahead != nil && round > 0 {
		s.slot()
		s.ahead()
		s.step(t, figures, "restore in a shell", s.restore)
		s.end()
	}
}

// small is the machine that is measured.
var small = shoal.Resources{CPUCount: 1, MemoryMB: 256, DiskMB: 64}

func daemon(spec runtime.Spec) runtime.Spec {
	spec.Resources, spec.First = small, runtime.Process{Args: envdapi.Command(), Env: []string{"PATH=/bin", "HOME=/root"}}
	return spec
}

func byDriver(t testing.TB, h *runtimetest.Host, turn int) steps {
	n, dir := 0, t.TempDir()
	var spec runtime.Spec
	var slot *network.Slot
	var shell runtime.Shell
	var g runtime.Guest
	var still time.Duration
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ahead := func() {
		var err error
		shell, err = h.Runtime.Prepare(t.Context(), daemon(spec))
		must(err)
	}
	begin := func(in func() (runtime.Guest, error)) {
		if shell == nil {
			ahead()
		}
		var err error
		g, err = in()
		must(err)
		shell = nil
		answers(t, slot)
	}
	return steps{
		who: ours,
		slot: func() {
			n++
			spec, slot = h.Spec(fmt.Sprintf("driver-%d-%d", turn, n))
		},
		ahead:   ahead,
		boot:    func() { begin(func() (runtime.Guest, error) { return shell.Start(t.Context()) }) },
		restore: func() { begin(func() (runtime.Guest, error) { return shell.Restore(t.Context(), dir, nil) }) },
		snapshot: func() {
			ctx, phases := telemetry.WithPhases(t.Context())
			must(g.Checkpoint(ctx, dir))
			for _, p := range phases.List() {
				if p.Name == "guest_still" {
					still = p.Duration
				}
			}
		},
		still: func() time.Duration { return still },
		end:   func() { must(g.Kill(context.Background())) },
	}
}

// answers waits until the guest's daemon answers.
func answers(t testing.TB, slot *network.Slot) {
	t.Helper()
	address := fmt.Sprintf("http://%s:%d%s", slot.HostIP(), envdapi.Port, envdapi.HealthPath)
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(emulated); ; time.Sleep(2 * time.Millisecond) {
		resp, err := client.Get(address)
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// hand is one machine by hand.
type hand struct {
	t             testing.TB
	dir           string // of its sockets, its disk and what is written
	kernel, first string // paths
	spec          runtime.Spec
	slot          *network.Slot
	client        *api.Client
	tap           string
	process       *exec.Cmd
	device        string    // of its disk, if that is over NBD
	server        *exec.Cmd // of that
}

func byHand(t testing.TB, h *runtimetest.Host, turn int, base string, overNBD bool) steps {
	m := &hand{t: t, dir: t.TempDir()}
	m.spec, m.slot = h.Spec(fmt.Sprintf("hand-%d-%t", turn, overNBD))
	m.spec = daemon(m.spec)
	var err error
	m.tap, err = m.spec.Link.Tap(0)
	m.must(err)
	kernels, err := program.Open(os.Getenv(storeVariable)).Kernels()
	m.must(err)
	m.kernel, m.first = kernels[0].Path, only(t, filepath.Join(base, "*.initrd"))
	m.run("cp", "--sparse=always", only(t, filepath.Join(base, "*.ext4")), m.path("disk"))
	who, slot := plain, func() {}
	if overNBD {
		who, slot = nbd, m.serve
	}
	return steps{
		who:  who,
		slot: slot,
		boot: func() { m.begin("a.sock"); m.boot() },
		restore: func() {
			m.begin("b.sock")
			m.must(m.client.LoadSnapshot(t.Context(), api.Load{State: m.path("state"), Dirty: true, Resume: true,
				Memory: api.Backend{Type: "File", Path: m.path("memory")}}))
			answers(t, m.slot)
		},
		snapshot: func() { m.write("Full") },
		changes:  func() { m.write("Diff") },
		end:      m.end,
	}
}

// serve has the reference's server and client make the disk a device. It is not measured.
func (m *hand) serve() {
	m.t.Helper()
	_ = os.Remove(m.path("nbd.sock"))
	conf := fmt.Sprintf("[generic]\nuser=root\ngroup=root\nallowlist=true\nunixsock=%s\n[lab]\nexportname=%s\nflush=true\n",
		m.path("nbd.sock"), m.path("disk"))
	m.must(os.WriteFile(m.path("nbd.conf"), []byte(conf), 0o600))
	m.server = exec.Command("nbd-server", "-d", "-C", m.path("nbd.conf"))
	m.must(m.server.Start())
	for deadline := time.Now().Add(emulated); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(m.path("nbd.sock")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			m.t.Fatal("nbd-server does not listen")
		}
	}
	// A device that the kernel has, since the driver used it before.
	devices, err := filepath.Glob("/sys/block/nbd*")
	m.must(err)
	for _, device := range devices {
		if !attached(device) {
			m.device = filepath.Join("/dev", filepath.Base(device))
			m.run("nbd-client", "-unix", m.path("nbd.sock"), "-N", "lab", "-b", "4096", m.device)
			return
		}
	}
	m.t.Fatalf("none of %v is free", devices)
}

// write writes a machine with its disk, without which a snapshot would be of no use.
func (m *hand) write(kind string) {
	ctx := m.t.Context()
	_ = os.Remove(m.path("memory"))
	m.must(m.client.Pause(ctx))
	m.must(m.client.CreateSnapshot(ctx, api.Snapshot{Type: kind, State: m.path("state"), Memory: m.path("memory")}))
	m.run("cp", "--sparse=always", m.path("disk"), m.path("disk-of-snapshot"))
	m.must(m.client.Resume(ctx))
}

func only(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v %v", pattern, found, err)
	}
	return found[0]
}

func (m *hand) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *hand) path(name string) string { return filepath.Join(m.dir, name) }

func (m *hand) run(args ...string) {
	m.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// begin starts a Firecracker in the slot's namespace.
func (m *hand) begin(socket string) {
	m.t.Helper()
	_ = os.Remove(m.path("v.sock"))
	_ = os.Remove(m.path(socket))
	output, err := os.OpenFile(m.path("console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	m.must(err)
	defer output.Close()
	m.process = exec.Command("nsenter", "--net="+m.spec.Link.Namespace, os.Getenv("FIRECRACKER_BIN"),
		"--api-sock", m.path(socket), "--level", "Error")
	m.process.Stdout, m.process.Stderr = output, output
	m.must(m.process.Start())
	m.client = api.New(m.path(socket))
	_, err = m.client.Await(m.t.Context(), nil)
	m.must(err)
}

func (m *hand) end() {
	_ = m.process.Process.Kill()
	_ = m.process.Wait()
	if m.server == nil {
		return
	}
	m.run("nbd-client", "-d", m.device)
	_ = m.server.Process.Kill()
	_ = m.server.Wait()
	for deadline := time.Now().Add(emulated); attached(m.device); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%s is not given up", m.device)
		}
	}
}

func attached(device string) bool {
	_, err := os.Stat(filepath.Join("/sys/block", filepath.Base(device), "pid"))
	return err == nil
}

func (m *hand) boot() {
	disk := m.path("disk")
	if m.server != nil {
		disk = m.device
	}
	ctx, c, card := m.t.Context(), m.client, "eth0"
	for _, err := range []error{
		c.SetBootSource(ctx, api.BootSource{Kernel: m.kernel, Initrd: m.first, Arguments: firecracker.BootArguments}),
		c.SetMachine(ctx, api.MachineConfig{CPUs: small.CPUCount, MemoryMB: small.MemoryMB, Dirty: true}),
		c.SetDrive(ctx, api.Drive{ID: "root", Path: disk, Cache: "Writeback"}),
		c.SetInterface(ctx, api.Interface{ID: card, MAC: m.spec.Link.MAC.String(), Tap: m.tap}),
		c.SetVsock(ctx, api.Vsock{CID: control.GuestCID, Path: m.path("v.sock")}),
		c.SetEntropy(ctx, api.Entropy{}),
		c.SetBalloon(ctx, api.Balloon{DeflateOnOOM: true}),
		c.SetMMDS(ctx, api.MMDSConfig{Version: "V2", Interfaces: []string{card}}),
		c.PutMetadata(ctx, map[string]string{"instanceID": "by-hand"}),
		c.Start(ctx),
	} {
		m.must(err)
	}
	l := m.spec.Link
	begin := control.Request{Start: &control.Start{Args: m.spec.First.Args, Env: m.spec.First.Env,
		Link: control.Link{Address: l.Address.String(), Gateway: l.Gateway.String(), MAC: l.MAC.String(), MTU: l.MTU}}}
	for deadline := time.Now().Add(emulated); m.ask(begin) != nil; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatal("the machine's first program does not answer")
		}
	}
	answers(m.t, m.slot)
}

// ask asks the machine's first program, which may not listen yet.
func (m *hand) ask(q control.Request) error {
	conn, err := unixsocket.Dial(m.t.Context(), m.path("v.sock"))
	if err != nil {
		return err
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	fmt.Fprintf(conn, "CONNECT %d\n", control.Port)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "OK ") {
		return errors.Join(errors.New("nobody listens"), err)
	}
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return err
	}
	line, err := lines.ReadString('\n')
	var a control.Answer
	if err == nil {
		err = json.Unmarshal([]byte(line), &a)
	}
	if err != nil || a.Error != "" {
		m.t.Fatalf("the first program answers %q: %v", a.Error, err)
	}
	return nil
}
