package certificate

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/mholt/acmez/v3"
	wire "github.com/mholt/acmez/v3/acme"
)

// hookTime is how long the operator's program may take to make or remove a record.
const hookTime = 5 * time.Minute

// hook proves a domain by TXT records that a program of the operator makes. It returns once
// the record can be seen by others. The names of a wildcard and of its domain are the same,
// so records are added beside those that are there.
type hook struct{ program string }

var _ acmez.Solver = (*hook)(nil)

// Present implements acmez.Solver.
func (h *hook) Present(ctx context.Context, c wire.Challenge) error { return h.run(ctx, "present", c) }

// CleanUp implements acmez.Solver.
func (h *hook) CleanUp(ctx context.Context, c wire.Challenge) error { return h.run(ctx, "cleanup", c) }

func (h *hook) run(ctx context.Context, action string, c wire.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.program, action, c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", h.program, action, err, bytes.TrimSpace(out[:min(len(out), 2<<10)]))
	}
	return nil
}
