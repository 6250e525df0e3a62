package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"shoal/internal/shoal"
)

const (
	// commandID names what the operator's program has wrapped. Which of its keys that was, it knows
	// itself.
	commandID = "operator-command"
	// commandTime bounds one call of it.
	commandTime = 10 * time.Second
	// maxWrapped bounds what it answers, in bytes, and maxComplaint what is kept of its errors.
	maxWrapped   = 16 << 10
	maxComplaint = 1 << 10
	// unwrappedTime is how long an unwrapped data key is kept, and unwrappedMost how many.
	unwrappedTime = time.Minute
	unwrappedMost = 1024
)

// Command is a key that a program of the operator's knows, such as one that asks a key management
// service. It is called without a shell as PROGRAM wrap and PROGRAM unwrap, gets a line of base64 by
// its standard input, and answers by one; 0 is success.
type Command struct {
	program string

	mu        sync.Mutex // guards unwrapped; a leaf
	unwrapped map[string]unwrapped
}

type unwrapped struct {
	dataKey []byte
	until   time.Time
}

var _ Key = (*Command)(nil)

// NewCommand returns the key that a program knows.
func NewCommand(program string) *Command {
	return &Command{program: program, unwrapped: map[string]unwrapped{}}
}

// ID implements Key.
func (c *Command) ID() string { return commandID }

// Wrap implements Key.
func (c *Command) Wrap(ctx context.Context, _ string, dataKey []byte) ([]byte, error) {
	return c.run(ctx, "wrap", dataKey)
}

// Unwrap implements Key. It calls the program once a minute for the same data key.
func (c *Command) Unwrap(ctx context.Context, _ string, wrapped []byte) ([]byte, error) {
	now := time.Now()
	c.mu.Lock()
	known, ok := c.unwrapped[string(wrapped)]
	c.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.dataKey, nil
	}
	dataKey, err := c.run(ctx, "unwrap", wrapped)
	if err != nil {
		return nil, err
	}
	if len(dataKey) != dataKeyLength {
		return nil, ErrNoKey
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unwrapped) >= unwrappedMost {
		clear(c.unwrapped)
	}
	c.unwrapped[string(wrapped)] = unwrapped{dataKey, now.Add(unwrappedTime)}
	return dataKey, nil
}

func (c *Command) run(ctx context.Context, verb string, input []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, verb)
	cmd.WaitDelay = time.Second
	cmd.Env = withoutSettings(os.Environ())
	cmd.Stdin = strings.NewReader(base64.StdEncoding.EncodeToString(input) + "\n")
	out, complaint := &bounded{most: maxWrapped}, &bounded{most: maxComplaint}
	cmd.Stdout, cmd.Stderr = out, complaint
	fail := func(err error) error {
		return shoal.ErrSealCommand.Wrap(fmt.Errorf("%s %s: %w: %q", c.program, verb, err, complaint.Bytes()),
			"A sealed value cannot be read or kept")
	}
	if err := cmd.Run(); err != nil {
		return nil, fail(err)
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(out.String()))
	if err != nil || len(data) == 0 || out.cut {
		return nil, fail(errors.New("its answer is not a line of base64"))
	}
	return data, nil
}

// withoutSettings leaves Shoal's own settings out, some of which are secret.
func withoutSettings(environment []string) (kept []string) {
	for _, entry := range environment {
		if !strings.HasPrefix(entry, "SHOAL_") {
			kept = append(kept, entry)
		}
	}
	return kept
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	bytes.Buffer
	most int
	cut  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := max(b.most-b.Len(), 0)
	if len(p) > room {
		b.cut = true
		b.Buffer.Write(p[:room])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}
