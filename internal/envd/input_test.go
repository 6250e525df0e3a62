package envd

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	pb "shoal/internal/envdapi/gen/process"
	"shoal/internal/envdapi/gen/process/processconnect"
)

func stdin(text string) *pb.ProcessInput {
	return &pb.ProcessInput{Input: &pb.ProcessInput_Stdin{Stdin: []byte(text)}}
}

func keys(text string) *pb.ProcessInput {
	return &pb.ProcessInput{Input: &pb.ProcessInput_Pty{Pty: []byte(text)}}
}

func (g *guest) send(pid uint32, in *pb.ProcessInput) error {
	_, err := g.process.SendInput(g.context(), unary(&pb.SendInputRequest{Process: byPid(pid), Input: in}))
	return err
}

func (g *guest) closeStdin(pid uint32) error {
	_, err := g.process.CloseStdin(g.context(), unary(&pb.CloseStdinRequest{Process: byPid(pid)}))
	return err
}

func cat(stdin *bool) *pb.StartRequest {
	return &pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "cat"}, Stdin: stdin}
}

func TestStdin(t *testing.T) {
	g := newGuest(t)
	for _, mode := range []*bool{nil, proto.Bool(true)} {
		r := g.start(g.context(), unary(cat(mode)))
		text := "plain\n!@#$%^&*()_+\n\x00\xff"
		for _, in := range []*pb.ProcessInput{stdin(text), stdin("")} {
			if err := g.send(r.pid, in); err != nil {
				t.Fatal(err)
			}
		}
		r.until("the echo", func() bool { return r.stdout.Len() == len(text) })
		wantCode(t, g.send(r.pid, keys("x")), connect.CodeInternal)
		wantCode(t, g.send(r.pid, &pb.ProcessInput{}), connect.CodeUnimplemented)
		for range 2 { // it may be repeated
			if err := g.closeStdin(r.pid); err != nil && connect.CodeOf(err) != connect.CodeNotFound {
				t.Fatal(err)
			}
		}
		if end := r.mustEnd(); end.GetExitCode() != 0 || r.stdout.String() != text {
			t.Errorf("end %v, stdout %q", end, r.stdout.String())
		}
		wantCode(t, g.send(r.pid, stdin("x")), connect.CodeNotFound)
	}
}

