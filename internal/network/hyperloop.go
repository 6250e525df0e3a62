package network

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/shoal"
)

// maxLogBody bounds the body of a guest's POST /logs, in bytes.
const maxLogBody = 1 << 20

// maxReports is how many such bodies of all guests are in memory, maxGuestReports how many
// of one guest's, and scarceReports the same when half of them are there.
const (
	maxReports      = 64
	maxGuestReports = 4
	scarceReports   = 1
)

// maxNodeConns is how many connections all guests have to the node service, and
// scarceNodeConns how many one has when half of them are open. A slot's rules bound each
// guest's besides (maxNodeFlows).
const (
	maxNodeConns    = 2048
	scarceNodeConns = 4
)

// hyperloop is the node service for guests, at http://192.0.2.1 and
// http://events.e2b.local (envd.md §4.1). It tells guests their sandbox ID and takes their
// log lines.
type hyperloop struct {
	identify func(netip.Addr) (string, bool)
	keep     func(ctx context.Context, sandboxID string, lines []byte) error
	listener *guestListener
	server   *http.Server
	reports  guestShares // POST /logs under way
	closing  sync.Once
}

func newHyperloop(cfg Config, plan plan) (*hyperloop, error) {
	conns := &guestShares{All: maxNodeConns, Each: maxNodeFlows, Scarce: scarceNodeConns}
	tcp, err := listenTCP("")
	if err != nil {
		return nil, err
	}
	listener := guestsOnly(tcp, plan, conns, 0)
	h := &hyperloop{identify: cfg.Identify, keep: cfg.KeepLog, listener: listener,
		reports: guestShares{All: maxReports, Each: maxGuestReports, Scarce: scarceReports}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+envdapi.MePath, h.me)
	mux.HandleFunc("POST "+envdapi.LogsPath, h.logs)
	h.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	return h, nil
}

func (h *hyperloop) port() uint16 { return h.listener.port() }

// serve answers requests until close is called.
func (h *hyperloop) serve() { _ = h.server.Serve(h.listener) }

func (h *hyperloop) close() {
	h.closing.Do(func() {
		h.server.Close()
		h.listener.Close()
	})
}

// caller identifies a guest by its address. The slot's rules keep guests from forging it.
func (h *hyperloop) caller(r *http.Request) (guest netip.Addr, sandboxID string, ok bool) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || h.identify == nil {
		return netip.Addr{}, "", false
	}
	guest = from.Addr().Unmap()
	sandboxID, ok = h.identify(guest)
	return guest, sandboxID, ok
}

func (h *hyperloop) me(w http.ResponseWriter, r *http.Request) {
	_, id, ok := h.caller(r)
	if !ok {
		http.Error(w, "unknown caller", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"sandboxID": id})
}

// logs takes log lines from the guest's daemon or another program in the guest.
func (h *hyperloop) logs(w http.ResponseWriter, r *http.Request) {
	guest, id, ok := h.caller(r)
	if !ok {
		http.Error(w, "unknown caller", http.StatusForbidden)
		return
	}
	if !h.reports.Take(guest, 1) {
		refuse(w, shoal.ErrLogRate.New("too many reports at once"))
		return
	}
	defer h.reports.Give(guest, 1)
	lines, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogBody))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		refuse(w, shoal.ErrLogReport.New("the report has more than %d bytes", maxLogBody))
		return
	case err != nil:
		http.Error(w, "the report was cut off", http.StatusBadRequest)
		return
	}
	if h.keep != nil {
		if err := h.keep(r.Context(), id, lines); err != nil {
			refuse(w, err)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// refuse tells a guest what is wrong with its request, but nothing of the host.
func refuse(w http.ResponseWriter, err error) {
	var known *shoal.Error
	if errors.As(err, &known) && known.Kind != shoal.ErrInternal {
		http.Error(w, known.Message+". "+known.Fix, known.Status)
		return
	}
	http.Error(w, "the lines cannot be kept now", http.StatusServiceUnavailable)
}
