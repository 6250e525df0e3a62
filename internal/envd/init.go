package envd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"shoal/internal/envd/answer"
	"shoal/internal/envd/trust"
	"shoal/internal/envdapi"
)

// maxInitBody bounds the body of /init, in bytes.
const maxInitBody = 16 << 20

// readInit parses a body; an empty one is {}.
func readInit(body io.Reader) (*envdapi.Init, error) {
	req := &envdapi.Init{}
	if err := json.NewDecoder(body).Decode(req); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return req, nil
}

// handleInit serves POST /init, by which the node sets the sandbox up and brings it back
// after a resume. It must be fast and may be repeated.
func (s *Server) handleInit(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	w.Header().Set(envdapi.VersionHeader, envdapi.Version)
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
	if !s.token.MayRotate(string(req.AccessToken), facts.TokenHash) {
		answer.Text(w, http.StatusUnauthorized, "not authorized to change the access token")
		return
	}
	if status, err := s.initialize(r.Context(), req); err != nil {
		s.log.Warn("init failed", "request_id", r.Header.Get(envdapi.RequestIDHeader), "error", err)
		answer.Text(w, status, err.Error())
		return
	}
	s.refresh(facts)
	s.forwarder.Rebind()
	answer.NoContent(w)
	s.log.Info("initialized", "request_id", r.Header.Get(envdapi.RequestIDHeader), "took", time.Since(begin))
}

// initialize applies an authorized request. The caller holds the init turn.
// A request older than one that was applied changes nothing.
func (s *Server) initialize(ctx context.Context, req *envdapi.Init) (status int, err error) {
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
	s.token.Set(string(req.AccessToken))
	s.setEvents(req.HyperloopIP)
	s.settings.SetDefaults(req.DefaultUser, req.DefaultWorkdir)
	if err := s.changeTrust(ctx, req); errors.Is(err, trust.ErrBusy) {
		return http.StatusServiceUnavailable, err
	} else if err != nil {
		return http.StatusBadRequest, err
	}
	if err := s.volumes.mount(ctx, req.VolumeMounts, req.LifecycleID); err != nil {
		return http.StatusBadRequest, err
	}
	return 0, nil
}

// changeTrust installs the sandbox's authority, or removes the one of the sandbox that this one
// was made from.
func (s *Server) changeTrust(ctx context.Context, req *envdapi.Init) error {
	switch {
	case req.CABundle != "":
		if err := s.trust.Install(ctx, req.CABundle); err != nil {
			return err
		}
		s.settings.SetTrust(s.trust.Environment())
	case req.NoCA:
		if err := s.trust.Remove(ctx); err != nil {
			return err
		}
		s.settings.SetTrust(nil)
	}
	return nil
}

// setEvents makes the node's address known in the guest, without holding up the caller.
func (s *Server) setEvents(ip string) {
	if ip == "" {
		return
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		s.log.Warn("hyperloopIP is not an address and is ignored", "error", err)
		return
	}
	s.background.Go(func() {
		s.eventsMu.Lock()
		defer s.eventsMu.Unlock()
		if err := mapEventsHost(s.config.HostsFile, addr.Unmap()); err != nil {
			s.log.Warn("the node's name could not be added to the hosts file", "error", err)
		}
		node := fmt.Sprintf("http://%s", literal(addr.Unmap()))
		s.settings.SetInternal(envdapi.EventsVariable, node)
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
