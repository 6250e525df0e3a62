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

// locks keep two orchestrators from using the same run directory, or the same name. Those of
// one name would take each other's guests for what an earlier process has left, and end them.
type locks []*lock

// namesDir has the locks of the names of this machine's installations.
const namesDir = "/run/shoal-names"

func runLock(runDir string) string { return filepath.Join(runDir, "lock") }

func nameLock(namesDir, instance string) string { return filepath.Join(namesDir, instance) }

func takeLocks(runDir, namesDir, instance string) (locks, error) {
	dir, err := takeLock(runLock(runDir))
	if err != nil {
		return nil, fmt.Errorf("lock the run directory %s: %w", runDir, err)
	}
	name, err := takeLock(nameLock(namesDir, instance))
	if err != nil {
		dir.release()
		return nil, fmt.Errorf("lock the name %q, which --instance can change: %w", instance, err)
	}
	return locks{dir, name}, nil
}

func (all locks) release() {
	for _, l := range all {
		l.release()
	}
}

// lock is one of them. Its file contains the holder's process ID.
type lock struct{ file *os.File }

// errLocked means that another process holds the lock.
var errLocked = errors.New("another shoal uses it")

func takeLock(path string) (*lock, error) {
	l, err := tryLock(path)
	deadline := time.Now().Add(lockPatience)
	for errors.Is(err, errLocked) && !holderLives(path) && time.Now().Before(deadline) {
		time.Sleep(lockPoll)
		l, err = tryLock(path)
	}
	return l, err
}

// takeLock waits if the holder is dead. A child that the holder forked keeps the lock until
// it executes its program, which is only a moment.
const (
	lockPatience = 5 * time.Second
	lockPoll     = 5 * time.Millisecond
)

func holderLives(path string) bool {
	pid := lockHolder(path)
	return pid > 0 && unix.Kill(pid, 0) == nil
}

func tryLock(path string) (*lock, error) {
	if err := ownDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("make the directory of a lock: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (process %d)", errLocked, lockHolder(path))
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
func lockHolder(path string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// removeName removes the lock of a name, while it is held, and the directory with the last.
func removeName(namesDir, instance string) error {
	if err := os.Remove(nameLock(namesDir, instance)); err != nil {
		return err
	}
	if err := unix.Rmdir(namesDir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("remove %s: %w", namesDir, err)
	}
	return nil
}

func (l *lock) release() { l.file.Close() }
