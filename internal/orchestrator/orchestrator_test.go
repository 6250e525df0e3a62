package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/eventlog"
	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/runtime/gvisor"
	"shoal/internal/runtime/gvisor/kernel"
	"shoal/internal/runtime/runtimetest"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/sandboxlog"
)

// TestMain lets the test binary serve as the sandbox kernel.
func TestMain(m *testing.M) {
	kernel.Run()
	os.Exit(m.Run())
}

// node is one machine of the tests: real slots, real gVisor, real envd.
type node struct {
	t       *testing.T
	dir     string
	store   *image.Store
	build   shoal.Build
	warm    map[string]int // guests to start ahead
	shells  int            // kernels to start ahead
	rest    time.Duration
	memory  func() (available, total int64, err error)
	logs    *sandboxlog.Store // nil keeps none
	events  *eventlog.Log     // nil keeps none
	log     *slog.Logger
	orch    *Orchestrator
	pool    *network.Pool
	driver  *gvisor.Driver
	wrap    func(runtime.Runtime) runtime.Runtime // nil is as it is
	slow    time.Duration                         // for guests on emulated processors: more time to answer
	stop    context.CancelFunc
	stopped chan error
}

func newNode(t *testing.T) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := &node{t: t, dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	n.makeImage()
	n.open()
	t.Cleanup(func() {
		n.close()
		n.teardown()
	})
	return n
}

// makeImage builds the smallest image that a sandbox runs from: envd alone.
func (n *node) makeImage() {
	n.t.Helper()
	var err error
	data, tree := runtimetest.Program(n.t, "shoal/cmd/envd"), image.NewTree()
	for name, file := range map[string]*image.Node{
		"usr/bin/envd": image.NewFile(0o755, data), "tmp/.keep": image.NewFile(0o644, nil),
		"etc/passwd": image.NewFile(0o644, []byte("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")),
		"etc/group":  image.NewFile(0o644, []byte("root:x:0:\nuser:x:1000:\n")),
		"etc/hosts":  image.NewFile(0o644, []byte("127.0.0.1 localhost\n")),
		"proc":       image.NewDir(0o555), "sys": image.NewDir(0o555), "dev": image.NewDir(0o755), "root": image.NewDir(0o700), "run": image.NewDir(0o755),
	} {
		n.must(tree.Put(name, file))
	}
	n.store, err = image.Open(filepath.Join(n.dir, "images"))
	n.must(err)
	digest, _, err := n.store.Put(tree)
	n.must(err)
	n.build = shoal.Build{ID: "t-build", TemplateID: "t", Status: shoal.BuildReady, ImageDigest: digest,
		Resources: shoal.Resources{CPUCount: 1, MemoryMB: 256, DiskMB: 128}}
}

// layer makes an image with one program, built from a package or a file, and returns its digest.
func (n *node) layer(path, source string) string {
	n.t.Helper()
	tree := image.NewTree()
	n.must(tree.Put(path, image.NewFile(0o755, runtimetest.Program(n.t, source))))
	digest, _, err := n.store.Put(tree)
	n.must(err)
	return digest
}

// kernel is this program as the sandbox kernel, where a machine has its kernels.
func (n *node) kernel() string {
	n.t.Helper()
	path := filepath.Join(n.dir, "kernels", "test", "kernel")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	n.must(os.MkdirAll(filepath.Dir(path), 0o755))
	n.must(os.Chmod(filepath.Dir(n.dir), 0o755)) // it runs as nobody
	program, err := os.Executable()
	n.must(err)
	if os.Link(program, path) == nil {
		return path
	}
	data, err := os.ReadFile(program) // on another file system
	n.must(err)
	n.must(os.WriteFile(path, data, 0o755))
	return path
}

