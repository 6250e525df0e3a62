// Package client runs commands in a guest and sends files to it, by way of the
// guest's daemon.
package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envd/access"
	"shoal/internal/envdapi/gen/filesystem"
	"shoal/internal/envdapi/gen/filesystem/filesystemconnect"
	"shoal/internal/envdapi/gen/process"
	"shoal/internal/envdapi/gen/process/processconnect"
	"shoal/internal/shoal"
)

// Client speaks to the daemon of one guest.
type Client struct {
	base  string
	token string // "" if the daemon asks for none
	http  *http.Client
	calls processconnect.ProcessClient
	files filesystemconnect.FilesystemClient
}

// New returns a client for the guest at an address of the host's side. token is
// empty unless the daemon asks for one.
func New(host, token string) *Client {
	h := &http.Client{Transport: &http.Transport{
		DialContext:        (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		DisableKeepAlives:  true, // the address may have a new guest next time
		DisableCompression: true,
	}}
	base := "http://" + net.JoinHostPort(host, strconv.Itoa(shoal.EnvdPort))
	return &Client{base: base, token: token, http: h, calls: processconnect.NewProcessClient(h, base), files: filesystemconnect.NewFilesystemClient(h, base)}
}

// Command is a program to run in a guest.
type Command struct {
	User string // "" is the guest's default
	Args []string
	Env  map[string]string // beside what the daemon sets
	Dir  string            // "" is the user's home
}

// Shell is a command line for a login shell, as clients' commands are.
func Shell(line string) []string { return []string{"/bin/bash", "-l", "-c", line} }

// Output takes what a command prints, in pieces as they come. It is called by one
// goroutine.
type Output func(stderr bool, data []byte)

// ExitError says how a command ended that did not succeed.
type ExitError struct {
	Code   int
	Status string // "exit status 1", "signal: killed"
}

var _ error = (*ExitError)(nil)

// Error returns the status.
func (e *ExitError) Error() string { return e.Status }

// Run runs a command and waits for its end, which is an *ExitError unless it is 0.
// Its output ends when all have ended that hold it, which may be long after the command.
// started, if set, is called with its process ID when it runs. When ctx ends, Run
// returns, and the command goes on.
func (c *Client) Run(ctx context.Context, cmd Command, started func(pid uint32), out Output) error {
	stdin := false
	config := &process.ProcessConfig{Cmd: cmd.Args[0], Args: cmd.Args[1:], Envs: cmd.Env}
	if cmd.Dir != "" {
		config.Cwd = &cmd.Dir
	}
	req := connect.NewRequest(&process.StartRequest{Process: config, Stdin: &stdin})
	c.identify(req.Header(), cmd.User)
	stream, err := c.calls.Start(ctx, req)
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		switch event := stream.Msg().GetEvent().GetEvent().(type) {
		case *process.ProcessEvent_Start:
			if started != nil {
				started(event.Start.GetPid())
			}
		case *process.ProcessEvent_Data:
			if data := event.Data.GetStdout(); len(data) > 0 {
				out(false, data)
			}
			if data := event.Data.GetStderr(); len(data) > 0 {
				out(true, data)
			}
		case *process.ProcessEvent_End:
			if event.End.GetExitCode() == 0 && event.End.GetExited() {
				return nil
			}
			return &ExitError{Code: int(event.End.GetExitCode()), Status: event.End.GetStatus()}
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return errors.New("the connection to the guest was lost")
}

// identify adds what lets a request in, and whose it is.
func (c *Client) identify(header http.Header, user string) {
	if c.token != "" {
		header.Set(access.TokenHeader, c.token)
	}
	if user != "" {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":")))
	}
}

// Lives reports whether a process of the guest has not ended yet, whoever holds its
// output.
func (c *Client) Lives(ctx context.Context, pid uint32) (bool, error) {
	req := connect.NewRequest(&filesystem.StatRequest{Path: fmt.Sprintf("/proc/%d", pid)})
	c.identify(req.Header(), "root")
	_, err := c.files.Stat(ctx, req)
	if connect.CodeOf(err) == connect.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

// Text runs a command that prints little and returns its standard output; an error
// carries what it complained of.
func (c *Client) Text(ctx context.Context, cmd Command) (string, error) {
	const limit = 64 << 10
	var stdout, stderr strings.Builder
	err := c.Run(ctx, cmd, nil, func(isErr bool, data []byte) {
		to := &stdout
		if isErr {
			to = &stderr
		}
		if to.Len() < limit {
			to.Write(data)
		}
	})
	if text := strings.TrimSpace(stderr.String()); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return stdout.String(), err
}

// Put writes a file in the guest as root.
func (c *Client) Put(ctx context.Context, path string, content io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/files?username=root&path="+url.QueryEscape(path), content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if c.token != "" {
		req.Header.Set(access.TokenHeader, c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("write %s in the guest: status %d: %s", path, resp.StatusCode, text)
	}
	return nil
}
