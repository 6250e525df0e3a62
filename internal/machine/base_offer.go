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

// offer is which base image this machine's sandboxes begin with, and since when. After a
// return to an earlier Shoal its image, which is older, is the newest offer again.
type offer struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
}

// offerSince returns since when the machine offers the image: now, if it offered another
// one before.
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
