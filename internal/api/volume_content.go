package api

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/volume"
)

// The content of volumes is reached by tokens of its own, and errors have codes that are words
// (api.md §3.18), so its routes are not operations of the specification. Bodies stream.

const (
	contentPath = "/volumecontent/"
	contentTime = time.Hour // for one transfer; SDKs wait as long
)

// withVolumeContent answers the routes below contentPath.
func (s *Server) withVolumeContent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, contentPath) {
			next.ServeHTTP(w, r)
			return
		}
		callOf(r.Context()).beginUpload()
		if err := s.volumeContent(w, r); err != nil {
			s.writeContentError(w, r, err)
		}
	})
}

// contentCall is one request for the content of a volume.
type contentCall struct {
	tree *volume.Tree
	path string
	w    http.ResponseWriter
	r    *http.Request
}

// contentRoutes are by method and last segment.
var contentRoutes = map[string]struct {
	writes bool
	handle func(*contentCall) error
}{
	"GET path":    {false, (*contentCall).stat},
	"PATCH path":  {true, (*contentCall).change},
	"DELETE path": {true, (*contentCall).remove},
	"GET dir":     {false, (*contentCall).list},
	"POST dir":    {true, (*contentCall).makeDir},
	"GET file":    {false, (*contentCall).read},
	"PUT file":    {true, (*contentCall).put},
}

func contentError(status int, code, message string) error {
	return &volume.Error{Status: status, Code: code, Message: message}
}

func (s *Server) volumeContent(w http.ResponseWriter, r *http.Request) error {
	id, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, contentPath), "/")
	route, ok := contentRoutes[r.Method+" "+what]
	if !ok {
		return contentError(http.StatusNotFound, "ROUTE_NOT_FOUND", "there is no such route")
	}
	tree, err := s.openContent(r, id, route.writes)
	if err != nil {
		return err
	}
	defer tree.Close()
	return route.handle(&contentCall{tree: tree, path: r.URL.Query().Get("path"), w: w, r: r})
}

// openContent opens the volume that a request's token is for.
func (s *Server) openContent(r *http.Request, id string, writes bool) (*volume.Tree, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, contentError(http.StatusUnauthorized, "UNAUTHORIZED", "a volume token is required")
	}
	grant, err := s.volumes.Tokens.Check(token, time.Now())
	if err != nil {
		return nil, contentError(http.StatusUnauthorized, "UNAUTHORIZED", "the volume token is invalid or has expired")
	}
	call := callOf(r.Context())
	call.team, call.actor = grant.TeamID, shoal.Actor{Kind: shoal.ActorLink}
	if uuid.Validate(id) != nil || grant.VolumeID != id {
		return nil, contentError(http.StatusForbidden, "FORBIDDEN", "the token is for another volume")
	}
	if grant.ReadOnly && writes {
		return nil, contentError(http.StatusForbidden, "FORBIDDEN", "the token is for reading only")
	}
	if writes {
		aimed(r.Context(), "volume", id)
	}
	if err := s.allowTeam(r.Context(), grant.TeamID, shoal.SwitchVolumes); shoal.ErrSwitchedOff.Matches(err) {
		return nil, contentError(http.StatusForbidden, "FORBIDDEN", "use of volumes is not enabled")
	} else if err != nil {
		return nil, err
	}
	v, err := s.store.Volume(r.Context(), grant.TeamID, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, contentError(http.StatusNotFound, "VOLUME_NOT_FOUND", "the volume does not exist any more")
	} else if err != nil {
		return nil, err
	}
	call.refused = false
	dir, err := s.volumes.Backends.Existing(v.Backend, v.TeamID, v.ID)
	if err != nil {
		return nil, err
	}
	if !writes {
		return volume.Open(dir, nil)
	}
	team, err := s.store.Team(r.Context(), v.TeamID)
	if err != nil {
		return nil, err
	}
	room, err := volume.OpenRoom(filepath.Join(s.volumes.Counters, v.ID), team.Limits.VolumeMB<<20, dir)
	if err != nil {
		return nil, err
	}
	return volume.Open(dir, room)
}

func (c *contentCall) stat() error {
	e, err := c.tree.Stat(c.path)
	return c.answer(http.StatusOK, e, err)
}

func (c *contentCall) list() error {
	depth, err := c.number("depth", 1)
	if err != nil {
		return err
	}
	list, err := c.tree.List(c.path, int(depth))
	if err != nil {
		return err
	}
	wire := make([]wireEntry, len(list))
	for i, e := range list {
		wire[i] = wireEntryOf(e)
	}
	return writeContent(c.w, http.StatusOK, wire)
}

func (c *contentCall) makeDir() error {
	wish, force, err := c.wish()
	if err != nil {
		return err
	}
	e, err := c.tree.MakeDir(c.path, wish, force)
	return c.answer(http.StatusCreated, e, err)
}

// maxChange bounds the body of a change, in bytes.
const maxChange = 4096