func TestStdinOff(t *testing.T) {
	g := newGuest(t)
	r := g.start(g.context(), unary(sh("exec sleep 300")))
	wantCode(t, g.send(r.pid, stdin("x")), connect.CodeInternal)
	if err := g.closeStdin(r.pid); err != nil {
		t.Errorf("closing a stdin that is off: %v", err)
	}
	_, err := g.process.Update(g.context(), unary(&pb.UpdateRequest{Process: byPid(r.pid), Pty: &pb.PTY{}}))
	wantCode(t, err, connect.CodeInternal)
	if _, err := g.process.Update(g.context(), unary(&pb.UpdateRequest{Process: byPid(r.pid)})); err != nil {
		t.Errorf("an update of nothing: %v", err)
	}
	if err := g.signal(r.pid, pb.Signal_SIGNAL_SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// A process that does not read must not hold its writers for ever, and what it has read
// stays in order.
func TestStdinOfAProcessThatDoesNotRead(t *testing.T) {
	g := newGuest(t)
	req := sh("exec sleep 300")
	req.Stdin = nil
	r := g.start(g.context(), unary(req))
	done := make(chan error, 1)
	go func() { done <- g.send(r.pid, stdin(strings.Repeat("x", 1<<20))) }()
	if err := g.signal(r.pid, pb.Signal_SIGNAL_SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("a megabyte fit into a pipe nobody reads")
	}
	r.mustEnd()
}

// inputData is a message of StreamInput with bytes for stdin.
func inputData(text string) *pb.StreamInputRequest {
	data := &pb.StreamInputRequest_DataEvent{Input: stdin(text)}
	return &pb.StreamInputRequest{Event: &pb.StreamInputRequest_Data{Data: data}}
}

func TestStreamInput(t *testing.T) {
	g := newGuest(t)
	r := g.start(g.context(), unary(cat(nil)))
	in := g.process.StreamInput(g.context())
	send := func(m *pb.StreamInputRequest) {
		t.Helper()
		if err := in.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	start, alive := &pb.StreamInputRequest_StartEvent{Process: byPid(r.pid)}, &pb.StreamInputRequest_KeepAlive{}
	send(&pb.StreamInputRequest{Event: &pb.StreamInputRequest_Start{Start: start}})
	send(&pb.StreamInputRequest{Event: &pb.StreamInputRequest_Keepalive{Keepalive: alive}})
	for _, part := range []string{"one ", "two ", "three\n"} {
		send(inputData(part))
	}
	if _, err := in.CloseAndReceive(); err != nil {
		t.Fatal(err)
	}
	if err := g.closeStdin(r.pid); err != nil {
		t.Fatal(err)
	}
	r.mustEnd()
	if r.stdout.String() != "one two three\n" {
		t.Errorf("stdout %q", r.stdout.String())
	}

	r = g.start(g.context(), unary(cat(nil)))
	in = g.process.StreamInput(g.context())
	send(&pb.StreamInputRequest{Event: &pb.StreamInputRequest_Start{Start: &pb.StreamInputRequest_StartEvent{
		Process: byPid(r.pid)}}})
	send(inputData("x"))
	r.until("the stream has its process", func() bool { return r.stdout.String() == "x" })
	if err := g.closeStdin(r.pid); err != nil {
		t.Fatal(err)
	}
	r.mustEnd()
	send(inputData("y"))
	_, err := in.CloseAndReceive()
	if wantCode(t, err, connect.CodeInternal); !strings.Contains(err.Error(), "no open stdin") {
		t.Errorf("after the end: %v", err)
	}

	lost := g.process.StreamInput(g.context())
	_ = lost.Send(inputData("x"))
	_, err = lost.CloseAndReceive()
	wantCode(t, err, connect.CodeUnimplemented)
}

// TestStreamInputFailsAtOnce: an SDK keeps its stream open while it has nothing to send, and has
// to learn meanwhile that nobody reads it.
func TestStreamInputFailsAtOnce(t *testing.T) {
	g := newGuest(t)
	for name, c := range map[string]struct {
		pid  uint32
		want string
	}{
		"unknown":    {99999, "not_found"},
		"a terminal": {g.start(g.context(), unary(bash(80, 24))).pid, "internal"},
	} {
		t.Run(name, func(t *testing.T) {
			body, in := io.Pipe()
			defer in.Close()
			req, err := http.NewRequestWithContext(g.context(), http.MethodPost,
				g.url+processconnect.ProcessStreamInputProcedure, body)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/connect+json")
			req.Header.Set("Connect-Protocol-Version", "1")
			go func() {
				for _, message := range []string{fmt.Sprintf(`{"start":{"process":{"pid":%d}}}`, c.pid),
					`{"data":{"input":{"stdin":"eA=="}}}`} {
					_, _ = in.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
				}
			}()
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(answer), c.want) {
				t.Errorf("%v %q", err, answer)
			}
		})
	}
}

func bash(cols, rows uint32) *pb.StartRequest {
	return &pb.StartRequest{
		Process: &pb.ProcessConfig{Cmd: "/bin/sh", Args: []string{"-i"},
			Envs: map[string]string{"TERM": "xterm-256color", "PS1": "> ", "ABC": "123"}},
		Pty: &pb.PTY{Size: &pb.PTY_Size{Cols: cols, Rows: rows}},
	}
}

func TestTerminal(t *testing.T) {
	g := newGuest(t)
	r := g.start(g.context(), unary(bash(80, 24)))
	enter := func(line string) {
		t.Helper()
		if err := g.send(r.pid, keys(line+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	enter("stty size; echo a=$ABC. $(tty)")
	r.until("the size", func() bool {
		return strings.Contains(r.pty.String(), "24 80") &&
			strings.Contains(r.pty.String(), "a=123. /dev/pts/")
	})
	_, err := g.process.Update(g.context(), unary(&pb.UpdateRequest{Process: byPid(r.pid),
		Pty: &pb.PTY{Size: &pb.PTY_Size{Cols: 100, Rows: 30}}}))
	if err != nil {
		t.Fatal(err)
	}
	enter("stty size; echo o > /dev/tty; echo e >&2")
	r.until("the new size", func() bool { return strings.Contains(r.pty.String(), "30 100") })
	wantCode(t, g.send(r.pid, stdin("x")), connect.CodeInternal)
	wantCode(t, g.closeStdin(r.pid), connect.CodeUnknown)
	if r.stdout.Len()+r.stderr.Len() > 0 {
		t.Error("a terminal's output came as stdout or stderr")
	}

	again := g.connect(g.context(), r.pid)
	enter("echo re-attached; exit 7")
	if end := again.mustEnd(); end.GetExitCode() != 7 ||
		!strings.Contains(again.pty.String(), "re-attached") {
		t.Errorf("end %v, output %q", end, again.pty.String())
	}
	r.mustEnd()
}

func TestTerminalKillAndMissingCommand(t *testing.T) {
	g := newGuest(t)
	r := g.start(g.context(), unary(bash(0, 0)))
	if err := g.signal(r.pid, pb.Signal_SIGNAL_SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the shell is gone", func() bool { return gone(r.pid) })
	if end := r.mustEnd(); end.GetExitCode() != -1 {
		t.Errorf("end %v", end)
	}
	missing := g.start(g.context(), unary(&pb.StartRequest{Process: &pb.ProcessConfig{Cmd: "nothing-here"},
		Pty: &pb.PTY{}}))
	if end := missing.mustEnd(); end.GetExitCode() != 127 ||
		!strings.Contains(missing.pty.String(), "nothing-here") {
		t.Errorf("end %v, output %q", end, missing.pty.String())
	}
}
