package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/atomicfile"
)

// offer records which base image this machine's sandboxes start from, and since when. The
// date makes an older image the newest offer again after a downgrade of Shoal.
type offer struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
}

// offerSince returns since when the machine has offered the image. If it offered another
// image before, that is now.
func offerSince(dataDir, digest string, now time.Time) (time.Time, error) {
	path := filepath.Join(dataDir, "base.json")
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return time.Time{}, fmt.Errorf("read which base image was offered: %w", err)
	}
	var last offer
	if err == nil && json.Unmarshal(data, &last) == nil && last.Digest == digest {
		return last.Since, nil
	}
	last = offer{Digest: digest, Since: now.UTC()}
	if data, err = json.Marshal(last); err != nil {
		return time.Time{}, err
	}
	if err := atomicfile.WriteFile(path, data, 0o600, atomicfile.Volatile); err != nil {
		return time.Time{}, fmt.Errorf("write which base image is offered: %w", err)
	}
	return last.Since, nil
}