// open starts the machine's process, so to speak; records of an earlier one are
// found.
func (n *node) open() {
	n.t.Helper()
	var err error
	n.pool, err = network.NewPool(network.Config{Name: "or", HostCIDR: netip.MustParsePrefix("10.75.0.0/16"),
		VethCIDR: netip.MustParsePrefix("10.76.0.0/16"), StateFile: filepath.Join(n.dir, "host.json"), PoolSize: 2}, n.log)
	n.must(err)
	n.driver, err = gvisor.New(gvisor.Options{RunDir: filepath.Join(n.dir, "gvisor"), Kernel: n.kernel(),
		CgroupParent: fmt.Sprintf("shoal-test-%d-%s", os.Getpid(), strings.ReplaceAll(n.t.Name(), "/", "-"))}, n.log)
	n.must(err)
	var rt runtime.Runtime = n.driver
	if n.wrap != nil {
		rt = n.wrap(rt)
	}
	n.orch = New(Config{NodeID: "n", DataDir: filepath.Join(n.dir, "data"), RunDir: filepath.Join(n.dir, "run"), MaxProcesses: 200,
		MaxSandboxes: 10, EnvdTimeout: 20*time.Second + n.slow, GuestEnv: map[string]string{"FROM_NODE": "1"},
		WarmMin: n.warm, WarmMax: 8 * len(n.warm), Shells: n.shells, RestTime: n.rest, Memory: n.memory, Logs: n.logs, Events: n.events},
		runtime.Set{rt}, n.pool, n.store, n.artifacts(), n.log)
	n.orch.AddBuild(n.build)
	n.must(n.orch.Recover(context.Background()))
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.stopped = cancel, make(chan error, 2)
	slotsCtx, stopSlots := context.WithCancel(context.Background())
	go func() {
		err := n.orch.Run(ctx)
		stopSlots() // as internal/machine does it
		n.stopped <- err
	}()
	go func() { n.stopped <- n.pool.Run(slotsCtx) }()
}

func (n *node) artifacts() *artifact.Store {
	n.t.Helper()
	store, err := artifact.Open(filepath.Join(n.dir, "data", "artifacts"))
	n.must(err)
	store.WithSpace(func(string) (free, total int64, err error) { return 1 << 40, 1 << 40, nil })
	return store
}

// close ends the process; sandboxes live on.
func (n *node) close() {
	n.stop()
	for range 2 {
		if err := <-n.stopped; err != nil {
			n.t.Error(err)
		}
	}
}

