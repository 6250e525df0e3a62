package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/proxy"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

const noRest, longRest = 0, time.Minute

// write and read a file in the sandbox, through its daemon.
func (n *node) write(sb shoal.Sandbox, path, text string) {
	n.t.Helper()
	n.file(sb, "POST", path, text)
}

func (n *node) read(sb shoal.Sandbox, path string) string {
	n.t.Helper()
	return n.file(sb, "GET", path, "")
}

func (n *node) file(sb shoal.Sandbox, method, path, text string) string {
	n.t.Helper()
	u := sb.EnvdURL() + "/files?username=root&path=" + url.QueryEscape(path)
	req, err := http.NewRequest(method, u, strings.NewReader(text))
	n.must(err)
	req.Header.Set("X-Access-Token", sb.EnvdAccessToken)
	req.Header.Set("Content-Type", "application/octet-stream")
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	n.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	n.must(err)
	if resp.StatusCode != 200 {
		n.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, data)
	}
	return string(data)
}

func (n *node) pause(sb shoal.Sandbox) {
	n.t.Helper()
	n.must(n.tryPause(context.Background(), sb.SandboxID, shoal.PauseOptions{Memory: true}))
}

func (n *node) resume(sb shoal.Sandbox) shoal.Sandbox {
	n.t.Helper()
	back, err := n.orch.Resume(context.Background(), sb.SandboxID, shoal.ResumeOptions{Timeout: sandboxTime})
	n.must(err)
	return back
}

func (n *node) state(sb shoal.Sandbox) shoal.State {
	n.t.Helper()
	view, err := n.orch.Get(context.Background(), sb.SandboxID)
	if shoal.ErrSandboxNotFound.Matches(err) {
		return ""
	}
	n.must(err)
	return view.State
}

func (n *node) snapshots() []string {
	n.t.Helper()
	list, err := n.orch.snapshots.Artifacts().List()
	n.must(err)
	var names []string
	for _, m := range list {
		names = append(names, m.ID)
	}
	return names
}

func (n *node) noSnapshots() {
	n.t.Helper()
	n.eventually("used snapshots are removed", func() bool { return len(n.snapshots()) == 0 })
}

// TestPauseAndResume keeps disk and environment, with and without a rest.
func TestPauseAndResume(t *testing.T) {
	for name, rest := range map[string]time.Duration{"from disk": noRest, "resting": longRest} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.orch.cfg.RestTime = rest
			sb := n.create()
			n.write(sb, "/root/kept", "before the pause")
			n.pause(sb)
			if got := n.state(sb); got != shoal.StatePaused {
				t.Fatalf("state = %s", got)
			}
			if err := n.tryPause(context.Background(), sb.SandboxID, shoal.PauseOptions{Memory: true}); !shoal.ErrSandboxPaused.Matches(err) || !strings.Contains(err.Error(), "is already paused") {
				t.Errorf("a second pause: %v", err)
			}
			if rest == noRest {
				n.eventually("the guest ends", func() bool { return len(n.liveKernels(sb.SandboxID)) == 0 })
			} else if n.orch.table.all()[0].resting().IsZero() {
				t.Error("it does not rest")
			}
			back := n.resume(sb)
			if back.State != shoal.StateRunning || back.ExecutionID == sb.ExecutionID || back.StartedAt.Before(sb.StartedAt) || back.ColdBoot {
				t.Errorf("resumed: %+v", back)
			}
			if got := n.read(back, "/root/kept"); got != "before the pause" {
				t.Errorf("the file: %q", got)
			}
			if !n.answers(back) {
				t.Error("the daemon does not answer with the token")
			}
			if _, err := n.orch.Resume(context.Background(), sb.SandboxID, shoal.ResumeOptions{}); !shoal.ErrSandboxRunning.Matches(err) {
				t.Errorf("a second resume: %v", err)
			}
			n.noSnapshots()
			n.pause(back)
			n.must(n.orch.Kill(context.Background(), sb.SandboxID, shoal.KillRequest))
			n.gone(sb)
			n.noSnapshots()
		})
	}
}

// TestRestEnds: the guest goes, the sandbox stays paused and comes back from disk.
func TestRestEnds(t *testing.T) {
	n := newNode(t)
	n.orch.cfg.RestTime = 50 * time.Millisecond
	sb := n.create()
	n.write(sb, "/root/kept", "x")
	n.pause(sb)
	n.eventually("the resting guest ends", func() bool { return len(n.liveKernels(sb.SandboxID)) == 0 })
	if got := n.state(sb); got != shoal.StatePaused {
		t.Fatalf("state = %s", got)
	}
	if got := n.read(n.resume(sb), "/root/kept"); got != "x" {
		t.Errorf("the file: %q", got)
	}
}

