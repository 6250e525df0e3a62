package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// volumeSize is how many MiB the rows of volumes copy at once.
const volumeSize = 256

// mounted makes a sandbox with a new volume at /v. end removes both.
func (s *server) mounted(ctx context.Context) (sb sandbox, dir string, end func(), err error) {
	var v struct {
		ID   string `json:"volumeID"`
		Name string `json:"name"`
	}
	body := fmt.Sprintf(`{"name":"bench-%d"}`, time.Now().UnixNano())
	if err := s.call(ctx, "POST", "/volumes", body, 201, &v); err != nil {
		return sb, "", nil, err
	}
	end = func() {
		ctx := context.WithoutCancel(ctx)
		if sb.ID != "" {
			_ = s.kill(ctx, sb)
		}
		_ = s.call(ctx, "DELETE", "/volumes/"+v.ID, "", 204, nil)
	}
	dirs, err := filepath.Glob(filepath.Join(s.DataDir, "volumes", "team-*", "vol-"+v.ID))
	if err == nil && len(dirs) != 1 {
		err = fmt.Errorf("the volume is in %v", dirs)
	}
	if err == nil {
		err = s.call(ctx, "POST", "/v2/sandboxes", fmt.Sprintf(
			`{"templateID":"base","timeout":3600,"volumeMounts":[{"name":%q,"path":"/v"}]}`, v.Name), 201, &sb)
	}
	if err != nil {
		end()
		return sb, "", nil, err
	}
	return sb, dirs[0], end, nil
}

// benchVolumeCopy compares copies of a large file into a volume, out of it and within it with one by the
// host in the same directory.
func benchVolumeCopy(ctx context.Context, b *bench, s *server) error {
	sb, dir, end, err := s.mounted(ctx)
	if err != nil {
		return err
	}
	defer end()
	fill := fmt.Sprintf("head -c %dM /dev/urandom > /v/a && cp /v/a /home/user/a", volumeSize)
	if _, err := s.command(ctx, sb, fill); err != nil {
		return err
	}
	var in, out, within, host times
	// Each round begins with another copy, so that none always finds the caches as the same one left them,
	// and the host copies beside each. None of them waits for the disk, nor is it busy when they begin.
	copies := []func() error{
		func() error { return s.copyInGuest(ctx, sb, &in, "/home/user/a", "/v/b") },
		func() error { return s.copyInGuest(ctx, sb, &out, "/v/a", "/home/user/b") },
		func() error { return s.copyInGuest(ctx, sb, &within, "/v/a", "/v/c") },
	}
	for round := range b.Rounds {
		for i := range copies {
			unix.Sync() // what earlier copies have written is no part of this one
			if err := copies[(round+i)%len(copies)](); err != nil {
				return err
			}
			unix.Sync()
			if err := copyOnHost(ctx, &host, filepath.Join(dir, "a"), filepath.Join(dir, "d")); err != nil {
				return err
			}
			if _, err := s.command(ctx, sb, "rm -f /v/b /v/c /v/d /home/user/b"); err != nil {
				return err
			}
		}
	}
	for _, c := range []struct {
		name string
		took times
	}{{"into", in}, {"out of", out}, {"within", within}} {
		name := fmt.Sprintf("copy %s a volume, %d MB", c.name, volumeSize)
		b.compare(name, c.took, host, "the host's cp in the same directory", ratioAtMost(2))
	}
	return nil
}

// copyInGuest times a copy by the guest's clock, since the shell's own start is no part of it.
func (s *server) copyInGuest(ctx context.Context, sb sandbox, list *times, from, to string) error {
	line := fmt.Sprintf("s=$(date +%%s%%N); cp %s %s; echo $(($(date +%%s%%N)-s))", from, to)
	out, err := s.command(ctx, sb, line)
	if err != nil {
		return err
	}
	var took int64
	if _, err := fmt.Sscan(out, &took); err != nil {
		return fmt.Errorf("%s: %q", line, out)
	}
	*list = append(*list, time.Duration(took))
	return nil
}

func copyOnHost(ctx context.Context, list *times, from, to string) error {
	begin := time.Now()
	if err := exec.CommandContext(ctx, "cp", "--reflink=never", from, to).Run(); err != nil {
		return err
	}
	*list = append(*list, time.Since(begin))
	return nil
}

// benchVolumeCreate measures how long a create with a volume takes beside one without.
func benchVolumeCreate(ctx context.Context, b *bench, s *server) error {
	var with, without times
	for range b.Rounds {
		begin := time.Now()
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		without = append(without, time.Since(begin))
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
		time.Sleep(time.Second) // another guest is started ahead meanwhile
		begin = time.Now()
		_, _, end, err := s.mounted(ctx)
		if err != nil {
			return err
		}
		with = append(with, time.Since(begin))
		end()
		time.Sleep(time.Second)
	}
	b.compare("create of a volume and of a sandbox with it", with, without, "create without a volume", atMost(150))
	return nil
}
