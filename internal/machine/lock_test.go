package machine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestLockOfALivingProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	first, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := takeLock(dir); !errors.Is(err, errLocked) || time.Since(begin) > lockPatience/2 {
		t.Errorf("the second got %v after %s", err, time.Since(begin))
	}
	first.release()
	second, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	second.release()
}

// TestLockLeftToAChild: the holder is dead, but a child that it forked still holds the lock.
func TestLockLeftToAChild(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	held, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lockPath(dir), []byte(strconv.Itoa(dead.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*lockPoll, held.release)
	next, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	next.release()
}
