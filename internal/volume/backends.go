// Package volume keeps the content of volumes: directories below those that an operator has named,
// which clients read and write over HTTP while sandboxes do so through their mounts. What is in
// a volume was put there by strangers, so nothing in it is followed out of it.
package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"shoal/internal/shoal"
)

// Default is the name of the backend that is there when none is configured.
const Default = "local"

// Backend is a directory, or where a file system is mounted, that volumes lie in.
type Backend struct {
	Name string
	Path string // absolute
}

// Backends are an installation's. New volumes lie in the first one.
type Backends []Backend

var backendName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// ParseBackends reads "name:path" each. Without any there is Default below the data directory.
func ParseBackends(settings []string, dataDir string) (Backends, error) {
	if len(settings) == 0 {
		return Backends{{Default, filepath.Join(dataDir, "volumes")}}, nil
	}
	var list Backends
	for _, setting := range settings {
		name, path, _ := strings.Cut(setting, ":")
		switch {
		case !backendName.MatchString(name):
			return nil, fmt.Errorf("%q is not NAME:PATH with a name of small letters, digits and hyphens", setting)
		case !filepath.IsAbs(path):
			return nil, fmt.Errorf("the path of %q is not absolute", setting)
		}
		if _, err := list.find(name); err == nil {
			return nil, fmt.Errorf("the name %s is there twice", name)
		}
		list = append(list, Backend{name, filepath.Clean(path)})
	}
	return list, nil
}

func (b Backends) find(name string) (Backend, error) {
	for _, one := range b {
		if one.Name == name {
			return one, nil
		}
	}
	return Backend{}, fmt.Errorf("no file system for volumes is named %q here (setting volumes)", name)
}

// Dir returns where the content of a volume is.
func (b Backends) Dir(backend, teamID, volumeID string) (string, error) {
	one, err := b.find(backend)
	if err != nil {
		return "", err
	}
	if uuid.Validate(volumeID) != nil || teamID == "" || teamID != filepath.Base(teamID) {
		return "", fmt.Errorf("%q of %q is no volume", volumeID, teamID)
	}
	return filepath.Join(one.Path, "team-"+teamID, "vol-"+volumeID), nil
}

// rootMode lets every user of a sandbox write to a new volume.
const rootMode = 0o777

// Make makes the directory of a new volume.
func (b Backends) Make(v shoal.Volume) error {
	dir, err := b.Dir(v.Backend, v.TeamID, v.ID)
	if err != nil {
		return err
	}
	// What leads there is closed to the host's other users, as what guests make in it can be
	// programs that run as their owner.
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make a directory for the team's volumes: %w", err)
	}
	if err := os.Mkdir(dir, rootMode); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the volume: %w", err)
	}
	return errors.Join(os.Chmod(dir, rootMode), os.Chown(dir, defaultOwner, defaultOwner))
}

// Existing is Dir, and fails if the volume's file system is not there.
func (b Backends) Existing(backend, teamID, volumeID string) (string, error) {
	dir, err := b.Dir(backend, teamID, volumeID)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", dir)
	}
	return dir, err
}
