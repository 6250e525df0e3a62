package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lock keeps two orchestrators from one machine's state. Its file holds
// the holder's process ID.
type lock struct{ file *os.File }

// errLocked means that another process holds the lock.
var errLocked = errors.New("another shoal uses this run directory")

func lockPath(runDir string) string { return filepath.Join(runDir, "lock") }

func takeLock(runDir string) (*lock, error) {
	l, err := tryLock(runDir)
	for deadline := time.Now().Add(lockPatience); errors.Is(err, errLocked) && !holderLives(runDir) && time.Now().Before(deadline); {
		time.Sleep(lockPoll)
		l, err = tryLock(runDir)
	}
	return l, err
}

// A holder that was killed may leave its lock for a moment to a child that it had forked
// and that has not executed its program yet.
const (
	lockPatience = 5 * time.Second
	lockPoll     = 5 * time.Millisecond
)

func holderLives(runDir string) bool {
	pid := lockHolder(runDir)
	return pid > 0 && unix.Kill(pid, 0) == nil
}

func tryLock(runDir string) (*lock, error) {
	if err := ownDir(runDir); err != nil {
		return nil, fmt.Errorf("make the run directory: %w", err)
	}
	f, err := os.OpenFile(lockPath(runDir), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (process %d)", errLocked, lockHolder(runDir))
		}
		return nil, fmt.Errorf("take the lock: %w", err)
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("write the lock: %w", err)
		}
	}
	return &lock{file: f}, nil
}

// ownDir makes a directory that only this user can change things in. One that is there
// may lie where everybody can make some, and must not be somebody else's.
func ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s belongs to somebody else, or others may write to it: remove it, or name another with --run-dir", dir)
	}
	return nil
}

// lockHolder is the process ID in the lock's file, or 0.
func lockHolder(runDir string) int {
	data, err := os.ReadFile(lockPath(runDir))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

func (l *lock) release() { l.file.Close() }
