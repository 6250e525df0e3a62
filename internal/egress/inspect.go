package egress

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Found is an egress process as somebody sees it who does not keep it.
type Found struct {
	PID   int
	Build string
	// Since is when it began, DrainingSince when it was told to take no more connections; zero is
	// never, or not known.
	Since, DrainingSince   time.Time
	Draining               bool
	Connections, Sandboxes int
	// Ended means that only its socket is left. Err is why a process that is there does not answer.
	Ended bool
	Err   error
}

// inspectTime bounds the question to one process.
const inspectTime = 3 * time.Second

// Inspect asks the processes of an installation how they are, and changes nothing.
func Inspect(ctx context.Context, runDir string) ([]Found, error) {
	entries, err := os.ReadDir(socketDir(runDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for egress processes: %w", err)
	}
	var list []Found
	for _, e := range entries {
		pid, ok := pidOf(e.Name())
		if !ok {
			continue
		}
		p := newProcess(pid, filepath.Join(socketDir(runDir), e.Name()))
		asking, cancel := context.WithTimeout(ctx, inspectTime)
		st, err := p.state(asking)
		cancel()
		p.client.CloseIdleConnections()
		f := Found{PID: pid, Build: st.Build, Since: st.Since, Draining: st.Draining, DrainingSince: st.DrainingSince,
			Connections: st.Connections, Sandboxes: st.Sandboxes, Err: err}
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
			f.Ended, f.Err = true, nil
		}
		list = append(list, f)
	}
	return list, nil
}
