package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envdapi/gen/process"
	"shoal/internal/envdapi/gen/process/processconnect"
	"shoal/internal/shoal"
	"shoal/test/installation"
)

// sandbox is a sandbox, spoken to through the proxy as SDKs do.
type sandbox struct {
	i     *installation.Installation
	ID    string `json:"sandboxID"`
	Token string `json:"envdAccessToken"`
}

// call makes an API request, and reads the answer into out, unless that is nil.
func call(ctx context.Context, i *installation.Installation, method, path, body string, out any) error {
	status, data, err := i.Call(ctx, method, path, body)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, status, data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

func create(ctx context.Context, i *installation.Installation, template string, life time.Duration) (*sandbox, error) {
	s := &sandbox{i: i}
	if err := call(ctx, i, "POST", "/v2/sandboxes", fmt.Sprintf(`{"templateID":%q,"timeout":%d}`,
		template, int(life.Seconds())), s); err != nil {
		return nil, err
	}
	guests, err := s.guests()
	if err == nil && len(guests) != 1 {
		err = fmt.Errorf("the guests of a sandbox that runs are %q", guests)
	}
	if err != nil {
		s.kill()
	}
	return s, err
}

// pauseAndResume pauses the sandbox with its memory, and resumes it from what was written.
func (s *sandbox) pauseAndResume(ctx context.Context, life time.Duration) error {
	if err := call(ctx, s.i, "POST", "/sandboxes/"+s.ID+"/pause", `{}`, nil); err != nil {
		return err
	}
	if err := s.awaitEnd(ctx); err != nil {
		return err
	}
	return call(ctx, s.i, "POST", "/sandboxes/"+s.ID+"/connect", fmt.Sprintf(`{"timeout":%d}`, int(life.Seconds())), nil)
}

// awaitEnd waits until the guest of the paused sandbox has ended, which stays until all is on
// the disk. A guest that was not started ahead has its sandbox's name.
func (s *sandbox) awaitEnd(ctx context.Context) error {
	const period = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		guests, err := s.guests()
		if err != nil || len(guests) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the guest of the paused sandbox does not end: %w", ctx.Err())
		case <-time.After(period):
		}
	}
}

// guests returns the directories of the sandbox's guests.
func (s *sandbox) guests() ([]string, error) {
	return filepath.Glob(filepath.Join(s.i.RunDir, "guests", s.ID+"-*"))
}

// kill ends the sandbox, whose deadline would do so otherwise.
func (s *sandbox) kill() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = call(ctx, s.i, "DELETE", "/sandboxes/"+s.ID, "", nil)
}

// write puts a file of the sandbox's user into it.
func (s *sandbox) write(ctx context.Context, path, content string) error {
	status, body, err := s.i.Envd(ctx, s.ID, s.Token, "POST", "/files?username=user&path="+url.QueryEscape(path),
		strings.NewReader(content))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("write %s: %d %s", path, status, body)
	}
	return err
}

// run runs a script as the SDKs do, and returns what it prints.
func (s *sandbox) run(ctx context.Context, script string) (string, error) {
	client := processconnect.NewProcessClient(&http.Client{Transport: identity{s}}, "http://"+s.i.Proxy,
		connect.WithProtoJSON())
	stdin := false
	stream, err := client.Start(ctx, connect.NewRequest(&process.StartRequest{Stdin: &stdin,
		Process: &process.ProcessConfig{Cmd: "/bin/bash", Args: []string{"-l", "-c", script}}}))
	if err != nil {
		return "", err
	}
	defer stream.Close()
	var out strings.Builder
	for stream.Receive() {
		switch event := stream.Msg().GetEvent().GetEvent().(type) {
		case *process.ProcessEvent_Data:
			out.Write(event.Data.GetStdout())
			out.Write(event.Data.GetStderr())
		case *process.ProcessEvent_End:
			if event.End.GetExitCode() != 0 || !event.End.GetExited() {
				return out.String(), errors.New(event.End.GetStatus())
			}
			return out.String(), nil
		}
	}
	return out.String(), errors.Join(errors.New("the script's end is not known"), stream.Err())
}

// identity adds to every call what the proxy and the daemon need to know.
type identity struct{ of *sandbox }

var _ http.RoundTripper = identity{}

// RoundTrip implements http.RoundTripper.
func (i identity) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("E2b-Sandbox-Id", i.of.ID)
	r.Header.Set("E2b-Sandbox-Port", fmt.Sprint(shoal.EnvdPort))
	r.Header.Set("X-Access-Token", i.of.Token)
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("user:")))
	return http.DefaultTransport.RoundTrip(r)
}
