package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// logFile is the writing end of one build's log. Lines are complete or absent, because each
// is a single write at the end of the file.
type logFile struct {
	now func() time.Time

	mu   sync.Mutex // guards the rest
	file *os.File   // nil once closed
	size int64
	full bool
}

var _ Log = (*logFile)(nil)

// append opens a build's log for writing. If a crash left an incomplete line, append ends
// it, so that the next line is separate.
func (l *Logs) append(buildID string) (*logFile, error) {
	path, err := l.path(buildID)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of build %s: %w", buildID, err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err = f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			_, err = f.Write([]byte("\n"))
			size++
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the log of build %s: %w", buildID, err), f.Close())
	}
	return &logFile{now: l.now, file: f, size: size}, nil
}

// Write adds a line. It drops lines after the close and beyond the limit.
func (f *logFile) Write(level Level, step, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write(level, step, message)
}

func (f *logFile) write(level Level, step, message string) {
	if f.file == nil || f.full {
		return
	}
	if f.size > maxLogFile {
		level, message = Warn, "The log is full; further lines are dropped."
		f.full = true
	}
	if !level.AtLeast(Debug) {
		level = Info
	}
	n, _ := f.file.Write(Entry{Time: f.now().UTC(), Level: level, Message: message, Step: step}.encode())
	f.size += int64(n)
}

// finish adds the last line, for which there is always room, and makes the log durable.
func (f *logFile) finish(level Level, step, message string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	f.full, f.size = false, 0
	f.write(level, step, message)
	err := errors.Join(f.file.Sync(), f.file.Close())
	f.file = nil
	return err
}

// drop closes a log without a last line.
func (f *logFile) drop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
