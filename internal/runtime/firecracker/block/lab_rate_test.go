package block

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// load is something that a device is made to do, past the page cache.
type load struct {
	name  string
	bytes int64
	do    func(f *os.File, buffer []byte, size int64) error
}

func sequential(writes bool) func(f *os.File, buffer []byte, size int64) error {
	return func(f *os.File, buffer []byte, size int64) error {
		for off := int64(0); off < size; off += int64(len(buffer)) {
			var err error
			if writes {
				_, err = f.WriteAt(buffer, off)
			} else {
				_, err = f.ReadAt(buffer, off)
			}
			if err != nil {
				return err
			}
		}
		if writes {
			return f.Sync()
		}
		return nil
	}
}

func atRandom(writes bool, n int) func(f *os.File, buffer []byte, size int64) error {
	return func(f *os.File, buffer []byte, size int64) error {
		random := rand.New(rand.NewPCG(9, 10))
		for range n {
			off := random.Int64N(size/Size) * Size
			var err error
			if writes {
				_, err = f.WriteAt(buffer[:Size], off)
			} else {
				_, err = f.ReadAt(buffer[:Size], off)
			}
			if err != nil {
				return err
			}
		}
		if writes {
			return f.Sync()
		}
		return nil
	}
}

// BenchmarkLabRate compares our rate with nbd-server's, on files of the same disk, by turns.
func BenchmarkLabRate(b *testing.B) {
	k := inLab(b)
	const size = 32 << 20
	const random = 300
	loads := []load{
		{"first write, 1 MiB each", size, sequential(true)},
		{"write, 1 MiB each", size, sequential(true)},
		{"read, 1 MiB each", size, sequential(false)},
		{"write at random, 4 KiB each", random * Size, atRandom(true, random)},
		{"read at random, 4 KiB each", random * Size, atRandom(false, random)},
	}
	buffer := aligned(b, 1<<20)
	for i := range buffer {
		buffer[i] = byte(i>>12 + i | 1)
	}
	const turns = 3
	ours, theirs := make([][]float64, len(loads)), make([][]float64, len(loads))
	for range turns {
		measure(b, loads, ours, size, buffer, func() (string, func()) {
			dir := b.TempDir()
			command(b, "truncate", "-s", fmt.Sprint(size), dir+"/base")
			base, err := OpenBase(dir+"/base", "zeros")
			if err != nil {
				b.Fatal(err)
			}
			d, err := Create(Options{Path: dir + "/overlay", Below: base, Size: size})
			if err != nil {
				b.Fatal(err)
			}
			a, device := attach(b, k, d, "test:rate/"+dir)
			return device, func() { detach(b, k, a); d.Close(); base.Close(); os.RemoveAll(dir) }
		})
		measure(b, loads, theirs, size, buffer, func() (string, func()) { return nbdServer(b, k, size) })
	}
	for i, l := range loads {
		slices.Sort(ours[i])
		slices.Sort(theirs[i])
		ratio := ours[i][turns/2] / theirs[i][turns/2]
		b.Logf("%-28s ours %6.1f MB/s, nbd-server's %6.1f MB/s: %.2f times", l.name, ours[i][turns/2], theirs[i][turns/2], ratio)
		b.ReportMetric(ratio, strings.ReplaceAll(strings.ReplaceAll(l.name, ",", ""), " ", "-"))
	}
	b.ReportMetric(0, "ns/op") // which is left out
}

// measure adds what a device does to rates, in MB/s.
func measure(t testing.TB, loads []load, rates [][]float64, size int64, buffer []byte, open func() (string, func())) {
	t.Helper()
	device, end := open()
	defer end()
	f := openDevice(t, device, unix.O_DIRECT)
	defer f.Close()
	for i, l := range loads {
		begin := time.Now()
		if err := l.do(f, buffer, size); err != nil {
			t.Fatalf("%s: %v", l.name, err)
		}
		rates[i] = append(rates[i], float64(l.bytes)/1e6/time.Since(begin).Seconds())
	}
}

// nbdServer has the reference's server and client serve a file, over a socket of the same kind.
func nbdServer(t testing.TB, k *Kernel, size int64) (device string, end func()) {
	t.Helper()
	dir := t.TempDir()
	command(t, "truncate", "-s", fmt.Sprint(size), dir+"/disk")
	settings := fmt.Sprintf("[generic]\nuser=root\ngroup=root\nallowlist=true\nunixsock=%s/socket\n[lab]\nexportname=%s/disk\nflush=true\nfua=true\ntrim=true\n", dir, dir)
	if err := os.WriteFile(dir+"/conf", []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command("nbd-server", "-d", "-C", dir+"/conf")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if _, err := os.Stat(dir + "/socket"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	// It is given a free device, which the kernel must have.
	attached, err := k.Attached()
	if err != nil {
		t.Fatal(err)
	}
	index := 0
	for slices.ContainsFunc(attached, func(a Attached) bool { return a.Index == index }) {
		index++
	}
	device = k.path(index)
	command(t, "nbd-client", "-unix", dir+"/socket", "-N", "lab", "-b", "4096", device)
	return device, func() {
		if err := k.Disconnect(context.Background(), index); err != nil {
			t.Error(err)
		}
		_ = server.Process.Kill()
		_ = server.Wait()
		os.RemoveAll(filepath.Clean(dir))
	}
}
