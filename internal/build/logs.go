package build

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"shoal/internal/shoal"
)

// Logs holds the log files of builds, one per build, named by its ID.
type Logs struct {
	dir string
	now func() time.Time

	mu     sync.Mutex // guards places
	places map[placeKey]place
}

// A client that follows a build asks again and again for the entries after the last one it
// has. A place saves reading the file from its start.
type (
	placeKey struct {
		buildID string
		level   Level
	}
	place struct {
		entries int   // of at least this level
		offset  int64 // in the file, after them
	}
)

// maxPlaces bounds the memory used; a place can always be found again.
const maxPlaces = 1024

// OpenLogs creates the directory if it does not exist.
func OpenLogs(dir string) (*Logs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of build logs: %w", err)
	}
	return &Logs{dir: dir, now: time.Now, places: map[placeKey]place{}}, nil
}

// path returns the log file of a build. The ID comes from a URL, so anything but a UUID is
// rejected.
func (l *Logs) path(buildID string) (string, error) {
	id, err := uuid.Parse(buildID)
	if err != nil {
		return "", fmt.Errorf("build ID %q: %w", buildID, err)
	}
	return filepath.Join(l.dir, id.String()+".jsonl"), nil
}

// Page skips offset entries of at least the given level and returns up to limit of those
// after them, oldest first. A build without a log has no entries.
func (l *Logs) Page(ctx context.Context, buildID string, level Level, offset, limit int) ([]Entry, error) {
	f, err := l.open(buildID)
	if f == nil {
		return nil, err
	}
	defer f.Close()
	if level == "" {
		level = Debug
	}
	key := placeKey{buildID, level}
	at := l.placeBefore(key, offset)
	if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the log of build %s: %w", buildID, err)
	}
	var page []Entry
	err = eachLine(ctx, f, func(e Entry, size int64) bool {
		if len(page) == limit {
			return false
		}
		at.offset += size
		if e.Level.AtLeast(level) {
			if at.entries >= offset {
				page = append(page, e)
			}
			at.entries++
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of build %s: %w", buildID, err)
	}
	l.remember(key, at)
	return page, nil
}

// Range returns up to limit entries of at least the given level: forward, the first ones at
// or after from, oldest first; backward, the last ones before it, newest first.
func (l *Logs) Range(ctx context.Context, buildID string, level Level, from time.Time, backward bool,
	limit int) ([]Entry, error) {
	f, err := l.open(buildID)
	if f == nil {
		return nil, err
	}
	defer f.Close()
	var list []Entry
	err = eachLine(ctx, f, func(e Entry, _ int64) bool {
		switch {
		case !e.Level.AtLeast(level) && level != "":
		case backward && e.Time.Before(from):
			if list = append(list, e); len(list) > limit {
				list = list[1:]
			}
		case !backward && !e.Time.Before(from) && len(list) < limit:
			list = append(list, e)
		}
		return backward || len(list) < limit
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of build %s: %w", buildID, err)
	}
	if backward {
		for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
			list[i], list[j] = list[j], list[i]
		}
	}
	return list, nil
}

// open returns nil without an error if the build has no log.
func (l *Logs) open(buildID string) (*os.File, error) {
	path, err := l.path(buildID)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the log of build %s: %w", buildID, err)
	}
	return f, nil
}

// eachLine calls fn with each complete line and its size until fn returns false. It skips a
// line that is still being written, or that a crash cut short.
func eachLine(ctx context.Context, r io.Reader, fn func(Entry, int64) bool) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		var e Entry
		if json.Unmarshal(line, &e) != nil {
			e = Entry{} // has no level, so it is skipped
		}
		if !fn(e, int64(len(line))) {
			return nil
		}
	}
}

// placeBefore returns the last known place that is not after the wanted entry.
func (l *Logs) placeBefore(key placeKey, offset int) place {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.places[key]; p.entries <= offset {
		return p
	}
	return place{}
}

func (l *Logs) remember(key placeKey, p place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.places) >= maxPlaces {
		clear(l.places)
	}
	l.places[key] = p
}

// Sweep removes logs whose last line is older than shoal.LogRetention.
func (l *Logs) Sweep() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("list the build logs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), ".jsonl") ||
			l.now().Sub(info.ModTime()) < shoal.LogRetention {
			continue // err: somebody removed it
		}
		if err := os.Remove(filepath.Join(l.dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove an old build log: %w", err))
		}
	}
	return errors.Join(errs...)
}
