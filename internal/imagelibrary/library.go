// Package imagelibrary gets the images that templates are built from: those that were
// imported, by name, and else those of container registries. Each becomes one root image
// in the image store.
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

// Image is a container image as a root image.
type Image struct {
	Name   string            `json:"name"`   // as it was given, in full
	Digest string            `json:"digest"` // of the root image
	Size   int64             `json:"size"`   // of the root image, bytes
	Env    map[string]string `json:"env,omitempty"`
	From   string            `json:"from"` // where it was imported from
	At     time.Time         `json:"at"`
}

// Error is a failure that whoever named the image can mend.
type Error = registry.Error

// Config is where a library keeps what it has.
type Config struct {
	Images *image.Store
	// Dir is the library's own.
	Dir string
	// Registries is the client for images that were not imported. Only Find needs it.
	Registries *registry.Client
	// StandIns are imported images that are used when the registry of another cannot
	// be reached, by the repository's last name: "ubuntu".
	StandIns map[string]Image
}

// Library has imported images by name. Safe for concurrent use, also by several
// processes.
type Library struct {
	images       *image.Store
	dir          string
	registries   *registry.Client
	standIns     map[string]Image
	away         *absence
	workspaceDir string
}

// Open prepares the library's directory, and removes what was left unfinished there.
func Open(cfg Config) (*Library, error) {
	l := &Library{images: cfg.Images, dir: filepath.Join(cfg.Dir, "names"), workspaceDir: filepath.Join(cfg.Dir, "work"),
		registries: cfg.Registries, standIns: cfg.StandIns, away: newAbsence()}
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

// find returns an imported image. A missing one is fs.ErrNotExist.
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

// Version tells imported images of the same name apart. It is "" for one that comes
// from a registry.
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

// List returns what was imported, by name.
func (l *Library) List() ([]Image, error) {
	files, err := filepath.Glob(filepath.Join(l.dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var list []Image
	for _, f := range files {
		i, err := readEntry(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f, err)
		}
		list = append(list, i)
	}
	sort.Slice(list, func(a, b int) bool { return list[a].Name < list[b].Name })
	return list, nil
}

// Remove forgets an imported image. Templates that were built from it keep what they
// need. An unknown name is an *Error.
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

// put enters an image under a name.
func (l *Library) put(ref name.Reference, i Image) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(l.path(ref), data, 0o600, atomicfile.Durable)
}
