package envd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"shoal/internal/envd/answer"
	"shoal/internal/envd/settings"
	"shoal/internal/envd/trust"
)

// maxInitBody bounds the body of /init, in bytes.
const maxInitBody = 16 << 20

// initRequest is the body of POST /init (envd.md §1.4).
type initRequest struct {
	Timestamp      *time.Time        `json:"timestamp"`
	EnvVars        map[string]string `json:"envVars"`
	AccessToken    json.RawMessage   `json:"accessToken"`
	HyperloopIP    string            `json:"hyperloopIP"`
	DefaultUser    string            `json:"defaultUser"`
	DefaultWorkdir string            `json:"defaultWorkdir"`
	CABundle       string            `json:"caBundle"`
	VolumeMounts   []volumeMount     `json:"volumeMounts"`
	LifecycleID    string            `json:"lifecycleID"`
	Identity       *identity         `json:"identity"`

	token string // the decoded accessToken; "" means absent
}

// readInit parses a body; an empty one is {}.
func readInit(body io.Reader) (*initRequest, error) {
	req := &initRequest{}
	if err := json.NewDecoder(body).Decode(req); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	raw := string(req.AccessToken)
	if raw == "" || raw == "null" {
		return req, nil
	}
	// A token with an escape would not be the same bytes everywhere.
	if strings.Contains(raw, `\`) {
		return nil, errors.New("the access token contains an escape")
	}
	if err := json.Unmarshal(req.AccessToken, &req.token); err != nil {
		return nil, err
	}
	if req.token == "" {
		return nil, errors.New("the access token is empty")
	}
	return req, nil
}

// handleInit serves POST /init, by which the host sets the sandbox up and
// brings it back after a resume. It must be fast and may be repeated.
func (s *Server) handleInit(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	w.Header().Set("X-Envd-Version", Version)
	req, err := readInit(http.MaxBytesReader(w, r.Body, maxInitBody))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	select {
	case <-s.initTurn:
		defer func() { s.initTurn <- struct{}{} }()
	case <-r.Context().Done():
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	facts := s.facts(req.Identity)
	if !s.token.MayRotate(req.token, facts.TokenHash) {
		answer.Text(w, http.StatusUnauthorized, "not authorized to change the access token")
		return
	}
	if status, err := s.initialize(r.Context(), req); err != nil {
		s.log.Warn("init failed", "request_id", r.Header.Get("X-Request-Id"), "err", err)
		answer.Text(w, status, err.Error())
		return
	}
	s.refresh(facts)
	s.forwarder.Rebind()
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	s.log.Info("initialized", "request_id", r.Header.Get("X-Request-Id"), "took", time.Since(begin))
}

// initialize applies an authorized request. The caller holds the init turn.
// A request older than one that was applied changes nothing.
func (s *Server) initialize(ctx context.Context, req *initRequest) (status int, err error) {
	if req.Timestamp != nil {
		if req.Timestamp.Before(s.newestInit) {
			return 0, nil
		}
		s.newestInit = *req.Timestamp
		s.clock.step(*req.Timestamp)
	}
	if req.EnvVars != nil {
		s.settings.ReplaceUser(req.EnvVars)
	}
	s.token.Set(req.token)
	s.setEvents(req.HyperloopIP)
	s.settings.SetDefaults(req.DefaultUser, req.DefaultWorkdir)
	if req.CABundle != "" {
		if err := s.trust.Install(ctx, req.CABundle); errors.Is(err, trust.ErrBusy) {
			return http.StatusServiceUnavailable, err
		} else if err != nil {
			return http.StatusBadRequest, err
		}
	}
	if err := s.volumes.mount(ctx, req.VolumeMounts, req.LifecycleID); err != nil {
		return http.StatusBadRequest, err
	}
	return 0, nil
}

// setEvents makes the node's event server known, off the path of the caller.
func (s *Server) setEvents(ip string) {
	if ip == "" {
		return
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		s.log.Warn("hyperloopIP is ignored", "err", err)
		return
	}
	s.background.Go(func() {
		s.eventsMu.Lock()
		defer s.eventsMu.Unlock()
		if err := mapEventsHost(s.config.HostsFile, addr.Unmap()); err != nil {
			s.log.Warn("events host", "err", err)
		}
		node := fmt.Sprintf("http://%s", literal(addr.Unmap()))
		s.settings.SetInternal(settings.EventsAddr, node)
		if s.config.Report != nil {
			s.config.Report.SendTo(node)
		}
	})
}

// literal is the address as a URL needs it.
func literal(addr netip.Addr) string {
	if addr.Is6() {
		return "[" + addr.String() + "]"
	}
	return addr.String()
}
