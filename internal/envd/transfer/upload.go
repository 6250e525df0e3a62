package transfer

import (
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"shoal/internal/envd/account"
	"shoal/internal/envd/answer"
	"shoal/internal/envd/file"
	"shoal/internal/envdapi"
)

// written is one file of an upload's answer. Clients compare it as a whole, so
// metadata is left out when there is none.
type written struct {
	Name     string            `json:"name"`
	Path     string            `json:"path"`
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// upload is one POST /files whose headers have been checked.
type upload struct {
	h        *Handler
	user     account.User
	query    url.Values
	metadata map[string]string
	files    []written
}

// Upload serves POST /files.
func (h *Handler) Upload(w http.ResponseWriter, r *http.Request) {
	query, ok := h.authorize(w, r, envdapi.OperationWrite)
	if !ok {
		return
	}
	files, err := h.receive(r, query)
	if err != nil {
		reject(w, err)
		return
	}
	answer.JSON(w, files)
}

func (h *Handler) receive(r *http.Request, query url.Values) ([]written, error) {
	name, err := h.username(query)
	if err != nil {
		return nil, err
	}
	body, err := decode(r)
	if err != nil {
		return nil, err
	}
	user, err := h.lookup(name)
	if err != nil {
		return nil, err
	}
	metadata, err := file.ParseMetadata(r.Header)
	if err != nil {
		return nil, &failure{http.StatusBadRequest, err}
	}
	up := &upload{h: h, user: user, query: query, metadata: metadata, files: []written{}}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "application/octet-stream":
		err = up.raw(body)
	case err == nil && strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		err = up.parts(multipart.NewReader(body, params["boundary"]))
	default:
		err = failf(http.StatusBadRequest,
			"the content type must be application/octet-stream or multipart/form-data with a boundary")
	}
	return up.files, err
}

// decode undoes the coding of the whole body.
func decode(r *http.Request) (io.Reader, error) {
	coding, _, _ := strings.Cut(r.Header.Get("Content-Encoding"), ";")
	switch strings.ToLower(strings.TrimSpace(coding)) {
	case "", identity:
		return r.Body, nil
	case gzipped:
		body, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, failf(http.StatusBadRequest, "the body is not gzip: %w", err)
		}
		return body, nil
	}
	return nil, failf(http.StatusBadRequest, "content encoding %q is not supported; use gzip or identity",
		coding)
}

// raw takes the whole body as one file.
func (up *upload) raw(body io.Reader) error {
	path := up.query.Get("path")
	if path == "" {
		return failf(http.StatusBadRequest, "an octet-stream upload needs the path parameter")
	}
	resolved, err := up.h.resolve(up.user, path)
	if err != nil {
		return err
	}
	return up.store(resolved, body)
}

// parts takes each part named "file" as one file.
func (up *upload) parts(form *multipart.Reader) error {
	seen := map[string]bool{}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return failf(http.StatusInternalServerError, "read the form: %w", err)
		}
		if part.FormName() != "file" {
			continue
		}
		path, err := up.target(part)
		if err != nil {
			return err
		}
		if seen[path] {
			return failf(http.StatusBadRequest, "path '%s' appears twice in one upload", path)
		}
		seen[path] = true
		if err := up.store(path, part); err != nil {
			return err
		}
	}
}

// target is the path in the query or else the part's file name, directories
// included. The standard library's FileName would cut them off.
func (up *upload) target(part *multipart.Part) (string, error) {
	path := up.query.Get("path")
	if path == "" {
		_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil || params["filename"] == "" {
			return "", failf(http.StatusBadRequest,
				"a file has no name; give the path parameter or a file name")
		}
		path = params["filename"]
	}
	return up.h.resolve(up.user, path)
}

func (up *upload) store(path string, content io.Reader) error {
	err := up.h.Writer.Write(path, up.user, content, up.metadata)
	if errors.Is(err, file.ErrIsDirectory) || errors.Is(err, file.ErrNotRegular) {
		return &failure{http.StatusBadRequest, err}
	}
	if err != nil {
		return err
	}
	up.files = append(up.files, written{
		Name: filepath.Base(path), Path: path, Type: "file", Metadata: file.ReadMetadata(path)})
	return nil
}
