// Package fills is how a process of this machine that is not the orchestrator gets the values of
// placeholders: by HTTP on a socket that only root reaches. The orchestrator asks an api.
package fills

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/shoal"
)

// Filler gives the values of placeholders in a sandbox's headers for a domain. Each of wanted has a
// value in the answer.
type Filler interface {
	Fill(ctx context.Context, sandboxID, domain string, wanted []shoal.Placeholder) (map[shoal.Placeholder]string, error)
}

const (
	path = "/fill"
	// maxAnswer bounds an answer, in bytes: as many placeholders as there can be of long values.
	maxAnswer = 8 << 20
	maxAsked  = 1 << 20
	// answerTime bounds a question. The api is asked for less long.
	answerTime = 12 * time.Second
)

// question and answer are what goes over the socket. Values of an answer are in the order of the
// question's placeholders.
type question struct {
	SandboxID string              `json:"sandboxID"`
	Domain    string              `json:"domain"`
	Wanted    []shoal.Placeholder `json:"wanted"`
}

type answer struct {
	Values  []string `json:"values,omitempty"`
	Code    string   `json:"code,omitempty"` // of the error in the catalogue
	Message string   `json:"message,omitempty"`
	Detail  string   `json:"detail,omitempty"`
}

// Socket is where in the run directory the orchestrator answers.
func Socket(runDir string) string { return filepath.Join(runDir, "fills.sock") }

// Listen opens the socket of a machine, whose lock the caller holds: what is there is left of a
// crash. Only the user that the orchestrator runs as, and root, can reach it.
func Listen(runDir string) (net.Listener, error) {
	path := Socket(runDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove an old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the socket for placeholders: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close the socket for placeholders to others: %w", err), l.Close())
	}
	return l, nil
}
