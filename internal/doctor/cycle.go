package doctor

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/gen/process"
	"shoal/internal/envdapi/gen/process/processconnect"
)

const (
	// cycleTime bounds all steps with one sandbox, of which some may have to wait for a boot.
	cycleTime = 3 * time.Minute
	// killTime bounds the last step, which is made in any case.
	killTime = 30 * time.Second
	// cycleAnswer bounds what is read of an answer of the API, in bytes.
	cycleAnswer = 1 << 20
	// cycleLife is the sandbox's own time, in seconds, should nobody come to kill it.
	cycleLife = 240
)

// Target is where a client would find the installation.
type Target struct {
	API     string // URL
	Traffic string // URL at which all sandboxes are reached by headers
	Domain  string // below which sandboxes have names; "" if there is none
	Key     string
	// Template is what the sandbox is made from.
	Template string
}

// cycle is one sandbox on its way.
type cycle struct {
	Target
	id    string
	token string // of its daemon
}

// Cycle makes a sandbox as a client does, runs commands in it by both ways that lead there, pauses,
// resumes and kills it. Each result says how long its step took. The first that fails is the last
// but for the kill.
func Cycle(ctx context.Context, t Target) []Result {
	ctx, cancel := context.WithTimeout(ctx, cycleTime)
	defer cancel()
	c := &cycle{Target: t}
	results := []Result{take("create", func() error { return c.create(ctx) })}
	if c.id == "" {
		return results
	}
	for _, step := range c.steps(ctx) {
		r := take(step.name, step.run)
		results = append(results, r)
		if r.Level == Fail {
			break
		}
	}
	ending, cancelKill := context.WithTimeout(context.WithoutCancel(ctx), killTime)
	defer cancelKill()
	return append(results, take("kill", func() error {
		return c.call(ending, http.MethodDelete, "/sandboxes/"+c.id, nil, nil)
	}))
}

type step struct {
	name string
	run  func() error
}

func (c *cycle) steps(ctx context.Context) []step {
	const file = "/tmp/shoal-doctor"
	list := []step{{"run, by header", func() error {
		return c.exec(ctx, c.byHeader, "echo was here >"+file+" && echo hello", "hello")
	}}}
	if c.Domain != "" {
		list = append(list, step{"run, by host", func() error {
			return c.exec(ctx, c.byHost, "cat "+file, "was here")
		}})
	}
	return append(list,
		step{"pause", func() error { return c.call(ctx, http.MethodPost, "/sandboxes/"+c.id+"/pause", map[string]any{}, nil) }},
		step{"resume", func() error {
			return c.call(ctx, http.MethodPost, "/sandboxes/"+c.id+"/connect", map[string]any{"timeout": cycleLife}, nil)
		}},
		step{"run, resumed", func() error { return c.exec(ctx, c.byHeader, "cat "+file, "was here") }})
}

// take takes a step and says how long it took, or why it failed.
func take(name string, run func() error) Result {
	begin := time.Now()
	err := run()
	took := time.Since(begin).Round(100 * time.Microsecond)
	var answered *apiError
	switch {
	case err == nil:
		return ok("%s", took).of(name)
	case errors.As(err, &answered) && answered.Fix != "":
		return Fail.because(answered.Fix, "%v (after %s)", err, took).of(name)
	}
	return Fail.because("see what the checks above say, and Shoal's log", "%v (after %s)", err, took).of(name)
}

func (c *cycle) create(ctx context.Context) error {
	var made struct {
		ID     string `json:"sandboxID"`
		Token  string `json:"envdAccessToken"`
		Domain string `json:"domain"`
	}
	err := c.call(ctx, http.MethodPost, "/sandboxes", map[string]any{"templateID": c.Template, "timeout": cycleLife,
		"secure": true, "metadata": map[string]string{"made-by": "shoal doctor"}}, &made)
	c.id, c.token = made.ID, made.Token
	if made.Domain != "" {
		c.Domain = made.Domain
	}
	return err
}

// apiError is an answer of the API that says what went wrong.
type apiError struct {
	Status  int    `json:"-"`
	Message string `json:"message"`
	Code    string `json:"error_code"`
	Cause   string `json:"cause"`
	Fix     string `json:"fix"`
	Request string `json:"requestId"`
}

// Error says all but the fix.
func (e *apiError) Error() string {
	text := fmt.Sprintf("the API answers %d", e.Status)
	for _, part := range []string{e.Code, e.Message, e.Cause} {
		if part != "" {
			text += ": " + part
		}
	}
	if e.Request != "" {
		text += " (request " + e.Request + ")"
	}
	return text
}

// call makes one call of the API.
func (c *cycle) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.API, "/")+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("X-Api-Key", c.Key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the API at %s does not answer: %w", c.API, bare(err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, cycleAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		said := &apiError{Status: resp.StatusCode}
		_ = json.Unmarshal(data, said) // what is no answer of the API has its status alone
		return said
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// byHeader and byHost are the two ways of a request to a sandbox.
func (c *cycle) byHeader(r *http.Request) {
	r.Header.Set("E2b-Sandbox-Id", c.id)
	r.Header.Set("E2b-Sandbox-Port", fmt.Sprint(envdapi.Port))
}

func (c *cycle) byHost(r *http.Request) {
	r.Host = fmt.Sprintf("%d-%s.%s", envdapi.Port, c.id, c.Domain)
}

// routed sends requests one of the ways.
type routed struct{ way func(*http.Request) }

// RoundTrip sends a request.
func (t routed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	t.way(r)
	return http.DefaultTransport.RoundTrip(r)
}

// exec runs a command line in the sandbox, which must print a line.
func (c *cycle) exec(ctx context.Context, way func(*http.Request), line, want string) error {
	calls := processconnect.NewProcessClient(&http.Client{Transport: routed{way}}, strings.TrimSuffix(c.Traffic, "/"))
	req := connect.NewRequest(&process.StartRequest{Process: &process.ProcessConfig{Cmd: "/bin/sh", Args: []string{"-c", line}}})
	req.Header().Set(envdapi.TokenHeader, c.token)
	req.Header().Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("user:")))
	stream, err := calls.Start(ctx, req)
	if err != nil {
		return fmt.Errorf("the sandbox's daemon is not reached at %s: %w", c.Traffic, err)
	}
	defer stream.Close()
	var out strings.Builder
	for stream.Receive() {
		event := stream.Msg().GetEvent()
		if data := event.GetData().GetStdout(); out.Len() < cycleAnswer {
			out.Write(data)
		}
		if end := event.GetEnd(); end != nil && end.GetExitCode() != 0 {
			return fmt.Errorf("the command ended with %q", end.GetStatus())
		}
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("the sandbox's daemon is not reached at %s: %w", c.Traffic, err)
	}
	if got := strings.TrimSpace(out.String()); got != want {
		return fmt.Errorf("the command printed %.100q, not %q", got, want)
	}
	return nil
}
