package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"time"
)

const (
	// operatorDir is where in the run directory the sockets are.
	operatorDir = "operator"
	// LogLevelPath is where the level of the log is read and set.
	LogLevelPath = "/log-level"
	// maxLevels bounds what the level may be set to, in bytes.
	maxLevels = 4 << 10
)

// LogLevels is the level of a process's log.
type LogLevels interface {
	String() string
	Set(text string) error
}

// OperatorSocket is where a role of this machine answers its operator.
func OperatorSocket(runDir, role string) string {
	return filepath.Join(runDir, operatorDir, role+".sock")
}

// OperatorSockets lists those that there are.
func OperatorSockets(runDir string) ([]string, error) {
	return filepath.Glob(OperatorSocket(runDir, "*"))
}

// ListenOperator opens a role's socket, which only the user that it runs as, and root, can reach.
// One that nobody answers at is left of a crash.
func ListenOperator(ctx context.Context, runDir, role string) (net.Listener, error) {
	path := OperatorSocket(runDir, role)
	// Sandbox kernels run as nobody and must be able to traverse the run directory.
	if err := errors.Join(os.MkdirAll(runDir, 0o711), os.MkdirAll(filepath.Dir(path), 0o700)); err != nil {
		return nil, fmt.Errorf("make the directory of the operator's sockets: %w", err)
	}
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another process answers at %s", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove an old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the operator's socket: %w", err)
	}
	return l, nil
}

// NewOperatorServer serves what only the operator of this machine may ask of a process: its
// profiles, and the level of its log.
func NewOperatorServer(levels LogLevels) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET "+LogLevelPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, levels) })
	mux.HandleFunc("PUT "+LogLevelPath, func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLevels))
		if err == nil {
			err = levels.Set(string(text))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, levels)
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: headTime}
}
