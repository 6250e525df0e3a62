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
	path := runLock(filepath.Join(t.TempDir(), "run"))
	first, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := takeLock(path); !errors.Is(err, errLocked) || time.Since(begin) > lockPatience/2 {
		t.Errorf("the second got %v after %s", err, time.Since(begin))
	}
	first.release()
	second, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	second.release()
}

// TestLockLeftToAChild: the holder is dead, but a child that it forked still holds the lock.
func TestLockLeftToAChild(t *testing.T) {
	path := runLock(filepath.Join(t.TempDir(), "run"))
	held, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(dead.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*lockPoll, held.release)
	next, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	next.release()
}

// TestOneInstallationOfAName: two that are called the same do not run at once, wherever
// their files are.
func TestOneInstallationOfAName(t *testing.T) {
	dir := t.TempDir()
	names := filepath.Join(dir, "names")
	take := func(run, name string) (locks, error) {
		return takeLocks(filepath.Join(dir, run), names, name)
	}
	first, err := take("first", "shoal")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := take("second", "shoal"); !errors.Is(err, errLocked) {
		t.Errorf("another of the same name: %v", err)
	}
	if _, err := take("first", "other"); !errors.Is(err, errLocked) {
		t.Errorf("another in the same directory: %v", err)
	}
	other, err := take("second", "other")
	if err != nil {
		t.Fatalf("another that shares neither: %v", err)
	}
	other.release()
	if err := removeName(names, "shoal"); err != nil {
		t.Error(err)
	}
	first.release()
	if err := removeName(names, "other"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(names); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of names is left: %v", err)
	}
}