// TestRestingGuestDies: what rests is on disk already.
func TestRestingGuestDies(t *testing.T) {
	n := newNode(t)
	n.orch.cfg.RestTime = longRest
	sb := n.create()
	n.write(sb, "/root/kept", "x")
	n.pause(sb)
	for _, pid := range n.kernels(sb.SandboxID) {
		p, err := os.FindProcess(pid)
		n.must(err)
		n.must(p.Kill())
	}
	n.eventually("its end is seen", func() bool { return n.orch.table.all()[0].resting().IsZero() })
	if got := n.read(n.resume(sb), "/root/kept"); got != "x" {
		t.Errorf("the file: %q", got)
	}
}

// TestFailedPauseLosesNothing: the disk takes no snapshot, the sandbox runs on.
func TestFailedPauseLosesNothing(t *testing.T) {
	n := newNode(t)
	sb := n.create()
	n.write(sb, "/root/kept", "x")
	dir := filepath.Join(n.dir, "data", "artifacts")
	n.must(os.Rename(dir, dir+".away"))
	err := n.tryPause(context.Background(), sb.SandboxID, shoal.PauseOptions{Memory: true})
	n.must(os.Rename(dir+".away", dir))
	if !shoal.ErrPauseFailed.Matches(err) {
		t.Fatalf("pause: %v", err)
	}
	view, err := n.orch.Get(context.Background(), sb.SandboxID)
	if err != nil || view.State != shoal.StateRunning || !view.EndAt.Equal(sb.EndAt) {
		t.Errorf("after the failed pause: %+v %v", view, err)
	}
	if got := n.read(sb, "/root/kept"); got != "x" {
		t.Errorf("the file: %q", got)
	}
	n.pause(sb)
	n.resume(sb)
}

// rested waits until the guest of a paused sandbox has ended.
func (n *node) rested(sb shoal.Sandbox) {
	n.t.Helper()
	n.eventually("the resting guest ends", func() bool { return len(n.liveKernels(sb.SandboxID)) == 0 })
}

// TestWithoutMemory: the pause keeps only the disk, or the resume ignores the rest.
func TestWithoutMemory(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb := n.create()
	for i, c := range []struct{ memory, cold bool }{{false, false}, {true, true}, {false, true}, {true, false}} {
		n.write(sb, fmt.Sprintf("/root/%d", i), "x")
		boot := n.read(sb, "/proc/sys/kernel/random/boot_id")
		n.must(n.tryPause(ctx, sb.SandboxID, shoal.PauseOptions{Memory: c.memory}))
		paused, err := n.orch.Get(ctx, sb.SandboxID)
		n.must(err)
		if mode := map[bool]shoal.PauseMode{true: shoal.PauseFull, false: shoal.PauseDisk}[c.memory]; paused.PauseMode != mode {
			t.Errorf("%d: paused as %q, want %q", i, paused.PauseMode, mode)
		}
		if i == 1 {
			n.rested(sb)
			n.damage(n.orch.table.byID[sb.SandboxID].saved.DiskName(), true) // it is read out of the checkpoint
		}
		back, err := n.orch.Resume(ctx, sb.SandboxID, shoal.ResumeOptions{Timeout: sandboxTime, ColdBoot: c.cold})
		n.must(err)
		if back.PauseMode != "" {
			t.Errorf("%d: it runs, and is paused as %q", i, back.PauseMode)
		}
		cold := !c.memory || c.cold
		if again := n.read(back, "/proc/sys/kernel/random/boot_id"); back.ColdBoot != cold || (again == boot) == cold {
			t.Errorf("%d: cold boot %v, boot ID %q then %q", i, back.ColdBoot, boot, again)
		}
		for j := range i + 1 {
			if got := n.read(back, fmt.Sprintf("/root/%d", j)); got != "x" {
				t.Errorf("%d: file %d: %q", i, j, got)
			}
		}
		if !n.answers(back) {
			t.Errorf("%d: the daemon does not answer with the token", i)
		}
		sb = back
	}
	n.noSnapshots()
}

