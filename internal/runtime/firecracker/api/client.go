// Package api is a small client of Firecracker's API, which each of its processes serves on a socket
// of its own. It follows Firecracker's public specification, and has what Shoal uses of that.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/unixsocket"
)

// Fault is Firecracker's refusal of a request.
type Fault struct {
	Method, Path string
	Status       int
	// Message is what Firecracker says of it, for the operator.
	Message string
}

// Error names the request with what was said of it.
func (f *Fault) Error() string {
	return fmt.Sprintf("%s %s: %d: %s", f.Method, f.Path, f.Status, f.Message)
}

// Client speaks to one Firecracker. Firecracker carries out one request after the other.
type Client struct {
	http http.Client
}

// New returns a client of the socket with a path, which may be longer than a socket's address can
// be. Every request has a connection of its own.
func New(socket string) *Client {
	return &Client{http: http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return unixsocket.Dial(ctx, socket) }}}}
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// do sends a request. Errors are shoal.ErrFirecrackerAPI, with a Fault in the chain if Firecracker
// has refused it.
func (c *Client) do(ctx context.Context, method, path string, body, result any) error {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://firecracker"+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return shoal.ErrFirecrackerAPI.Wrap(err, "Firecracker does not answer %s %s", method, path)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return shoal.ErrFirecrackerAPI.Wrap(err, "Firecracker's answer to %s %s broke off", method, path)
	}
	if resp.StatusCode/100 != 2 {
		return shoal.ErrFirecrackerAPI.Wrap(&Fault{method, path, resp.StatusCode, faultMessage(data)},
			"Firecracker refuses a request")
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(data, result); err != nil {
		return shoal.ErrFirecrackerAPI.Wrap(err, "Firecracker's answer to %s %s cannot be read", method, path)
	}
	return nil
}

func faultMessage(body []byte) string {
	var fault struct {
		Message string `json:"fault_message"`
		Error   string `json:"error"` // of what the metadata service refuses
	}
	if json.Unmarshal(body, &fault) == nil && fault.Message+fault.Error != "" {
		return fault.Message + fault.Error
	}
	return string(bytes.TrimSpace(body))
}

// Await waits until Firecracker serves its socket, or until done is closed.
func (c *Client) Await(ctx context.Context, done <-chan struct{}) (Instance, error) {
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	for {
		var i Instance
		err := c.do(ctx, http.MethodGet, "/", nil, &i)
		if err == nil {
			return i, nil
		}
		var fault *Fault
		if errors.As(err, &fault) {
			return i, err
		}
		select {
		case <-tick.C:
		case <-done:
			return i, shoal.ErrFirecrackerAPI.Wrap(err, "Firecracker ended before it served its API")
		case <-ctx.Done():
			return i, shoal.ErrFirecrackerAPI.Wrap(errors.Join(ctx.Err(), err), "Firecracker does not serve its API")
		}
	}
}

const awaitEvery = 2 * time.Millisecond
