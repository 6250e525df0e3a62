package shoal

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Volume is a directory of a team that outlives sandboxes and that several of them share.
type Volume struct {
	ID     string
	TeamID string
	Name   string
	// Backend is the name of the directory that it lies in (setting volumes).
	Backend   string
	CreatedAt time.Time
}

// NewVolumeID returns the ID of a new volume.
func NewVolumeID() string { return uuid.NewString() }

// maxVolumeName is how long a volume's name may be.
const maxVolumeName = 250

var volumeName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// CheckVolumeName returns an error from the catalogue if no volume can have the name.
func CheckVolumeName(name string) error {
	if len(name) > maxVolumeName || !volumeName.MatchString(name) {
		return ErrVolumeName.New("Invalid volume name")
	}
	return nil
}

// VolumeMount is a volume at an absolute path of a guest.
type VolumeMount struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// ID and Backend are the volume's.
	ID      string `json:"id,omitempty"`
	Backend string `json:"backend,omitempty"`
	// SizeMB bounds what is in the volume, in MiB.
	SizeMB int64 `json:"sizeMB,omitempty"`
}

// MaxVolumeMounts is how many volumes a sandbox may have.
const MaxVolumeMounts = 16

// CheckMounts returns an error from the catalogue that lists what is wrong with mounts, in E2B's
// words (api.md §3.1). exists tells whether the team has a volume of the name.
func CheckMounts(mounts []VolumeMount, exists func(name string) bool) error {
	var wrong []string
	used := map[string]bool{}
	for i, m := range mounts {
		problem := ""
		switch {
		case !exists(m.Name):
			problem = fmt.Sprintf("volume '%.64s' not found", m.Name)
		default:
			problem = mountPathProblem(m.Path, used)
		}
		used[m.Path] = true
		if problem != "" {
			wrong = append(wrong, fmt.Sprintf("\n\t- volume mount #%d: %s", i, problem))
		}
	}
	if len(wrong) > 0 {
		return ErrVolumeMounts.New("invalid mounts:%s", strings.Join(wrong, ""))
	}
	return nil
}

func mountPathProblem(at string, used map[string]bool) string {
	switch {
	case at == "":
		return "path cannot be empty"
	case !path.IsAbs(at):
		return "path must be absolute"
	case at != path.Clean(at) || at == "/" || strings.ContainsRune(at, 0) || len(at) > maxMountPath:
		return "path must not contain any '.' or '..' components"
	case used[at]:
		return fmt.Sprintf("path '%.256s' is already used", at)
	}
	return ""
}

const maxMountPath = 1024 // bytes
