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

// lock keeps two orchestrators from using the same machine's state. Its file contains the
// holder's process ID.
type lock struct{ file *os.File }

// errLocked means that another process holds the lock.
var errLocked = errors.New("another shoal uses this run directory")

func lockPath(runDir string) string { return filepath.Join(runDir, "lock") }

func takeLock(runDir string) (*lock, error) {
	l, err := tryLock(runDir)
	deadline := time.Now().Add(lockPatience)
	for errors.Is(err, errLocked) && !holderLives(runDir) && time.Now().Before(deadline) {
		time.Sleep(lockPoll)
		l, err = tryLock(runDir)
	}
	return l, err
}

// takeLock waits if the holder is dead. A child that the holder forked keeps the lock until
// it executes its program, which is only a moment.
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

// ownDir creates a directory that only this user can write to. If the directory exists,
// another user may have made it, so its owner and mode are checked.
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

// lockHolder returns the process ID in the lock's file, or 0.
func lockHolder(runDir string) int {
	data, err := os.ReadFile(lockPath(runDir))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

func (l *lock) release() { l.file.Close() }
