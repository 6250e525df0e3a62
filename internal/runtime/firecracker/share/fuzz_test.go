package share

import (
	"encoding/binary"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// messageOf makes one message of a guest.
func messageOf(op fuse.Opcode, unique, node uint64, body ...any) []byte {
	b := make([]byte, fuse.HeaderSize)
	le := binary.LittleEndian
	le.PutUint32(b[4:], uint32(op))
	le.PutUint64(b[8:], unique)
	le.PutUint64(b[16:], node)
	for _, part := range body {
		switch p := part.(type) {
		case uint32:
			b = le.AppendUint32(b, p)
		case uint64:
			b = le.AppendUint64(b, p)
		case string:
			b = append(append(b, p...), 0)
		}
	}
	le.PutUint32(b, uint32(len(b)))
	return b
}

// stream is what a guest sends; what it is answered is looked at.
type stream struct {
	t    testing.TB
	rest []byte
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Write(p []byte) (int, error) {
	if len(p) < fuse.ReplyHeaderSize || int(binary.LittleEndian.Uint32(p)) != len(p) || len(p) > fuse.MaxMessage {
		s.t.Errorf("a reply of %d bytes: % x", len(p), p[:min(len(p), 32)])
	}
	return len(p), nil
}

func (s *stream) Close() error { return nil }

// FuzzServer sends what a hostile guest may. The server must not end, must reply with whole messages, must reach
// nothing beside its directory, and must have nothing open in the end but what the guest has open.
func FuzzServer(f *testing.F) {
	// Files do not become so long that they fill the disk; but who hands the inputs out has a longer one.
	limit := sync.OnceValue(func() error {
		signal.Ignore(unix.SIGXFSZ)
		return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: unix.RLIM_INFINITY})
	})
	f.Cleanup(func() {
		must(f, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}))
	})
	seeds := [][]byte{
		messageOf(fuse.Lookup, 2, fuse.Root, "file"),
		messageOf(fuse.Lookup, 4, fuse.Root, ".."),
		messageOf(fuse.Lookup, 4, fuse.Root, "up/secret"),
		messageOf(fuse.Create, 6, fuse.Root, uint32(2), uint32(0o644), uint32(0), uint32(0), "new"),
		messageOf(fuse.Unlink, 8, fuse.Root, "../secret"),
		messageOf(fuse.Rename, 10, fuse.Root, uint64(fuse.Root), "file", "../out"),
		messageOf(fuse.Symlink, 12, fuse.Root, "link", "../secret"),
		messageOf(fuse.Open, 14, fuse.Root, uint32(2), uint32(0)),
		messageOf(fuse.OpenDir, 14, fuse.Root, uint32(0), uint32(0)),
		messageOf(fuse.BatchForget, 16, 0, uint32(1<<31), uint32(0), uint64(fuse.Root), uint64(1)),
		messageOf(fuse.GetXAttr, 18, fuse.Root, uint32(1<<31), uint32(0), "user.x"),
		messageOf(fuse.MkNod, 20, fuse.Root, uint32(unix.S_IFIFO|0o666), uint32(0), uint32(0), uint32(0), "fifo"),
		messageOf(fuse.SetLock, 22, fuse.Root, uint64(1), uint64(2), uint64(5), uint64(4), uint32(1), uint32(0), uint32(0), uint32(0)),
		messageOf(fuse.SetAttr, 24, fuse.Root, uint32(1), uint32(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0),
			uint32(0), uint32(0), uint32(0), uint32(0o777), uint32(0), uint32(0), uint32(0), uint32(0)),
		messageOf(fuse.Write, 26, fuse.Root, uint64(1), ^uint64(0), uint32(4), uint32(0), uint64(0), uint32(unix.O_APPEND), uint32(0), "abc"),
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Add(slices.Concat(seeds...))
	f.Fuzz(func(t *testing.T, data []byte) {
		must(t, limit())
		dir := t.TempDir()
		volume := filepath.Join(dir, "volume")
		must(t, os.Mkdir(volume, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600))
		must(t, os.Symlink("..", filepath.Join(volume, "up")))
		must(t, os.WriteFile(filepath.Join(volume, "file"), []byte("text"), 0o600))
		root, err := unix.Open(volume, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		before := descriptors(t)
		s, err := New(Options{Root: root, Descriptors: "/proc/self/fd/"})
		must(t, err)
		_ = s.Serve(&stream{t, data}) // ends with the stream
		s.Save(t.Context())
		for id := range s.handles {
			_, _ = s.do(&request{Header: fuse.Header{Opcode: fuse.Release, Node: 1}, Fields: fuse.NewFields(binary.LittleEndian.AppendUint64(nil, id)), server: s})
		}
		for id := range s.nodes {
			s.forget(id, 1<<63)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors were left", after-before)
		}
		unix.Close(root)
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 {
			t.Errorf("beside the volume there is %v (%v)", entries, err)
		}
		wantText(t, filepath.Join(dir, "secret"), "secret")
		must(t, os.Chmod(volume, 0o755))
	})
}

func descriptors(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
