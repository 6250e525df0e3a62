package attack

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"shoal/test/installation"
)

// programs run in guests.
//
//go:embed programs
var programs embed.FS

// sandbox is a running sandbox, spoken to through the proxy as SDKs do.
type sandbox struct {
	ID    string `json:"sandboxID"`
	Token string `json:"envdAccessToken"`
	URL   string `json:"envdURL"` // of its daemon, for the host
}

// answer is what the API says to a request: the status, and the error code of a refusal.
type answer struct {
	status int
	code   string
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func (a answer) ok() bool { return a.status/100 == 2 }

// ask makes an API request with the development key. Status 0 is no answer.
func ask(ctx context.Context, method, path, body string) answer {
	status, data, err := server.Call(ctx, method, path, body)
	if err != nil {
		return answer{body: err.Error()}
	}
	var refusal struct {
		Code string `json:"error_code"`
	}
	_ = json.Unmarshal(data, &refusal)
	return answer{status, refusal.Code, string(data)}
}

// demand makes an API request that must succeed, and reads its answer into out, unless that
// is nil.
func demand(t *testing.T, method, path, body string, out any) {
	t.Helper()
	a := ask(context.WithoutCancel(t.Context()), method, path, body)
	if !a.ok() {
		t.Fatalf("%s %s %s: %v", method, path, body, a)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(a.body), out); err != nil {
			t.Fatal(err)
		}
	}
}

// create starts a sandbox with additional members of the request. It is killed after the
// test.
func create(t *testing.T, members string) sandbox {
	t.Helper()
	var s sandbox
	demand(t, "POST", "/v2/sandboxes", `{"templateID":"base","timeout":3600`+members+`}`, &s)
	t.Cleanup(func() { s.kill() })
	return s
}

// kill removes the sandbox.
func (s sandbox) kill() answer {
	return ask(context.Background(), "DELETE", "/sandboxes/"+s.ID, "")
}

// write puts a file into the sandbox.
func (s sandbox) write(ctx context.Context, path, content string) error {
	status, body, err := server.Envd(ctx, s.ID, s.Token, "POST", "/files?username=root&path="+url.QueryEscape(path),
		strings.NewReader(content))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("write %s in %s: %d %s", path, s.ID, status, body)
	}
	return err
}

// program puts a program into the sandbox, and returns the command line that runs it.
func (s sandbox) program(ctx context.Context, name string) (string, error) {
	text, err := programs.ReadFile("programs/" + name)
	if err != nil {
		return "", err
	}
	path := "/opt/" + name
	return "python3 -u " + path, s.write(ctx, path, string(text))
}

// calls does not keep connections, so that each call of the probe is all that a new client
// does.
var calls = &http.Transport{DisableKeepAlives: true}

// as sends requests to the sandbox's daemon as one of its users.
func (s sandbox) as(user string) installation.Caller {
	return installation.Caller{SandboxID: s.ID, Token: s.Token, User: user, Transport: calls}
}

// run runs a command line and returns what it prints. The error of one that fails has the
// end of that.
func (s sandbox) run(ctx context.Context, user, line string) (string, error) {
	text, err := server.Shell(ctx, s.as(user), line)
	if failed := (*installation.StatusError)(nil); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %.60q says %s", err, line, text[max(0, len(text)-600):])
	}
	return text, err
}

// start runs a command line that goes on by itself.
func (s sandbox) start(ctx context.Context, user, line string) error {
	_, err := s.run(ctx, user, "setsid nohup "+line+" > /tmp/started.log 2>&1 < /dev/null &")
	return err
}

// python runs one of the programs to its end and returns what it prints.
func (s sandbox) python(t *testing.T, limit time.Duration, user, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	line, err := s.program(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.run(ctx, user, line+" "+strings.Join(args, " "))
	if err != nil {
		t.Fatalf("%s in %s: %v; it said %s", name, s.ID, err, out[max(0, len(out)-600):])
	}
	return out
}

// works demands that the sandbox runs a command.
func (s sandbox) works(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if out, err := s.run(ctx, "user", "echo fine"); err != nil || out != "fine\n" {
		t.Errorf("%s does not work: %q %v", s.ID, out, err)
	}
}

// fetch makes an API request that should succeed, and reads its answer into out.
func fetch(ctx context.Context, method, path, body string, out any) error {
	a := ask(ctx, method, path, body)
	if !a.ok() {
		return fmt.Errorf("%s %s: %v", method, path, a)
	}
	return json.Unmarshal([]byte(a.body), out)
}

// readAnswer reads an answer that must be a success into out, unless that is nil.
func readAnswer(resp *http.Response, out any) error {
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%d %s", resp.StatusCode, data)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(data, out)
	}
	return err
}
