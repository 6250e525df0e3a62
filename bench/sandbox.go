package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"shoal/internal/envdapi"
)

// sandbox is a created sandbox.
type sandbox struct {
	ID    string `json:"sandboxID"`
	Token string `json:"envdAccessToken"`
	URL   string `json:"envdURL"`
}

type boxes []sandbox

func (s *server) create(ctx context.Context) (sandbox, error) { return s.createOf(ctx, "base") }

func (s *server) createOf(ctx context.Context, template string) (sb sandbox, err error) {
	body := fmt.Sprintf(`{"templateID":%q,"timeout":3600}`, template)
	err = s.call(ctx, "POST", "/v2/sandboxes", body, 201, &sb)
	return sb, err
}

func (s *server) kill(ctx context.Context, sb sandbox) error {
	return s.call(ctx, "DELETE", "/sandboxes/"+sb.ID, "", 204, nil)
}

func (s *server) pause(ctx context.Context, sb sandbox) error {
	return s.call(ctx, "POST", "/sandboxes/"+sb.ID+"/pause", "{}", 204, nil)
}

func (s *server) connect(ctx context.Context, sb sandbox) error {
	return s.call(ctx, "POST", "/v2/sandboxes/"+sb.ID+"/connect", `{"timeout":3600}`, 201, nil)
}

// killAll kills sandboxes and waits until their guests have ended.
func (s *server) killAll(ctx context.Context, all boxes) error {
	for _, sb := range all {
		guest, err := s.guestOf(sb)
		if err != nil {
			return err
		}
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
		if err := s.awaitEnd(ctx, guest); err != nil {
			return err
		}
	}
	return nil
}

// awaitEnd waits until a guest has ended.
func (s *server) awaitEnd(ctx context.Context, guest string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(guestGroups(guest)) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// createAndRun times a create until a command has run in the new sandbox.
func (s *server) createAndRun(ctx context.Context, command string) (sandbox, time.Duration, error) {
	begin := time.Now()
	sb, err := s.create(ctx)
	if err != nil {
		return sb, 0, err
	}
	_, err = s.command(ctx, sb, command)
	return sb, time.Since(begin), err
}

// envd makes a request to the sandbox's daemon through the proxy, as SDKs do.
func (s *server) envd(ctx context.Context, sb sandbox, method, path, contentType string,
	body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Proxy+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("E2b-Sandbox-Id", sb.ID)
	req.Header.Set("E2b-Sandbox-Port", strconv.Itoa(envdapi.Port))
	req.Header.Set(envdapi.TokenHeader, sb.Token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		data, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, data)
	}
	return resp, nil
}

// command runs a shell command as the SDKs do and returns its standard output.
func (s *server) command(ctx context.Context, sb sandbox, command string) (string, error) {
	message, err := json.Marshal(map[string]any{"process": map[string]any{"cmd": "/bin/bash",
		"args": []string{"-l", "-c", command}}, "stdin": false})
	if err != nil {
		return "", err
	}
	envelope := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(message)))...)
	resp, err := s.envd(ctx, sb, "POST", "/process.Process/Start", "application/connect+json",
		bytes.NewReader(append(envelope, message...)))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var out []byte
	for {
		var head [5]byte
		if _, err := io.ReadFull(resp.Body, head[:]); err != nil {
			return "", fmt.Errorf("read an event: %w", err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(resp.Body, body); err != nil {
			return "", fmt.Errorf("read an event: %w", err)
		}
		if head[0]&2 != 0 {
			_, _ = io.Copy(io.Discard, resp.Body)
			return string(out), nil
		}
		var event struct {
			Event struct {
				Data struct{ Stdout, Stderr string }
				End  struct{ Error string }
			}
		}
		if err := json.Unmarshal(body, &event); err != nil {
			return "", err
		}
		chunk, _ := base64.StdEncoding.DecodeString(event.Event.Data.Stdout)
		out = append(out, chunk...)
		if event.Event.End.Error != "" {
			return "", fmt.Errorf("%s: %s\n%s", command, event.Event.End.Error, out)
		}
	}
}
