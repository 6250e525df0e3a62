// Package imagelibrary provides the images that templates are built from: imported ones,
// or else those of container registries. Each becomes one root image in the image store.
package imagelibrary

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"shoal/internal/atomicfile"
	"shoal/internal/image"
	"shoal/internal/registry"
)

// Image is a container image that was turned into a root image.
type Image struct {
	Name   string            `json:"name"`   // the full name, with registry and tag
	Digest string            `json:"digest"` // of the root image
	Size   int64             `json:"size"`   // of the root image, bytes
	Env    map[string]string `json:"env,omitempty"`
	From   string            `json:"from"` // where it was imported from
	At     time.Time         `json:"at"`
}

// Error is a failure that the user who named the image can fix.
type Error = registry.Error

// Config configures a library.
type Config struct {
	Images *image.Store
	// Dir is the library's directory. It holds nothing else.
	Dir string
	// Registries is the client for images that were not imported. Only Find needs it.
	Registries *registry.Client
	// StandIns are the images to use if an image's registry cannot be reached, by the
	// last part of the repository's name, such as "ubuntu".
	StandIns map[string]Image
}

// Library holds imported images by name. It is safe for concurrent use, also by several
// processes.
type Library struct {
	images       *image.Store
	dir          string
	registries   *registry.Client
	standIns     map[string]Image
	away         *absence
	workspaceDir string
}

// Open prepares the library's directory and removes unfinished work of earlier processes.
func Open(cfg Config) (*Library, error) {
	l := &Library{images: cfg.Images, dir: filepath.Join(cfg.Dir, "names"),
		workspaceDir: filepath.Join(cfg.Dir, "work"), registries: cfg.Registries,
		standIns: cfg.StandIns, away: newAbsence()}
	for _, dir := range []string{l.dir, l.workspaceDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the image library's directory: %w", err)
		}
	}
	return l, l.removeUnfinished()
}

func (l *Library) path(ref name.Reference) string {
	sum := sha256.Sum256([]byte(ref.Name()))
	return filepath.Join(l.dir, hex.EncodeToString(sum[:])+".json")
}

// find returns an imported image, or fs.ErrNotExist if there is none.
func (l *Library) find(ref name.Reference) (Image, error) {
	i, err := readEntry(l.path(ref))
	if err != nil {
		return Image{}, err
	}
	if _, err := l.images.Path(i.Digest); err != nil {
		return Image{}, fmt.Errorf("the root image of %s: %w", i.Name, err)
	}
	return i, nil
}

func readEntry(path string) (Image, error) {
	var i Image
	data, err := os.ReadFile(path)
	if err != nil {
		return i, err
	}
	return i, json.Unmarshal(data, &i)
}

// Version distinguishes imported images that had the same name at different times. It is
// "" for an image that was not imported.
func (l *Library) Version(reference string) string {
	ref, err := registry.ParseName(reference)
	if err != nil {
		return ""
	}
	i, err := l.find(ref)
	if err != nil {
		return ""
	}
	return i.Digest
}

// List returns the imported images, sorted by name.
func (l *Library) List() ([]Image, error) {
	files, err := filepath.Glob(filepath.Join(l.dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var list []Image
	for _, f := range files {
		i, err := readEntry(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in the meantime
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f, err)
		}
		list = append(list, i)
	}
	sort.Slice(list, func(a, b int) bool { return list[a].Name < list[b].Name })
	return list, nil
}

// Remove removes an imported image. Templates that were built from it keep what they
// need. The error for an unknown name is an *Error.
func (l *Library) Remove(reference string) error {
	ref, err := registry.ParseName(reference)
	if err != nil {
		return err
	}
	err = os.Remove(l.path(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Message: fmt.Sprintf("there is no image '%s'; `shoal image list` shows which there are", reference)}
	}
	return err
}

// put stores an image under a name.
func (l *Library) put(ref name.Reference, i Image) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(l.path(ref), data, 0o600, atomicfile.Durable)
}
