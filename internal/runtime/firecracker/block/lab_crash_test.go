package block

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLabReconnect kills the server again and again while the device is written to. No request may fail,
// and nothing may be lost.
func TestLabReconnect(t *testing.T) {
	k := inLab(t)
	d, content, o := newTestDisk(t, testSize, 0)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	base := o.Below.(*Base).file.Name()
	server := startServer(t, o.Path, base, "test:reconnect")
	device := awaitAttached(t, k, "test:reconnect")
	f := openDevice(t, device, unix.O_DIRECT)
	writing, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var longest time.Duration
	const writers = 4
	requests := make([]int, writers)
	var mutex sync.Mutex
	part := int64(testSize / writers)
	for w := range int64(writers) {
		p := aligned(t, 64<<10)
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 8))
			for writing.Err() == nil {
				off := w*part + random.Int64N((part-int64(len(p)))/Size)*Size
				begin := time.Now()
				if random.IntN(3) == 0 {
					if _, err := f.ReadAt(p, off); err != nil || !bytes.Equal(p, content[off:off+int64(len(p))]) {
						t.Errorf("a read at %d: something else than was written (%v)", off, err)
						return
					}
				} else {
					fill(p, random)
					if _, err := f.WriteAt(p, off); err != nil {
						t.Errorf("a write at %d: %v", off, err)
						return
					}
					copy(content[off:], p)
				}
				if random.IntN(30) == 0 {
					if err := f.Sync(); err != nil {
						t.Errorf("a flush: %v", err)
						return
					}
				}
				mutex.Lock()
				longest = max(longest, time.Since(begin))
				requests[w]++
				mutex.Unlock()
			}
		})
	}
	progress := func() (sum int) {
		mutex.Lock()
		defer mutex.Unlock()
		for _, n := range requests {
			sum += n
		}
		return sum
	}
	const kills = 3
	for range kills {
		for begin := progress(); progress() < begin+40 && !t.Failed(); { // in the midst of it
			time.Sleep(10 * time.Millisecond)
		}
		server.kill(t)
		server = startServer(t, o.Path, base, "test:reconnect")
	}
	for begin := progress(); progress() < begin+40 && !t.Failed(); {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	all.Wait()
	f.Close()
	t.Logf("%d requests over %d kills of the server; the longest took %v", progress(), kills, longest.Round(time.Millisecond))
	attached, _, _ := k.Find("test:reconnect")
	if err := k.Disconnect(context.Background(), attached.Index); err != nil {
		t.Fatal(err)
	}
	server.wait(t)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	requireContent(t, d, content)
}

// TestLabServerEndsByItself has a server end by its context, and another one in the same process go on.
func TestLabServerEndsByItself(t *testing.T) {
	k := inLab(t)
	d, content, _ := newTestDisk(t, 16<<20, 0)
	var device string
	buffer := aligned(t, 1<<20)
	for round := range 3 {
		a, err := NewAttachment(k, d, "test:handover", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- a.Run(ctx) }()
		path, err := a.Device(ctx)
		if err != nil || device != "" && path != device {
			t.Fatalf("round %d: %s, then %s (%v)", round, device, path, err)
		}
		device = path
		f := openDevice(t, device, unix.O_DIRECT)
		for i := range buffer {
			buffer[i] = byte(round + 1)
		}
		if _, err := f.WriteAt(buffer, int64(round)<<20); err != nil {
			t.Fatal(err)
		}
		copy(content[round<<20:], buffer)
		f.Close()
		if round == 2 {
			if err := a.Detach(ctx); err != nil {
				t.Fatal(err)
			}
		} else {
			end()
		}
		if err := <-ran; err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		end()
	}
	requireContent(t, d, content)
}

// late is a device that does its first write only after more time than Linux waits.
type late struct {
	Device
	first sync.Once
}

func (l *late) WriteAt(p []byte, off int64) (int, error) {
	l.first.Do(func() { time.Sleep(replyTimeout + replyTimeout/2) })
	return l.Device.WriteAt(p, off)
}

// TestLabSlowDisk has Linux give a connection up, because a reply takes too long. The write succeeds all the
// same, and what is written after it is not overwritten by the one that was late.
func TestLabSlowDisk(t *testing.T) {
	k := inLab(t)
	d, content, _ := newTestDisk(t, 2<<20, 0)
	a, device := attach(t, k, &late{Device: d}, "test:slow")
	f := openDevice(t, device, unix.O_DIRECT)
	p := aligned(t, 64<<10)
	for value := range byte(3) {
		for i := range p {
			p[i] = value + 1
		}
		if _, err := f.WriteAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	copy(content, p)
	requireContent(t, d, content)
	detach(t, k, a)
}

// TestLabReclaim has a crash leave a device, on which a read waits.
func TestLabReclaim(t *testing.T) {
	k := inLab(t)
	d, _, o := newTestDisk(t, 16<<20, 0)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	server := startServer(t, o.Path, o.Below.(*Base).file.Name(), "test:reclaim")
	device := awaitAttached(t, k, "test:reclaim")
	f := openDevice(t, device, unix.O_DIRECT)
	server.kill(t)
	read := make(chan error, 1)
	p := aligned(t, Size)
	go func() { _, err := f.ReadAt(p, 0); read <- err }()
	n, err := k.Reclaim(context.Background(), "test:", func(backend string) bool { return backend == "test:reclaim" })
	if n != 0 || err != nil {
		t.Errorf("%d devices in use were ended (%v)", n, err)
	}
	n, err = k.Reclaim(context.Background(), "test:", func(string) bool { return false })
	if n != 1 || err != nil {
		t.Errorf("%d devices were ended (%v)", n, err)
	}
	if err := <-read; err == nil {
		t.Error("a read of a device that nobody serves succeeded")
	}
	f.Close()
	if _, is, _ := k.Find("test:reclaim"); is {
		t.Error("the device is still attached")
	}
}

// serverProcess is a server that can be killed as a whole.
type serverProcess struct{ command *exec.Cmd }

const serverVariable = "SHOAL_TEST_DISK_SERVER"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(serverVariable); arguments != "" {
		if err := runServer(strings.Split(arguments, "|")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runServer is the process that startServer starts.
func runServer(arguments []string) error {
	base, err := OpenBase(arguments[1], "sha256:0123")
	if err != nil {
		return err
	}
	d, err := Open(Options{Path: arguments[0], Below: base})
	if err != nil {
		return err
	}
	a, err := NewAttachment(NewKernel(), d, arguments[2], nil)
	if err != nil {
		return err
	}
	if err := a.Run(context.Background()); err != nil {
		return err
	}
	return d.Close()
}

func startServer(t *testing.T, overlay, base, backend string) *serverProcess {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), serverVariable+"="+strings.Join([]string{overlay, base, backend}, "|"))
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return &serverProcess{c}
}

func (s *serverProcess) kill(t *testing.T) {
	t.Helper()
	if err := s.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.command.Wait()
}

func (s *serverProcess) wait(t *testing.T) {
	t.Helper()
	if err := s.command.Wait(); err != nil {
		t.Error(err)
	}
}

func awaitAttached(t *testing.T, k *Kernel, backend string) string {
	t.Helper()
	for range 1000 {
		if a, is, err := k.Find(backend); err != nil {
			t.Fatal(err)
		} else if is && a.Size > 0 {
			return a.Path
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s was not attached", backend)
	return filepath.Join("/dev", backend)
}
