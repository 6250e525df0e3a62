package egress

import (
	"os"
	"path/filepath"
	"sync"
)

// maxLog bounds the log of a process, in bytes. What tenants do makes lines in it, and it is on
// tmpfs; a full one begins anew.
const maxLog = 1 << 20

// Log is the file that a process logs to. It is below the run directory, as nobody reads what the
// process writes to its standard files.
type Log struct {
	mu   sync.Mutex // a leaf
	file *os.File
	size int
}

// OpenLog creates the log of this process.
func OpenLog(runDir string) (*Log, error) {
	if err := os.MkdirAll(socketDir(runDir), 0o700); err != nil {
		return nil, err
	}
	path := logOf(filepath.Join(socketDir(runDir), socketName(os.Getpid())))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &Log{file: f}, nil
}

// Write implements io.Writer.
func (l *Log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+len(line) > maxLog {
		if err := l.file.Truncate(0); err != nil {
			return 0, err
		}
		l.size = 0
	}
	n, err := l.file.Write(line)
	l.size += n
	return n, err
}

// File is where the process may write what ends it, too.
func (l *Log) File() *os.File { return l.file }

// Close closes and removes the log.
func (l *Log) Close() error {
	if err := l.file.Close(); err != nil {
		return err
	}
	return removeIfThere(l.file.Name())
}
