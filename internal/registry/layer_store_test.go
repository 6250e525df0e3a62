package registry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPullsGoOn: a pull that breaks off continues where it stopped, within the same pull
// and in the next one.
func TestPullsGoOn(t *testing.T) {
	f, reference := frailRegistry(t)
	c := open(t, Config{})
	f.breakOff(2, 1<<20)
	first, err := get(t, c, reference, nil, quiet)
	must(t, err)
	asked := f.requests()
	if len(asked) != 3 || asked[0] != "" || !strings.HasPrefix(asked[1], "bytes=1") || !strings.HasPrefix(asked[2], "bytes=2") {
		t.Errorf("ranges: %q", asked)
	}

	c = open(t, Config{})
	f.breakOff(1+fruitless, 0)
	f.cut = 0
	if _, err := get(t, c, reference, nil, quiet); err == nil || !strings.Contains(err.Error(), "failed to pull image") {
		t.Errorf("a registry that sends nothing: %v", err)
	}
	f.breakOff(1, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	f.hold = make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := getUntil(ctx, c, reference, nil, quiet)
		ended <- err
	}()
	part := filepath.Join(c.layers.dir, strings.TrimPrefix(f.big, "sha256:")+partSuffix)
	await(t, func() bool { info, err := os.Stat(part); return err == nil && info.Size() > 0 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	whole, parts := wholeNames(t, c)
	if len(whole) != 2 || len(parts) != 1 {
		t.Errorf("after a canceled pull: %v and %v", whole, parts)
	}
	f.breakOff(0, 0)
	var said []string
	second, err := get(t, c, reference, nil, func(s string) { said = append(said, s) })
	must(t, err)
	if asked := f.requests(); len(asked) != 1 || !strings.HasPrefix(asked[0], "bytes=") || second.Digest != first.Digest {
		t.Errorf("ranges %q, image %s, want %s", asked, second.Digest, first.Digest)
	}
	if !strings.Contains(strings.Join(said, "\n"), "Going on with layer 3/3 at ") {
		t.Errorf("said: %q", said)
	}
}

// TestPullsWithoutRanges: a pull starts over if the registry does not support ranges.
func TestPullsWithoutRanges(t *testing.T) {
	f, reference := frailRegistry(t)
	f.refuse = true
	c := open(t, Config{})
	f.breakOff(1, 1<<20)
	_, err := get(t, c, reference, nil, quiet)
	must(t, err)
	if asked := f.requests(); len(asked) != 2 || asked[1] == "" {
		t.Errorf("ranges: %q", asked)
	}
}

// TestDamagedLayers: damaged layers, complete or partial, are noticed and pulled again.
func TestDamagedLayers(t *testing.T) {
	f, reference := frailRegistry(t)
	c := open(t, Config{})
	first, err := get(t, c, reference, nil, quiet)
	must(t, err)
	path := filepath.Join(c.layers.dir, strings.TrimPrefix(f.big, "sha256:"))
	for what, damage := range map[string]func() error{
		"empty": func() error { return os.Truncate(path, 0) },
		"other": func() error { return os.WriteFile(path, make([]byte, bigSize), 0o600) },
		"part, garbage": func() error {
			return errors.Join(os.Remove(path), os.WriteFile(path+partSuffix, make([]byte, 1<<20), 0o600))
		},
		"part, long": func() error {
			return errors.Join(os.Remove(path), os.WriteFile(path+partSuffix, make([]byte, 2*bigSize), 0o600))
		},
	} {
		must(t, damage())
		i, err := get(t, c, reference, nil, quiet)
		if strings.HasPrefix(what, "part") { // noticed at the end, and removed
			if err == nil || !strings.Contains(err.Error(), "digest") {
				t.Errorf("%s: %v", what, err)
			}
			i, err = get(t, c, reference, nil, quiet)
		}
		if err != nil || i.Digest != first.Digest {
			t.Errorf("%s: %v %v", what, i, err)
		}
	}
	f.breakOff(0, 0)
	if _, err := get(t, c, reference, nil, quiet); err != nil || len(f.requests()) != 0 {
		t.Errorf("a kept layer: %v, %d requests", err, len(f.requests()))
	}
}

// TestPullsAtOnce: concurrent pulls request each layer once.
func TestPullsAtOnce(t *testing.T) {
	f, reference := frailRegistry(t)
	c := open(t, Config{})
	digests := make([]string, 8)
	var all sync.WaitGroup
	for n := range digests {
		all.Go(func() {
			i, err := get(t, c, reference, nil, quiet)
			if err != nil {
				t.Error(err)
			}
			digests[n] = i.Digest
		})
	}
	all.Wait()
	for _, d := range digests {
		if d == "" || d != digests[0] {
			t.Errorf("images: %v", digests)
		}
	}
	if asked := f.requests(); len(asked) != 1 {
		t.Errorf("requests for one layer: %q", asked)
	}
}

// TestSweep: only layers that were not used for a long time are removed.
func TestSweep(t *testing.T) {
	f, reference := frailRegistry(t)
	c := open(t, Config{})
	_, err := get(t, c, reference, nil, quiet)
	must(t, err)
	old := filepath.Join(c.layers.dir, strings.TrimPrefix(f.big, "sha256:"))
	then := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(old, then, then))
	must(t, c.Sweep(then.Add(time.Minute)))
	if whole, _ := wholeNames(t, c); len(whole) != 2 {
		t.Errorf("after the sweep: %v", whole)
	}
}
