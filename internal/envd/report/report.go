// Package report sends the daemon's log to the sandbox's node (envd.md §4.7).
package report

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"shoal/internal/envdapi"
)

const (
	maxLine  = 192 << 10 // bytes; longer ones are dropped
	maxQueue = 8 << 20   // bytes; while it is full, lines are dropped
	maxPost  = 512 << 10 // bytes in one request

	// gather is how long lines are collected before they are sent: a connection costs
	// a guest more than a line does.
	gather  = time.Second
	retry   = time.Second
	tries   = 3 // of one request; then its lines are dropped
	timeout = 5 * time.Second
)

// Queue takes lines and sends them once it knows where to. It never blocks its callers.
type Queue struct {
	http *http.Client
	wake chan struct{} // there is something to send, and somewhere to send it

	mu      sync.Mutex // guards the rest
	address string     // "" until the node is known
	lines   [][]byte
	size    int
}

var _ io.Writer = (*Queue)(nil)

// New returns a queue that sends nothing before SendTo.
func New() *Queue {
	// Every pause would cut a connection that is kept.
	return &Queue{wake: make(chan struct{}, 1),
		http: &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// Write takes one line. It never fails.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(line) <= maxLine && q.size+len(line) <= maxQueue {
		q.lines = append(q.lines, bytes.Clone(line))
		q.size += len(line)
		q.tellLocked()
	}
	return len(line), nil
}

// SendTo names the node's event server, such as http://192.0.2.1.
func (q *Queue) SendTo(address string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.address = address
	q.tellLocked()
}

func (q *Queue) tellLocked() {
	if q.address == "" || len(q.lines) == 0 {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends.
func (q *Queue) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		if !wait(ctx, gather) {
			return
		}
		for {
			address, body := q.take()
			if len(body) == 0 {
				break
			}
			q.send(ctx, address, body)
		}
	}
}

// take removes the oldest lines, as many as fit into one request.
func (q *Queue) take() (address string, body []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for ; n < len(q.lines) && (n == 0 || len(body)+len(q.lines[n]) <= maxPost); n++ {
		body = append(body, q.lines[n]...)
	}
	q.lines = q.lines[n:]
	q.size -= len(body)
	return q.address, body
}

// send gives up after some tries, and at once when the node refuses: then the guest
// belongs to no sandbox.
func (q *Queue) send(ctx context.Context, address string, body []byte) {
	for range tries {
		if q.post(ctx, address, body) == nil || !wait(ctx, retry) {
			return
		}
	}
}

func (q *Queue) post(ctx context.Context, address string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+envdapi.LogsPath,
		bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := q.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests {
		return fmt.Errorf("the node answered %s", resp.Status)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
