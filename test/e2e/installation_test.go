package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"syscall"
	"testing"
	"time"

	"shoal/test/installation"
)

// another starts a second installation, for tests that would disturb the others. It calls
// prepare before the start, unless that is nil. At the end of the test nothing is left of
// it.
func another(t *testing.T, name string, prepare func(*box), env ...string) *running {
	t.Helper()
	i, err := installation.New(repository, name, 67, append(env, "SHOAL_LOG_FORMAT=text")...)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{box: &box{i}}
	t.Cleanup(func() {
		if err := r.Remove(); err != nil {
			t.Error(err)
		}
	})
	if prepare != nil {
		prepare(r.box)
	}
	t.Cleanup(r.end)
	r.t = t
	r.up()
	return r
}

// running is an installation whose process can be stopped and started again.
type running struct {
	*box
	t       *testing.T
	process *installation.Process // nil while none runs
}

// up starts `shoal up` with additional arguments.
func (r *running) up(args ...string) {
	r.t.Helper()
	p, err := r.Start(append([]string{"up"}, args...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.process = p
	if err := p.AwaitLine(installation.Ready, installation.FirstStart); err != nil {
		r.t.Fatal(err)
	}
}

// stop stops the process by a signal.
func (r *running) stop(sig syscall.Signal) {
	r.t.Helper()
	err := r.process.Stop(sig, time.Minute)
	r.process = nil
	if err != nil && sig != syscall.SIGKILL {
		r.t.Errorf("shoal up did not end well: %v", err)
	}
}

// end removes all that the installation left running.
func (r *running) end() {
	if r.process != nil {
		r.stop(syscall.SIGTERM)
	}
	if err := r.Down(); err != nil {
		r.t.Error(err)
	}
}

// demand makes an API request that must be answered with the given status.
func (b *box) demand(t *testing.T, want int, method, path, body string) string {
	t.Helper()
	status, answer := b.call(t, method, path, body)
	if status != want {
		t.Fatalf("%s %s %s: %d %s; want %d", method, path, body, status, answer, want)
	}
	return answer
}

// refusal is the answer to a request that fails.
type refusal struct {
	Code           int
	Message, Cause string
	ErrorCode      string `json:"error_code"`
}

// refused makes an API request that must fail with the given error of the catalogue.
func (b *box) refused(t *testing.T, code, method, path, body string) refusal {
	t.Helper()
	status, answer := b.call(t, method, path, body)
	var r refusal
	if err := json.Unmarshal([]byte(answer), &r); err != nil || status/100 == 2 || r.ErrorCode != code ||
		r.Code != status {
		t.Errorf("%s %s: %d %s; want an error %s", method, path, status, answer, code)
	}
	return r
}

// state returns a sandbox's state according to the API: running, paused or gone.
func (b *box) state(t *testing.T, c created) string {
	t.Helper()
	status, body := b.call(t, "GET", "/sandboxes/"+c.SandboxID, "")
	if status == 404 {
		return "gone"
	}
	var d struct{ State string }
	if err := json.Unmarshal([]byte(body), &d); status != 200 || err != nil {
		t.Fatalf("detail: %d %s", status, body)
	}
	return d.State
}

// write puts a file into a sandbox, through the proxy like an SDK.
func (b *box) write(t *testing.T, c created, path, text string) {
	t.Helper()
	if status, answer := b.file(t, c, "POST", path, bytes.NewBufferString(text)); status != 200 {
		t.Fatalf("write %s: %d %s", path, status, answer)
	}
}

// read checks the content of a file in a sandbox.
func (b *box) read(t *testing.T, c created, path, want string) {
	t.Helper()
	if status, text := b.file(t, c, "GET", path, nil); status != 200 || text != want {
		t.Errorf("%s in %s: %d %q, want %q", path, c.SandboxID, status, text, want)
	}
}

func (b *box) file(t *testing.T, c created, method, path string, body io.Reader) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	status, data, err := b.Envd(ctx, c.SandboxID, c.EnvdAccessToken, method,
		"/files?username=root&path="+path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, string(data)
}
