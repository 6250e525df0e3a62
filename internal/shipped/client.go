// Package shipped builds the templates that ship with Shoal. It uses the API, just as the
// SDKs do for users' templates.
package shipped

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"shoal/templates"
)

// Client calls the API with a team's key.
type Client struct {
	API string // http://host:port
	Key string
	// Log is called with each line of the build's log.
	Log func(level, message string)
	// Runtime is the isolation runtime that the template's sandboxes shall run by; "" leaves
	// the choice to the machines. RuntimeRequired means that no other will do.
	Runtime         string
	RuntimeRequired bool
	// Begun, if set, is called when the build has started.
	Begun func(templateID, buildID string)
	// HTTP sends the requests; http.DefaultClient if nil.
	HTTP *http.Client
}

// Find returns a shipped template.
func Find(name string) (templates.Template, error) {
	var names []string
	for _, t := range templates.Shipped {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return templates.Template{}, fmt.Errorf("there is no shipped template %q, but %s", name, strings.Join(names, ", "))
}

// build is the API's answer to a registration.
type build struct {
	TemplateID string `json:"templateID"`
	BuildID    string `json:"buildID"`
}

// Build builds a template, or follows a build of it that is already running, and makes
// the template public under its bare name.
func (c *Client) Build(ctx context.Context, t templates.Template) error {
	b, found, err := c.underWay(ctx, t.Name)
	if err != nil {
		return err
	}
	if !found {
		if b, err = c.start(ctx, t); err != nil {
			return err
		}
	}
	if c.Begun != nil {
		c.Begun(b.TemplateID, b.BuildID)
	}
	if err := c.follow(ctx, b.path()); err != nil {
		return err
	}
	return c.call(ctx, http.MethodPatch, "/templates/"+b.TemplateID, map[string]any{"public": true}, nil)
}

// underWay finds a running build of the template that belongs to the caller's team.
func (c *Client) underWay(ctx context.Context, name string) (build, bool, error) {
	var owned struct {
		TemplateID string `json:"templateID"`
	}
	if err := c.call(ctx, http.MethodGet, "/templates/aliases/"+name, nil, &owned); err != nil {
		if status := (*statusError)(nil); errors.As(err, &status) &&
			(status.code == http.StatusNotFound || status.code == http.StatusForbidden) {
			return build{}, false, nil
		}
		return build{}, false, err
	}
	var template struct {
		Builds []struct {
			BuildID string `json:"buildID"`
			Status  string `json:"status"`
		} `json:"builds"`
	}
	if err := c.call(ctx, http.MethodGet, "/templates/"+owned.TemplateID, nil, &template); err != nil {
		return build{}, false, err
	}
	for _, b := range template.Builds {
		if b.Status == "building" {
			return build{owned.TemplateID, b.BuildID}, true, nil
		}
	}
	return build{}, false, nil
}

func (b build) path() string { return "/templates/" + b.TemplateID + "/builds/" + b.BuildID }

// start registers a build, sends its files and starts it.
func (c *Client) start(ctx context.Context, t templates.Template) (build, error) {
	var b build
	err := c.call(ctx, http.MethodPost, "/v3/templates",
		map[string]any{"name": t.Name, "cpuCount": t.CPUCount, "memoryMB": t.MemoryMB}, &b)
	if err != nil {
		return b, err
	}
	steps := []map[string]any{}
	for _, s := range t.Steps {
		step := map[string]any{"type": s.Type, "args": s.Args}
		if s.Type == "COPY" {
			if step["filesHash"], err = c.upload(ctx, b, t.Files, s); err != nil {
				return b, err
			}
		}
		steps = append(steps, step)
	}
	body := map[string]any{"fromImage": t.Image, "steps": steps, "startCmd": t.Start, "readyCmd": t.Ready}
	if c.Runtime != "" {
		body["runtime"] = map[string]any{"name": c.Runtime, "required": c.RuntimeRequired}
	}
	return b, c.call(ctx, http.MethodPost, "/v2"+b.path(), body, nil)
}

// upload sends a COPY step's files, unless the API already has them, and returns their hash.
func (c *Client) upload(ctx context.Context, b build, files fs.FS, s templates.Step) (string, error) {
	archive, err := pack(files, s.Args[0])
	if err != nil {
		return "", fmt.Errorf("pack %s: %w", s.Args[0], err)
	}
	sum := sha256.Sum256(archive)
	hash := hex.EncodeToString(sum[:])
	var link struct {
		Present bool   `json:"present"`
		URL     string `json:"url"`
	}
	at := "/templates/" + b.TemplateID + "/files/" + hash
	if err := c.call(ctx, http.MethodGet, at, nil, &link); err != nil || link.Present {
		return hash, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, link.URL, bytes.NewReader(archive))
	if err != nil {
		return "", err
	}
	return hash, c.do(req, nil)
}

// pack makes an archive of a file, or of everything below a directory. Embedded files
// have no modes, so files that begin with "#!" are made executable.
func pack(files fs.FS, source string) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	err := fs.WalkDir(files, source, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path.Base(name) == "__pycache__" {
				return fs.SkipDir
			}
			return w.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755})
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if bytes.HasPrefix(data, []byte("#!")) {
			mode = 0o755
		}
		header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(data))}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	err = errors.Join(err, w.Close(), z.Close())
	return out.Bytes(), err
}

// pollPeriod is how often follow asks for the build's status.
const pollPeriod = 200 * time.Millisecond

// follow reads the build's log until the build has ended.
func (c *Client) follow(ctx context.Context, at string) error {
	tick := time.NewTicker(pollPeriod)
	defer tick.Stop()
	for offset := 0; ; {
		var status struct {
			Status     string `json:"status"`
			LogEntries []struct{ Level, Message string }
			Reason     struct{ Message, Step string }
		}
		path := fmt.Sprintf("%s/status?logsOffset=%d", at, offset)
		if err := c.call(ctx, http.MethodGet, path, nil, &status); err != nil {
			return err
		}
		for _, e := range status.LogEntries {
			c.Log(e.Level, e.Message)
		}
		offset += len(status.LogEntries)
		switch {
		case len(status.LogEntries) > 0:
			continue
		case status.Status == "ready":
			return nil
		case status.Status == "error":
			return fmt.Errorf("the build failed in step %q: %s", status.Reason.Step, status.Reason.Message)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.API, "/")+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", c.Key)
	req.Header.Set("Content-Type", "application/json")
	return c.do(req, answer)
}

// statusError is an answer with a status of 300 or more.
type statusError struct {
	request string
	code    int
	message string
}

var _ error = (*statusError)(nil)

// Error returns the request, the status and what the API said.
func (e *statusError) Error() string {
	return fmt.Sprintf("%s: status %d: %s", e.request, e.code, e.message)
}

// do sends a request and decodes its answer, unless answer is nil.
func (c *Client) do(req *http.Request, answer any) error {
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		var wrong struct{ Message string }
		_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&wrong) // the status says enough
		return &statusError{req.Method + " " + req.URL.Path, resp.StatusCode, wrong.Message}
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
