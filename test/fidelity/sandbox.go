package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

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

// create makes a sandbox with a network as JSON, if that is not empty.
func create(
	ctx context.Context, i *installation.Installation, template, network string, life time.Duration,
) (*sandbox, error) {
	s := &sandbox{i: i}
	if err := call(ctx, i, "POST", "/v2/sandboxes", fmt.Sprintf(`{"templateID":%q,"timeout":%d,"network":%s}`,
		template, int(life.Seconds()), cmp.Or(network, "{}")), s); err != nil {
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
	return s.i.Shell(ctx, installation.Caller{SandboxID: s.ID, Token: s.Token, User: "user",
		Transport: http.DefaultTransport}, script)
}
