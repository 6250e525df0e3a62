package envd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/envdapi"
)

// mountBudget bounds all mounts of one /init.
const mountBudget = 10 * time.Second

// volumes remembers in which run of the sandbox each path was mounted.
type volumes struct {
	turn      sync.Mutex // held while mounting; a second attempt is skipped
	mu        sync.Mutex // guards lifecycle
	lifecycle map[string]string
	mounting  sync.WaitGroup
	attach    func(envdapi.VolumeMount) error // replaced in tests
}

func newVolumes() *volumes {
	return &volumes{lifecycle: map[string]string{}, attach: attachVolume}
}

// mount mounts, all at once, what this run of the sandbox has not mounted yet. It goes on
// after the request, which may be given up before a server answers.
func (v *volumes) mount(ctx context.Context, mounts []envdapi.VolumeMount, lifecycleID string) error {
	if len(mounts) == 0 || !v.turn.TryLock() {
		return nil
	}
	defer v.turn.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mountBudget)
	defer cancel()
	results := make(chan error, len(mounts))
	started := 0
	for _, m := range mounts {
		if v.done(m.Path, lifecycleID) {
			continue
		}
		started++
		v.mounting.Go(func() { results <- v.mountOne(m, lifecycleID) })
	}
	var errs error
	for range started {
		select {
		case err := <-results:
			errs = errors.Join(errs, err)
		case <-ctx.Done():
			return errors.Join(errs, fmt.Errorf("mount volumes: %w", ctx.Err()))
		}
	}
	return errs
}

func (v *volumes) done(path, lifecycleID string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.lifecycle[path]
	return ok && known == lifecycleID
}

func (v *volumes) mountOne(m envdapi.VolumeMount, lifecycleID string) error {
	if !strings.HasPrefix(m.Path, "/") || m.Path == "/" {
		return fmt.Errorf("mount a volume at %q: the path must be absolute", m.Path)
	}
	if err := v.attach(m); err != nil {
		return fmt.Errorf("mount a volume at %q: %w", m.Path, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lifecycle[m.Path] = lifecycleID
	return nil
}

func attachVolume(m envdapi.VolumeMount) error {
	if m.Target == "" {
		return os.MkdirAll(m.Path, 0o755)
	}
	server, _, ok := strings.Cut(m.Target, ":/")
	if !ok || server == "" || strings.ContainsAny(server, ", ") {
		return fmt.Errorf("%q is not of the form <ip>:/<name>", m.Target)
	}
	if err := detach(m.Path); err != nil {
		return err
	}
	if err := os.MkdirAll(m.Path, 0o755); err != nil {
		return err
	}
	const options = "hard,rsize=1048576,wsize=1048576,mountproto=tcp,mountport=2049,proto=tcp,port=2049," +
		"vers=3,noacl,noac,lookupcache=none,addr="
	err := unix.Mount(m.Target, m.Path, "nfs", unix.MS_SYNCHRONOUS, options+server)
	if errors.Is(err, unix.ENODEV) {
		return errors.New("this guest's kernel has no NFS")
	}
	return err
}

// detach unmounts what an earlier run left, by force, or lazily if it is in use.
func detach(path string) error {
	err := unix.Unmount(path, unix.MNT_FORCE)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(path, unix.MNT_DETACH)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // nothing is mounted there
	}
	return err
}