// TestConcurrentCallers join, wait or are told why not; one guest comes of it.
func TestConcurrentCallers(t *testing.T) {
	n := newNode(t)
	n.orch.cfg.RestTime = longRest
	sb := n.create()
	ctx := context.Background()
	all := func(count int, call func() error) []error {
		errs := make([]error, count)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = call() })
		}
		wg.Wait()
		return errs
	}
	for range 3 {
		paused := 0
		for _, err := range all(5, func() error { return n.tryPause(ctx, sb.SandboxID, shoal.PauseOptions{Memory: true}) }) {
			switch {
			case err == nil:
				paused++
			case !shoal.ErrSandboxPaused.Matches(err):
				t.Errorf("one of several pauses: %v", err)
			}
		}
		if paused == 0 {
			t.Error("none of several pauses succeeded")
		}
		resumed := 0
		for _, err := range all(10, func() error {
			view, err := n.orch.Resume(ctx, sb.SandboxID, shoal.ResumeOptions{Timeout: sandboxTime})
			if err == nil && !n.answers(view) {
				return errors.New("resumed, but it does not answer")
			}
			return err
		}) {
			switch {
			case err == nil:
				resumed++
			case !shoal.ErrSandboxRunning.Matches(err):
				t.Errorf("one of several resumes: %v", err)
			}
		}
		if got := len(n.kernels(sb.SandboxID)); got != 1 || resumed == 0 {
			t.Errorf("%d guests of %d resumes", got, resumed)
		}
	}
	// A kill that arrives during a pause waits for it, and both succeed.
	for _, err := range []error{<-start(func() error { return n.tryPause(ctx, sb.SandboxID, shoal.PauseOptions{Memory: true}) }),
		<-start(func() error { return n.orch.Kill(ctx, sb.SandboxID, shoal.KillRequest) })} {
		n.must(err)
	}
	n.gone(sb)
	n.noSnapshots()
}

func start(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// TestAutoPause at the deadline, and traffic that brings the sandbox back.
func TestAutoPause(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	spec := n.spec()
	spec.Lifecycle = shoal.Lifecycle{AutoPause: true, AutoResume: true, AutoResumeAfter: 7 * time.Minute}
	sb, err := n.orch.Create(ctx, spec)
	n.must(err)
	_, err = n.orch.SetDeadline(ctx, sb.SandboxID, shoal.DeadlineChange{})
	n.must(err)
	n.eventually("it is paused at its deadline", func() bool { return n.state(sb) == shoal.StatePaused })

	request := proxy.Request{SandboxID: sb.SandboxID, Port: shoal.EnvdPort, EnvdToken: "wrong"}
	if _, err := n.orch.Router().Resolve(ctx, request); !shoal.ErrForbidden.Matches(err) || n.state(sb) != shoal.StatePaused {
		t.Errorf("with a wrong token: %v, %s", err, n.state(sb))
	}
	request.EnvdToken = spec.EnvdAccessToken
	full := shoal.ErrTeamRequests.New("full")
	request.Admission = func(teamID string) error {
		if teamID == spec.TeamID {
			return full
		}
		return nil
	}
	if _, err := n.orch.Router().Resolve(ctx, request); !errors.Is(err, full) || n.state(sb) != shoal.StatePaused {
		t.Errorf("for a team that is not admitted: %v, %s", err, n.state(sb))
	}
	request.Admission = nil
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if target, err := n.orch.Router().Resolve(ctx, request); err != nil || !target.Host.IsValid() {
				t.Errorf("resolve: %+v %v", target, err)
			}
		})
	}
	wg.Wait()
	view, err := n.orch.Get(ctx, sb.SandboxID)
	// Those who joined the resume count from when they were answered.
	if lease := view.EndAt.Sub(view.StartedAt); err != nil || view.State != shoal.StateRunning || lease < 7*time.Minute || lease > 8*time.Minute {
		t.Errorf("woken for %s: %s %v", lease, view.State, err)
	}
	if !view.Lifecycle.AutoPause {
		t.Error("it would not pause again")
	}
	// Without auto-resume a paused sandbox stays paused.
	other := n.create()
	n.pause(other)
	_, err = n.orch.Router().Resolve(ctx, proxy.Request{SandboxID: other.SandboxID, Port: shoal.EnvdPort, EnvdToken: "secret"})
	if !shoal.ErrSandboxNotRunning.Matches(err) || n.state(other) != shoal.StatePaused {
		t.Errorf("traffic to a paused sandbox: %v, %s", err, n.state(other))
	}
}

