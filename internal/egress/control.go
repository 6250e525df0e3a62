package egress

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// protocol is the version of what a steward and a process say to each other. A steward that does
// not know a process's leaves it to its last connection.
const protocol = 1

// state is what a process says of itself.
type state struct {
	Protocol    int    `json:"protocol"`
	Build       string `json:"build"`
	PID         int    `json:"pid"`
	Port        uint16 `json:"port"`
	Draining    bool   `json:"draining"`
	Connections int    `json:"connections"`
	// Processes of earlier versions do not tell these.
	Since         time.Time `json:"since,omitzero"`
	DrainingSince time.Time `json:"drainingSince,omitzero"`
	Sandboxes     int       `json:"sandboxes"`
}

// socketDir has the sockets of an installation's processes: one, and those that drain.
func socketDir(runDir string) string { return filepath.Join(runDir, "egress") }

const socketSuffix = ".sock"

func socketName(pid int) string { return strconv.Itoa(pid) + socketSuffix }

// pidOf is the process of a socket's file.
func pidOf(name string) (int, bool) {
	text, ok := strings.CutSuffix(name, socketSuffix)
	pid, err := strconv.Atoi(text)
	return pid, ok && err == nil
}

// listenControl opens a socket that only root reaches.
func listenControl(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of egress sockets: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err // of an earlier process with this number
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the egress socket: %w", err)
	}
	return l, nil
}

const maxPolicyBytes = 4 << 20

// controlServer answers stewards. quit ends the process.
func (s *Server) controlServer(quit func()) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.state()) })
	mux.HandleFunc("PUT /policies/{address}", func(w http.ResponseWriter, r *http.Request) {
		address, err := netip.ParseAddr(r.PathValue("address"))
		p := new(Policy)
		if err == nil {
			err = json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPolicyBytes)).Decode(p)
		}
		if err == nil {
			err = s.Set(address, p)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /policies", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.all()) })
	mux.HandleFunc("DELETE /policies/{address}", func(_ http.ResponseWriter, r *http.Request) {
		if address, err := netip.ParseAddr(r.PathValue("address")); err == nil {
			s.Remove(address)
		}
	})
	mux.HandleFunc("POST /records", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.records.take()) })
	mux.HandleFunc("POST /totals", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.takeTotals()) })
	mux.HandleFunc("POST /drain", func(http.ResponseWriter, *http.Request) { s.Drain() })
	mux.HandleFunc("POST /quit", func(http.ResponseWriter, *http.Request) { quit() })
	// It is answered by the end of the process, which a steward notices so.
	mux.HandleFunc("GET /life", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
