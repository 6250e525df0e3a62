package envd

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	pb "shoal/internal/envdapi/gen/process"
)

func TestEndEvents(t *testing.T) {
	g := newGuest(t)
	noBang := g.write(g.home, "nobang", "echo ran\n")
	plain := g.write(g.home, "plain", "data")
	if err := os.Chmod(noBang, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		req    *pb.StartRequest
		code   int32
		exited bool
		status string
		stdout string
		stderr string // must be contained
	}{
		{"zero", sh("echo hi"), 0, true, "exit status 0", "hi\n", ""},
		{"non-zero", sh("echo bad >&2; exit 3"), 3, true, "exit status 3", "", "bad\n"},
		{"killed", sh("kill -9 $$"), -1, false, "signal: killed", "", ""},
		{"terminated", sh("kill -15 $$"), -1, false, "signal: terminated", "", ""},
		{"argv without shell", &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "echo",
			Args: []string{"a  b", "$HOME"}}}, 0, true, "exit status 0", "a  b $HOME\n", ""},
		{"missing", &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "no-such-command", Args: []string{"x"}}},
			127, true, "exit status 127", "", "no-such-command"},
		{"missing path", &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "/no/such/command"}}, 127, true,
			"exit status 127", "", "/no/such/command"},
		{"not executable", &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: plain}}, 126, true,
			"exit status 126", "", plain},
		{"without interpreter line", &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: noBang}}, 0, true,
			"exit status 0", "ran\n", ""},
		{"stdin off", sh("read x; echo $?"), 0, true, "exit status 0", "1\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := g.start(g.context(), unary(c.req))
			r.t = t
			end := r.mustEnd()
			if end.GetExitCode() != c.code || end.GetExited() != c.exited || end.GetStatus() != c.status {
				t.Errorf("end %v", end)
			}
			if wantErr := c.code != 0; wantErr != (end.Error != nil) ||
				(wantErr && end.GetError() != c.status) {
				t.Errorf("error %v", end.Error)
			}
			if r.stdout.String() != c.stdout || !strings.Contains(r.stderr.String(), c.stderr) {
				t.Errorf("stdout %q, stderr %q", r.stdout.String(), r.stderr.String())
			}
			if !gone(r.pid) {
				t.Errorf("process %d is still there after its end", r.pid)
			}
		})
	}
}

func TestOutputIsUntouched(t *testing.T) {
	g := newGuest(t)
	r := g.start(g.context(),
		unary(sh(`head -c 8191 /dev/zero | tr '\0' a; printf '\342'; head -c 300000 /dev/zero | tr '\0' b`)))
	r.mustEnd()
	want := strings.Repeat("a", 8191) + "\xe2" + strings.Repeat("b", 300000)
	if r.stdout.String() != want {
		t.Fatalf("%d bytes arrived, want %d", r.stdout.Len(), len(want))
	}
}

func TestProcessEnvironment(t *testing.T) {
	g := newGuest(t)
	g.mustInit(`{"envVars":{"GLOBAL":"g","BOTH":"global","E2B_SANDBOX":"forged"}}`)
	req := &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "env",
		Envs: map[string]string{"BOTH": "request", "OWN": "o"}}}
	r := g.start(g.context(), unary(req))
	r.mustEnd()
	got := map[string]string{}
	for line := range strings.Lines(r.stdout.String()) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		got[key] = value
	}
	want := map[string]string{"GLOBAL": "g", "BOTH": "request", "OWN": "o", "HOME": g.home, "USER": "user",
		"LOGNAME": "user",
		"PWD":     g.home, "PATH": g.server.config.Path, "E2B_SANDBOX": "true"}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s=%q, want %q", key, got[key], value)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s=%q is inherited", key, got[key])
		}
	}
	second := g.start(g.context(), unary(sh("echo $OWN")))
	second.mustEnd()
	if second.stdout.String() != "\n" {
		t.Errorf("a command's variable reached the next: %q", second.stdout.String())
	}
}

// TestLoginShell: a login shell finds itself in SHELL, as after a login.
func TestLoginShell(t *testing.T) {
	g := newGuest(t)
	show := []string{"--noprofile", "-l", "-c", "env | grep ^SHELL="}
	for want, envs := range map[string]map[string]string{
		"SHELL=/bin/bash\n": nil,
		"SHELL=/bin/own\n":  {"SHELL": "/bin/own"},
	} {
		req := &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "/bin/bash", Args: show, Envs: envs}}
		r := g.start(g.context(), unary(req))
		r.mustEnd()
		if r.stdout.String() != want {
			t.Errorf("with %v: %q, want %q", envs, r.stdout.String(), want)
		}
	}
}