// TestSnapshotAndFork: copies begin where the original stands, which goes on, and
// each has an identity, a memory and a disk of its own.
func TestSnapshotAndFork(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb := n.create()
	n.write(sb, "/root/shared", "one")
	build, err := n.orch.Snapshot(ctx, sb.SandboxID, shoal.SnapshotTarget{TemplateID: "snap", BuildID: shoal.NewBuildID()})
	n.must(err)
	n.write(sb, "/root/shared", "two")

	spec := n.spec()
	spec.BuildID, spec.TemplateID, spec.EnvdAccessToken, spec.EnvVars = build.ID, "snap", "another", nil
	fromSnapshot, err := n.orch.Create(ctx, spec)
	n.must(err)
	forked := n.spec()
	forked.EnvdAccessToken, forked.EnvVars = "third", nil
	bad := n.spec()
	bad.Network.DenyOut = []string{"nonsense"}
	results, err := n.orch.Fork(ctx, sb.SandboxID, []shoal.Spec{forked, bad})
	n.must(err)
	if results[0].Err != nil || !shoal.ErrNetworkPolicy.Matches(results[1].Err) {
		t.Fatalf("forks: %+v", results)
	}
	n.write(results[0].Sandbox, "/root/own", "of the fork")
	for name, c := range map[string]struct {
		sb   shoal.Sandbox
		want string
	}{"original": {sb, "two"}, "from the snapshot": {fromSnapshot, "one"}, "fork": {results[0].Sandbox, "two"}} {
		if got := n.read(c.sb, "/root/shared"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if got := n.read(c.sb, "/run/e2b/.E2B_SANDBOX_ID"); got != c.sb.SandboxID {
			t.Errorf("%s knows itself as %q", name, got)
		}
	}
	if n.state(sb) != shoal.StateRunning {
		t.Error("the original does not run")
	}
	// It survives a restart, until it is removed.
	n.close()
	n.open()
	if _, err := n.orch.Create(ctx, spec); !shoal.ErrSandboxState.Matches(err) {
		t.Errorf("the adopted one is not known: %v", err)
	}
	spec.SandboxID = shoal.NewSandboxID()
	again, err := n.orch.Create(ctx, spec)
	n.must(err)
	if got := n.read(again, "/root/shared"); got != "one" {
		t.Errorf("after a restart: %q", got)
	}
	n.must(n.orch.RemoveBuild(ctx, build.ID))
	n.noSnapshots()
	spec.SandboxID = shoal.NewSandboxID()
	if _, err := n.orch.Create(ctx, spec); !shoal.ErrImageMissing.Matches(err) {
		t.Errorf("after the snapshot's removal: %v", err)
	}
}

// TestInterruptedTransitions: a record says what an earlier process had begun.
func TestInterruptedTransitions(t *testing.T) {
	for _, c := range []struct {
		state   shoal.State
		prepare func(n *node, sb shoal.Sandbox)
		want    shoal.State
	}{
		{shoal.StatePausing, func(n *node, sb shoal.Sandbox) {
			s := n.orch.table.byID[sb.SandboxID]
			s.saved = &snapshot.Saved{Artifact: snapshot.PauseName(sb.SandboxID), Memory: true}
			n.must(s.guest.Freeze(context.Background()))
		}, shoal.StateRunning},
		{shoal.StatePausing, func(n *node, sb shoal.Sandbox) {
			n.orch.table.byID[sb.SandboxID].saved = &snapshot.Saved{Artifact: snapshot.PauseName(sb.SandboxID), Memory: true}
		}, shoal.StateRunning},
		{shoal.StatePaused, func(n *node, sb shoal.Sandbox) { n.pause(sb) }, shoal.StatePaused},
		{shoal.StateResuming, func(n *node, sb shoal.Sandbox) { n.pause(sb) }, shoal.StatePaused},
		{shoal.StateKilling, func(n *node, sb shoal.Sandbox) { n.pause(sb) }, ""},
		{shoal.StateKilling, func(n *node, sb shoal.Sandbox) {}, ""},
	} {
		t.Run(string(c.state), func(t *testing.T) {
			n := newNode(t)
			n.orch.cfg.RestTime = longRest
			sb := n.create()
			n.write(sb, "/root/kept", "x")
			c.prepare(n, sb)
			n.must(n.orch.records.saveAs(n.orch.table.byID[sb.SandboxID], c.state))
			n.close()
			n.open()
			if got := n.state(sb); got != c.want {
				t.Fatalf("state = %q, want %q", got, c.want)
			}
			switch c.want {
			case shoal.StatePaused:
				if len(n.liveKernels(sb.SandboxID)) != 0 {
					t.Error("a guest of the paused sandbox lives")
				}
				sb = n.resume(sb)
				fallthrough
			case shoal.StateRunning:
				if got := n.read(sb, "/root/kept"); got != "x" {
					t.Errorf("the file: %q", got)
				}
			}
			n.noSnapshots()
		})
	}
}

// TestKillIsRecordedFirst: a guest that was told to end may still seem to live when the
// next process looks for what it should take over.
func TestKillIsRecordedFirst(t *testing.T) {
	n := newNode(t)
	sb := n.create()
	var recorded shoal.State
	n.orch.cfg.Ended = func(string) {
		records, err := n.orch.records.read(n.orch.records.live)
		n.must(err)
		for _, r := range records {
			if r.Sandbox.SandboxID == sb.SandboxID {
				recorded = r.Sandbox.State
			}
		}
	}
	n.must(n.orch.Kill(context.Background(), sb.SandboxID, shoal.KillRequest))
	if recorded != shoal.StateKilling {
		t.Errorf("when the guest had ended, its record said %q", recorded)
	}
	n.gone(sb)
}