func (c *contentCall) change() error {
	var body struct {
		UID  *uint32 `json:"uid"`
		GID  *uint32 `json:"gid"`
		Mode *uint32 `json:"mode"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxChange)).Decode(&body); err != nil {
		return contentError(http.StatusBadRequest, "INVALID_BODY", "the body must be an object with uid, gid or mode")
	}
	wish := volume.Wish{UID: body.UID, GID: body.GID, Mode: body.Mode}
	if err := checkWish(wish); err != nil {
		return err
	}
	e, err := c.tree.Change(c.path, wish)
	return c.answer(http.StatusOK, e, err)
}

func (c *contentCall) remove() error {
	if err := c.tree.Remove(c.path); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *contentCall) read() error {
	f, err := c.tree.Read(c.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(contentTime)); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	c.w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	c.w.WriteHeader(http.StatusOK)
	// A file that becomes shorter meanwhile cuts the answer off, which the client notices.
	if _, err := io.CopyN(c.w, f, info.Size()); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (c *contentCall) put() error {
	wish, force, err := c.wish()
	if err != nil {
		return err
	}
	conn, end := http.NewResponseController(c.w), time.Now().Add(contentTime)
	if err := conn.SetWriteDeadline(end.Add(uploadStall)); err != nil {
		return err
	}
	body := &uploadBody{conn: conn, end: end, full: func() error { return nil }, from: c.r.Body}
	e, err := c.tree.Put(c.path, body, wish, force)
	var broken *volume.ReadError
	if errors.As(err, &broken) {
		return contentError(http.StatusBadRequest, "UPLOAD_BROKEN", "the upload broke off")
	}
	return c.answer(http.StatusCreated, e, err)
}

// wish reads what a new entry is to be.
func (c *contentCall) wish() (wish volume.Wish, force bool, err error) {
	q := c.r.URL.Query()
	for name, to := range map[string]**uint32{"uid": &wish.UID, "gid": &wish.GID, "mode": &wish.Mode} {
		if !q.Has(name) {
			continue
		}
		n, err := c.number(name, 0)
		if err != nil {
			return wish, false, err
		}
		value := uint32(n)
		*to = &value
	}
	force, err = strconv.ParseBool(q.Get("force"))
	if err != nil && q.Has("force") {
		return wish, false, contentError(http.StatusBadRequest, "INVALID_PARAMETER", "force must be true or false")
	}
	return wish, force, checkWish(wish)
}

// number reads a parameter from 0 to 2^32-2; all ones means no change to the host's kernel.
func (c *contentCall) number(name string, absent int64) (int64, error) {
	q := c.r.URL.Query()
	if !q.Has(name) {
		return absent, nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil || n < 0 || n >= math.MaxUint32 {
		return 0, contentError(http.StatusBadRequest, "INVALID_PARAMETER", name+" must be a number")
	}
	return n, nil
}

func checkWish(w volume.Wish) error {
	for _, id := range []*uint32{w.UID, w.GID} {
		if id != nil && *id == math.MaxUint32 {
			return contentError(http.StatusBadRequest, "INVALID_PARAMETER", "uid and gid must be less than 4294967295")
		}
	}
	if w.Mode != nil && *w.Mode > 0o7777 {
		return contentError(http.StatusBadRequest, "INVALID_PARAMETER", "mode must be at most 4095 (07777)")
	}
	return nil
}

func (c *contentCall) answer(status int, e volume.Entry, err error) error {
	if err != nil {
		return err
	}
	return writeContent(c.w, status, wireEntryOf(e))
}

// wireEntry is E2B's VolumeEntryStat.
type wireEntry struct {
	Name   string    `json:"name"`
	Type   string    `json:"type"`
	Path   string    `json:"path"`
	Size   int64     `json:"size"`
	Mode   uint32    `json:"mode"`
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Access time.Time `json:"atime"`
	Modify time.Time `json:"mtime"`
	Change time.Time `json:"ctime"`
	Target string    `json:"target,omitempty"`
}

func wireEntryOf(e volume.Entry) wireEntry {
	return wireEntry{e.Name, string(e.Kind), e.Path, e.Size, e.Mode, e.UID, e.GID, e.Access, e.Modify, e.Change, e.Target}
}

func writeContent(w http.ResponseWriter, status int, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the caller may be gone
	return nil
}

// writeContentError answers with an error whose code is a word. What lies under it is in the log.
func (s *Server) writeContentError(w http.ResponseWriter, r *http.Request, err error) {
	known := new(volume.Error)
	if !errors.As(err, &known) {
		known = &volume.Error{Status: http.StatusServiceUnavailable, Code: "UNAVAILABLE",
			Message: "the volume's file system does not answer"}
	}
	if known.Status >= http.StatusInternalServerError {
		callOf(r.Context()).err = shoal.ErrVolumeUnavailable.Wrap(errors.Join(err, errors.Unwrap(known)), "%s", known.Message)
	}
	_ = writeContent(w, known.Status, map[string]string{"code": known.Code, "message": known.Message})
}