func TestWorkingDirectory(t *testing.T) {
	g := newGuest(t)
	work := g.home + "/work"
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	file := g.write(g.home, "file", "")
	pwd := func(cwd *string) *pb.StartRequest {
		req := sh("pwd; umask")
		req.Process.Cwd = cwd
		return req
	}
	for cwd, want := range map[string]string{"": g.home, "work": work, "~/work": work, "~": g.home,
		work: work} {
		r := g.start(g.context(), unary(pwd(&cwd)))
		r.mustEnd()
		if got, _, _ := strings.Cut(r.stdout.String(), "\n"); got != want {
			t.Errorf("cwd %q: %q, want %q", cwd, got, want)
		}
	}
	for _, cwd := range []string{"missing", file, "~other", work + "\x00"} {
		s, err := g.process.Start(g.context(), unary(pwd(&cwd)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = startStream{s}.next()
		wantCode(t, err, connect.CodeInvalidArgument)
	}
	g.mustInit(`{"defaultWorkdir":"` + work + `"}`)
	r := g.start(g.context(), unary(pwd(nil)))
	r.mustEnd()
	if !strings.HasPrefix(r.stdout.String(), work+"\n") {
		t.Errorf("default workdir: %q", r.stdout.String())
	}
}

// TestTooLong: what is too long for the kernel is named, variables that no process can have are
// refused, and the longest that it takes runs.
func TestTooLong(t *testing.T) {
	g := newGuest(t)
	env := func(size int) *pb.StartRequest {
		req := sh("true")
		req.Process.Envs = map[string]string{"BIG": strings.Repeat("v", size)}
		return req
	}
	for name, value := range map[string]string{"": "x", "A=B": "x", "A\x00": "x", "A": "x\x00y"} {
		req := sh("true")
		req.Process.Envs = map[string]string{name: value}
		s, err := g.process.Start(g.context(), unary(req))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = (startStream{s}).next(); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("the variable %q=%q: %v", name, value, err)
		}
	}
	const limit = 128 << 10
	for want, req := range map[string]*pb.StartRequest{
		`start "/bin/sh" in ` + g.home +
			`: the command line is longer than 128 KiB; write it to a file and run the file`: sh("#" +
			strings.Repeat("x", limit)),
		`start "/bin/sh" in ` + g.home +
			`: the environment variable "BIG" is longer than 128 KiB; write it to a file`: env(limit),
	} {
		s, err := g.process.Start(g.context(), unary(req))
		if err != nil {
			t.Fatal(err)
		}
		_, err = startStream{s}.next()
		wantCode(t, err, connect.CodeInvalidArgument)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, req := range []*pb.StartRequest{sh("#" + strings.Repeat("x", limit-2)),
		env(limit - len("BIG=") - 1)} {
		if end := g.start(g.context(), unary(req)).mustEnd(); end.GetExitCode() != 0 {
			t.Errorf("one byte less: %v", end)
		}
	}
}

func TestUsers(t *testing.T) {
	g := newGuest(t)
	s, err := g.process.Start(g.context(), as("nobody-here", unary(sh("true"))))
	if err != nil {
		t.Fatal(err)
	}
	_, err = startStream{s}.next()
	wantCode(t, err, connect.CodeUnauthenticated)
	if os.Geteuid() != 0 {
		t.Skip("needs root for the rest")
	}
	for user, want := range map[string]int{"user": g.uid, "root": 0} {
		r := g.start(g.context(), as(user, unary(sh("id -u; id -g"))))
		r.mustEnd()
		ids := strings.Fields(r.stdout.String())
		if len(ids) != 2 || mustAtoi(t, ids[0]) != want || mustAtoi(t, ids[1]) != want {
			t.Errorf("%s runs as %q", user, r.stdout.String())
		}
	}
	closed := g.home + "/closed"
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	req := sh("true")
	req.Process.Cwd = &closed
	s, err = g.process.Start(g.context(), unary(req))
	if err != nil {
		t.Fatal(err)
	}
	_, err = startStream{s}.next()
	wantCode(t, err, connect.CodeInvalidArgument)
}

func TestTimeoutKillsTheProcess(t *testing.T) {
	g := newGuest(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r := g.start(ctx, unary(sh("sleep 300 & echo $!; wait")))
	err := r.wait()
	killLater(t, r.stdout.String()) // only the direct child dies
	wantCode(t, err, connect.CodeDeadlineExceeded)
	if r.end != nil {
		t.Errorf("the stream that timed out has an end event: %v", r.end)
	}
	eventually(t, "the timed-out process is gone", func() bool { return gone(r.pid) })
}

func TestTimeoutOutlastsDisconnect(t *testing.T) {
	g := newGuest(t)
	req := unary(sh("echo on; exec sleep 300"))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	inner, disconnect := context.WithCancel(ctx)
	r := g.start(inner, req)
	r.until("output", func() bool { return r.stdout.Len() > 0 })
	disconnect()
	if gone(r.pid) {
		t.Fatal("the disconnect killed the process")
	}
	again := g.connect(g.context(), r.pid)
	if end := again.mustEnd(); end.GetStatus() != "signal: killed" {
		t.Errorf("end %v", end)
	}
	if time.Now().Before(deadlineOf(ctx).Add(-10 * time.Millisecond)) { // the wire has whole milliseconds
		t.Error("the process died before its deadline")
	}
}

func deadlineOf(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline
}

func TestZeroTimeoutStartsNothing(t *testing.T) {
	g := newGuest(t)
	mark := g.home + "/mark"
	frame := append([]byte{0, 0, 0, 0, 0}, `{"process":{"cmd":"touch","args":["`+mark+`"]}}`...)
	frame[4] = byte(len(frame) - 5)
	a := g.do("POST", "/process.Process/Start", bytes.NewReader(frame), "Content-Type",
		"application/connect+json", "Connect-Timeout-Ms", "0")
	if a.status != 200 || !strings.Contains(a.body, "deadline_exceeded") {
		t.Fatalf("%d %q", a.status, a.body)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the command ran")
	}
}

func TestConnect(t *testing.T) {
	g := newGuest(t)
	ctx, disconnect := context.WithCancel(g.context())
	req := sh("echo first; read x; echo got $x; read y; exit 4")
	req.Stdin, req.Tag = proto.Bool(true), proto.String("mine")
	r := g.start(ctx, unary(req))
	r.until("output", func() bool { return r.stdout.String() == "first\n" })
	disconnect()

	a, b := g.connect(g.context(), r.pid), g.connect(g.context(), r.pid)
	g.input(r.pid, "hello\n")
	for _, attached := range []*run{a, b} {
		attached.until("live output", func() bool { return attached.stdout.Len() > 0 })
		if attached.stdout.String() != "got hello\n" {
			t.Errorf("output %q; the past must not be replayed", attached.stdout.String())
		}
	}
	g.input(r.pid, "bye\n")
	for _, attached := range []*run{a, b} {
		if end := attached.mustEnd(); end.GetExitCode() != 4 {
			t.Errorf("end %v", end)
		}
	}
	// The end is kept for a while, by ID and by tag.
	for _, selector := range []*pb.ProcessSelector{byPid(r.pid), byTag("mine")} {
		s, err := g.process.Connect(g.context(), unary(&pb.ConnectRequest{Process: selector}))
		if err != nil {
			t.Fatal(err)
		}
		late := g.attached(connectStream{s})
		if end := late.mustEnd(); late.pid != r.pid || end.GetExitCode() != 4 {
			t.Errorf("late: pid %d, end %v", late.pid, end)
		}
	}
	for selector, code := range map[*pb.ProcessSelector]connect.Code{byPid(1 << 30): connect.CodeNotFound,
		byTag("other"): connect.CodeNotFound, {}: connect.CodeUnimplemented} {
		s, err := g.process.Connect(g.context(), unary(&pb.ConnectRequest{Process: selector}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = connectStream{s}.next()
		wantCode(t, err, code)
	}
}

func (g *guest) input(pid uint32, text string) {
	g.t.Helper()
	_, err := g.process.SendInput(g.context(), unary(&pb.SendInputRequest{Process: byPid(pid),
		Input: &pb.ProcessInput{Input: &pb.ProcessInput_Stdin{Stdin: []byte(text)}}}))
	if err != nil {
		g.t.Fatal(err)
	}
}

func TestKeepalive(t *testing.T) {
	g := newGuest(t)
	req := sh("read x")
	req.Stdin = nil
	start := unary(req)
	start.Header().Set("Keepalive-Ping-Interval", "1")
	r := g.start(g.context(), start)
	r.until("a keepalive", func() bool { return r.alive > 0 })
	g.input(r.pid, "\n")
	r.mustEnd()
}

func TestSignals(t *testing.T) {
	g := newGuest(t)
	list := func() int {
		resp, err := g.process.List(g.context(), unary(&pb.ListRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return len(resp.Msg.GetProcesses())
	}
	for _, c := range []struct {
		signal pb.Signal
		status string
	}{{pb.Signal_SIGNAL_SIGKILL, "signal: killed"}, {pb.Signal_SIGNAL_SIGTERM, "signal: terminated"}} {
		// The grandchild holds the pipes; the end must not wait for it.
		r := g.start(g.context(), unary(sh("sleep 300 & echo $!; wait")))
		r.until("the grandchild", func() bool { return strings.HasSuffix(r.stdout.String(), "\n") })
		killLater(t, r.stdout.String())
		if list() != 1 {
			t.Error("the grandchild is listed, or its parent is not")
		}
		begin := time.Now()
		if err := g.signal(r.pid, c.signal); err != nil {
			t.Fatal(err)
		}
		if c.signal == pb.Signal_SIGNAL_SIGKILL && time.Since(begin) < time.Second &&
			(!gone(r.pid) || list() != 0) {
			t.Error("the process is still there right after SIGKILL")
		}
		if end := r.mustEnd(); end.GetStatus() != c.status || end.GetExitCode() != -1 || end.GetExited() {
			t.Errorf("end %v", end)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("the end took %v", took)
		}
		wantCode(t, g.signal(r.pid, c.signal), connect.CodeNotFound)
	}

	// A process that traps SIGTERM keeps its stream.
	r := g.start(g.context(),
		unary(sh("trap 'echo trapped; exit 5' TERM; echo on; while :; do sleep 0.05; done")))
	r.until("the trap", func() bool { return r.stdout.Len() > 0 })
	wantCode(t, g.signal(r.pid, pb.Signal_SIGNAL_UNSPECIFIED), connect.CodeUnimplemented)
	if err := g.signal(r.pid, pb.Signal_SIGNAL_SIGTERM); err != nil {
		t.Fatal(err)
	}
	if end := r.mustEnd(); end.GetExitCode() != 5 || r.stdout.String() != "on\ntrapped\n" {
		t.Errorf("end %v, stdout %q", end, r.stdout.String())
	}
}

func TestEndWaitsForOutput(t *testing.T) {
	g := newGuest(t)
	r := g.start(g.context(), unary(sh("echo soon; (sleep 0.3; echo late) &")))
	r.mustEnd()
	if r.stdout.String() != "soon\nlate\n" {
		t.Errorf("stdout %q", r.stdout.String())
	}
	begin := time.Now()
	detached := g.start(g.context(), unary(sh("sleep 300 >/dev/null 2>&1 & echo $!")))
	detached.mustEnd()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a detached child held the end up for %v", took)
	}
	killLater(t, detached.stdout.String())
	if gone(uint32(mustAtoi(t, detached.stdout.String()))) {
		t.Error("the detached child did not live on")
	}
}

func TestListEchoesTheRequest(t *testing.T) {
	g := newGuest(t)
	cwd := "~"
	req := &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "cat", Args: []string{"-"},
		Envs: map[string]string{"A": "1"}, Cwd: &cwd}, Tag: proto.String("t")}
	r := g.start(g.context(), unary(req))
	resp, err := g.process.List(g.context(), unary(&pb.ListRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.ListResponse{Processes: []*pb.ProcessInfo{{Config: req.Process, Pid: r.pid, Tag: req.Tag}}}
	if !proto.Equal(resp.Msg, want) {
		t.Errorf("list %v, want %v", resp.Msg, want)
	}
}

func TestSlowSubscriberBlocksOnlyItsProcess(t *testing.T) {
	g := newGuest(t)
	ctx, disconnect := context.WithCancel(g.context())
	// Nobody reads this one, so it fills its queue and the socket, and waits.
	flood := g.start(ctx, unary(sh("head -c 100000000 /dev/zero; echo done > "+g.home+"/done")))
	other := g.start(g.context(), unary(sh("echo free")))
	other.mustEnd()
	if _, err := os.Stat(g.home + "/done"); err == nil {
		t.Fatal("100 MB were buffered for a client that does not read")
	}
	disconnect()
	// With nobody attached the output is dropped and the process goes on.
	eventually(t, "the process finishes after its reader left", func() bool {
		_, err := os.Stat(g.home + "/done")
		return err == nil
	})
	eventually(t, "the process is gone", func() bool { return gone(flood.pid) })
}