func (n *node) teardown() {
	ctx := context.Background()
	n.must(n.orch.KillAll(ctx, shoal.KillDown))
	n.must(n.driver.Reclaim(ctx, func(string) bool { return false }))
	n.must(n.pool.Teardown())
	n.must(n.driver.Close())
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// sandboxTime is longer than any test that uses a sandbox.
const sandboxTime = 5 * time.Minute

func (n *node) spec() shoal.Spec {
	return shoal.Spec{SandboxID: shoal.NewSandboxID(), TeamID: "team", TemplateID: "t", BuildID: n.build.ID,
		Resources: n.build.Resources, Timeout: sandboxTime, MaxLength: time.Hour,
		EnvdAccessToken: "secret", EnvVars: map[string]string{"FROM_CLIENT": "2"}, DefaultUser: "user", DefaultWorkdir: "/home/user"}
}

func (n *node) create() shoal.Sandbox {
	n.t.Helper()
	sb, err := n.orch.Create(context.Background(), n.spec())
	n.must(err)
	return sb
}

// answers tells whether the sandbox's daemon does, with its token.
// tryPause is Pause where only the error matters.
func (n *node) tryPause(ctx context.Context, sandboxID string, opts shoal.PauseOptions) error {
	_, err := n.orch.Pause(ctx, sandboxID, opts)
	return err
}

func (n *node) answers(sb shoal.Sandbox) bool { return n.answersTo(sb, sb.EnvdAccessToken) }

func (n *node) answersTo(sb shoal.Sandbox, token string) bool {
	_, ok := n.getEnvs(sb, token)
	return ok
}

// envs is what every process in the sandbox finds in its environment.
func (n *node) envs(sb shoal.Sandbox) map[string]string {
	n.t.Helper()
	envs, ok := n.getEnvs(sb, sb.EnvdAccessToken)
	if !ok {
		n.t.Error("the daemon does not answer")
	}
	return envs
}

func (n *node) getEnvs(sb shoal.Sandbox, token string) (envs map[string]string, ok bool) {
	req, err := http.NewRequest("GET", sb.EnvdURL()+"/envs", nil)
	n.must(err)
	req.Header.Set("X-Access-Token", token)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	return envs, resp.StatusCode == 200 && json.NewDecoder(resp.Body).Decode(&envs) == nil
}

func (n *node) gone(sb shoal.Sandbox) {
	n.t.Helper()
	if _, err := n.orch.Get(context.Background(), sb.SandboxID); !shoal.ErrSandboxNotFound.Matches(err) {
		n.t.Errorf("Get of a dead sandbox: %v", err)
	}
	if _, err := os.Stat(recordPath(n.orch.records.live, sb.SandboxID)); !os.IsNotExist(err) {
		n.t.Errorf("its record is left: %v", err)
	}
}

func TestCreateAndKill(t *testing.T) {
	n := newNode(t)
	sb := n.create()
	if sb.State != shoal.StateRunning || sb.EndAt.Sub(sb.StartedAt) != sandboxTime || sb.EnvVars != nil {
		t.Errorf("created: %+v", sb)
	}
	if !n.answers(sb) {
		t.Error("the daemon does not answer")
	}
	if id, ok := n.orch.SandboxAt(netip.MustParseAddr(sb.HostIP)); !ok || id != sb.SandboxID {
		t.Errorf("SandboxAt = %q %v", id, ok)
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = n.orch.Kill(context.Background(), sb.SandboxID, shoal.KillRequest) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !shoal.ErrSandboxNotFound.Matches(err) {
			t.Errorf("one of several kills: %v", err)
		}
	}
	n.gone(sb)
	if err := n.orch.Kill(context.Background(), sb.SandboxID, shoal.KillRequest); !shoal.ErrSandboxNotFound.Matches(err) {
		t.Errorf("a second kill: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb := n.create()
	longer, err := n.orch.SetDeadline(ctx, sb.SandboxID, shoal.DeadlineChange{Timeout: 10 * time.Minute, ExtendOnly: true})
	if err != nil || !longer.EndAt.After(sb.EndAt) {
		t.Errorf("extend: %v %v", longer.EndAt, err)
	}
	same, err := n.orch.SetDeadline(ctx, sb.SandboxID, shoal.DeadlineChange{Timeout: time.Second, ExtendOnly: true})
	if err != nil || !same.EndAt.Equal(longer.EndAt) {
		t.Errorf("extend by less: %v %v", same.EndAt, err)
	}
	capped, err := n.orch.SetDeadline(ctx, sb.SandboxID, shoal.DeadlineChange{Timeout: 100 * time.Hour})
	if err != nil || !capped.EndAt.Equal(sb.StartedAt.Add(time.Hour)) {
		t.Errorf("past the maximum: %v %v", capped.EndAt, err)
	}
	if _, err := n.orch.SetDeadline(ctx, sb.SandboxID, shoal.DeadlineChange{}); err != nil {
		t.Error(err)
	}
	n.eventually("the sandbox ends at its deadline", func() bool {
		_, err := n.orch.Get(ctx, sb.SandboxID)
		return shoal.ErrSandboxNotFound.Matches(err)
	})
}

func (n *node) eventually(what string, probe func() bool) {
	n.t.Helper()
	for end := time.Now().Add(20 * time.Second); !probe(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatal("did not happen: " + what)
		}
	}
}

// TestSurvival: the process ends and another takes over; one guest died between.
func TestSurvival(t *testing.T) {
	n := newNode(t)
	kept, died := n.create(), n.create()
	n.close()
	record, err := os.ReadFile(recordPath(n.orch.records.live, died.SandboxID))
	n.must(err)
	for _, pid := range n.kernels(died.SandboxID) {
		p, err := os.FindProcess(pid)
		n.must(err)
		n.must(p.Kill())
	}
	n.eventually("it is dead", func() bool { return len(n.liveKernels(died.SandboxID)) == 0 })
	// A create that was cut off leaves a record and whatever it had made.
	half := strings.ReplaceAll(string(record), died.SandboxID, "ihalfmade0000000000000")
	half = strings.Replace(half, `"state":"running"`, `"state":"creating"`, 1)
	n.must(os.WriteFile(recordPath(n.orch.records.live, "ihalfmade0000000000000"), []byte(half), 0o600))
	n.must(os.WriteFile(recordPath(n.orch.records.live, "x")+".tmp", []byte("{"), 0o600))
	leftover := filepath.Join(n.dir, "run", "guests", "nobody")
	n.must(os.MkdirAll(leftover, 0o700))

	n.open()
	list, err := n.orch.List(context.Background())
	n.must(err)
	if len(list) != 1 || list[0].SandboxID != kept.SandboxID || !list[0].EndAt.Equal(kept.EndAt) {
		t.Errorf("after the restart: %+v", list)
	}
	if !n.answers(kept) {
		t.Error("the adopted sandbox does not answer")
	}
	n.gone(died)
	if _, err := os.Stat(leftover); !os.IsNotExist(err) {
		t.Error("files of no sandbox are left")
	}
	if entries, _ := os.ReadDir(n.orch.records.live); len(entries) != 1 {
		t.Errorf("records: %v", entries)
	}
	// It can still be killed, and its own end is seen.
	second := n.create()
	for _, pid := range n.kernels(kept.SandboxID) {
		p, err := os.FindProcess(pid)
		n.must(err)
		n.must(p.Kill())
	}
	n.eventually("the adopted guest's death is seen", func() bool {
		_, err := n.orch.Get(context.Background(), kept.SandboxID)
		return shoal.ErrSandboxNotFound.Matches(err)
	})
	n.must(n.orch.Kill(context.Background(), second.SandboxID, shoal.KillRequest))
}

// kernels returns the processes of this node's guests whose ID starts with name.
func (n *node) kernels(name string) []int {
	n.t.Helper()
	pids := n.liveKernels(name)
	if len(pids) == 0 {
		n.t.Fatalf("no kernel of %s runs", name)
	}
	return pids
}

func (n *node) liveKernels(name string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		data, err := os.ReadFile(f)
		args := "\x00" + string(data)
		if err == nil && strings.Contains(args, "\x00--root="+filepath.Join(n.dir, "gvisor")+"\x00") && strings.Contains(args, "\x00"+name+"-") {
			var pid int
			fmt.Sscanf(f, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestRefusals: what cannot be created leaves nothing.
func TestRefusals(t *testing.T) {
	n := newNode(t)
	for name, c := range map[string]struct {
		change func(*shoal.Spec)
		kind   *shoal.Kind
	}{
		"unknown build":   {func(s *shoal.Spec) { s.BuildID = "other" }, shoal.ErrImageMissing},
		"bad egress":      {func(s *shoal.Spec) { s.Network.DenyOut = []string{"nonsense"} }, shoal.ErrNetworkPolicy},
		"disk of no size": {func(s *shoal.Spec) { s.Resources.DiskMB = -1 }, nil},
	} {
		spec := n.spec()
		c.change(&spec)
		_, err := n.orch.Create(context.Background(), spec)
		if err == nil || (c.kind != nil && !c.kind.Matches(err)) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, _ := os.ReadDir(n.orch.records.live); len(entries) != 0 {
			t.Errorf("%s: records are left: %v", name, entries)
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(n.dir, "run", "guests")); len(entries) != 0 {
		t.Errorf("guests' directories are left: %v", entries)
	}
}

func TestCapacity(t *testing.T) {
	n := newNode(t)
	n.orch.cfg.MaxSandboxes = 1
	n.create()
	if _, err := n.orch.Create(context.Background(), n.spec()); !shoal.ErrCapacity.Matches(err) {
		t.Errorf("one more than the maximum: %v", err)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}
