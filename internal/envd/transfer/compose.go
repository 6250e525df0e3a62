package transfer

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/uuid"

	"shoal/internal/envd/account"
	"shoal/internal/envd/answer"
	"shoal/internal/envd/file"
)

// maxComposeBody bounds the JSON of a compose request, in bytes.
const maxComposeBody = 16 << 20

type composeRequest struct {
	Sources     []string `json:"source_paths"`
	Destination string   `json:"destination"`
	Username    *string  `json:"username"`
}

// Compose serves POST /files/compose: it joins files in order into one and
// removes them. A failure leaves the sources and the old destination.
func (h *Handler) Compose(w http.ResponseWriter, r *http.Request) {
	entry, err := h.compose(http.MaxBytesReader(w, r.Body, maxComposeBody))
	if err != nil {
		reject(w, err)
		return
	}
	answer.JSON(w, entry)
}

func (h *Handler) compose(body io.Reader) (written, error) {
	var req composeRequest
	if err := json.NewDecoder(body).Decode(&req); err != nil {
		return written{}, failf(http.StatusBadRequest, "read the request: %w", err)
	}
	if len(req.Sources) == 0 || req.Destination == "" {
		return written{}, failf(http.StatusBadRequest, "source_paths and destination must not be empty")
	}
	name := h.Settings.DefaultUser()
	if req.Username != nil {
		name = *req.Username
	}
	u, err := h.lookup(name)
	if err != nil {
		return written{}, err
	}
	destination, err := h.resolve(u, req.Destination)
	if err != nil {
		return written{}, err
	}
	sources, err := h.composeSources(u, req.Sources, destination)
	if err != nil {
		return written{}, err
	}
	if err := h.join(u, sources, destination); err != nil {
		return written{}, err
	}
	return written{Name: filepath.Base(destination), Path: destination, Type: "file"}, nil
}

// composeSources resolves and checks all sources before anything is written.
func (h *Handler) composeSources(u account.User, paths []string, destination string) ([]string, error) {
	var sources []string
	for _, path := range paths {
		source, err := h.resolve(u, path)
		if err != nil {
			return nil, err
		}
		if filepath.Clean(source) == filepath.Clean(destination) {
			return nil, failf(http.StatusBadRequest, "source '%s' is the destination", source)
		}
		info, err := os.Stat(source)
		if file.BadName(err) {
			return nil, err
		}
		if err != nil {
			return nil, failf(http.StatusNotFound, "source '%s': %w", source, err)
		}
		if !info.Mode().IsRegular() {
			return nil, failf(http.StatusBadRequest, "source '%s' is not a regular file", source)
		}
		sources = append(sources, source)
	}
	return sources, nil
}

func (h *Handler) join(u account.User, sources []string, destination string) error {
	if info, err := os.Stat(destination); err == nil && info.IsDir() {
		return &failure{http.StatusBadRequest, file.ErrIsDirectory}
	} else if err == nil && !info.Mode().IsRegular() {
		return failf(http.StatusBadRequest, "%s: %w", destination, file.ErrNotRegular)
	}
	made, err := file.MakeAll(filepath.Dir(destination), u)
	if made && h.Writer.Made != nil {
		h.Writer.Made()
	}
	if err != nil {
		return err
	}
	temporary := destination + ".e2b-compose." + uuid.NewString() + ".tmp"
	err = concatenate(temporary, u, sources)
	if err == nil {
		err = os.Rename(temporary, destination)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(temporary))
	}
	for _, source := range sources {
		// A source that is named twice is gone the second time.
		if err := removeIfThere(source); err != nil {
			return err
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func concatenate(path string, u account.User, sources []string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = f.Chown(int(u.UID), int(u.GID))
	for _, source := range sources {
		if err != nil {
			break
		}
		err = appendFile(f, source)
	}
	return errors.Join(err, f.Close())
}

func appendFile(to *os.File, source string) error {
	from, err := os.OpenFile(source, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be a fifo by now
	if err != nil {
		return err
	}
	defer from.Close()
	return file.Copy(to, from)
}
