package block

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inLab skips a test that wants the lab's kernel, with its NBD module.
func inLab(t testing.TB) *Kernel {
	t.Helper()
	if os.Getenv("SHOAL_TEST_LAB") == "" {
		t.Skip("needs the lab: scripts/test lab")
	}
	k := NewKernel()
	if k.Check() != nil {
		command(t, "modprobe", "nbd", "nbds_max=4", "max_part=0")
	}
	return k
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// attach has the kernel have a device, until the test ends.
func attach(t testing.TB, k *Kernel, device Device, backend string) (*Attachment, string) {
	t.Helper()
	a, err := NewAttachment(k, device, backend, nil)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(context.Background()); err != nil {
			t.Errorf("%s: %v", backend, err)
		}
	})
	path, err := a.Device(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Detach(context.Background()); err != nil {
			t.Errorf("%s: %v", backend, err)
		}
		running.Wait()
	})
	return a, path
}

// detach ends an attachment before the test ends; its Run has returned then.
func detach(t testing.TB, k *Kernel, a *Attachment) {
	t.Helper()
	if err := a.Detach(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, is, err := k.Find(a.backend); is || err != nil {
		t.Fatalf("%s is still attached (%v)", a.backend, err)
	}
}

func TestLabWithoutTheModule(t *testing.T) {
	k := inLab(t)
	command(t, "modprobe", "-r", "nbd")
	var unavailable *UnavailableError
	if err := k.Check(); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "modprobe nbd") {
		t.Errorf("without the module: %v", err)
	}
	if err := k.Try(t.Context()); !errors.As(err, &unavailable) || unavailable.Full {
		t.Errorf("a try without the module: %v", err)
	}
	d, _, _ := newTestDisk(t, 1<<20, 0)
	a, err := NewAttachment(k, d, "test:none", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(context.Background()); !errors.As(err, &unavailable) {
		t.Errorf("an attachment without the module: %v", err)
	}
	if _, err := a.Device(context.Background()); !errors.As(err, &unavailable) {
		t.Errorf("its device: %v", err)
	}
	command(t, "modprobe", "nbd", "nbds_max=4", "max_part=0")
	if err := k.Check(); err != nil {
		t.Errorf("with the module: %v", err)
	}
	if err := k.Try(t.Context()); err != nil {
		t.Errorf("a try with the module: %v", err)
	}
	if left, err := k.Attached(); err != nil || len(left) != 0 {
		t.Errorf("a try has left %v (%v)", left, err)
	}
}

// TestLabFileSystem has a file system on a base used over an overlay, discarded, checked and used again.
func TestLabFileSystem(t *testing.T) {
	k := inLab(t)
	dir := t.TempDir()
	image, mount := dir+"/base", dir+"/mount"
	command(t, "truncate", "-s", "96M", image)
	command(t, "mkfs.ext4", "-q", "-F", "-b", "4096", image)
	before := command(t, "sha256sum", image)
	base, err := OpenBase(image, "ext4")
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	o := Options{Path: dir + "/overlay", Below: base, Size: 96 << 20}
	d, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	a, device := attach(t, k, d, "test:ext4")
	command(t, "mount", "-t", "ext4", device, mount)
	command(t, "bash", "-c", "cp -r /usr/share/perl5 /usr/bin/perl "+mount+"/; cp -r /etc "+mount+"/; cd "+mount+
		" && find . -type f -print0 | sort -z | xargs -0 sha256sum >"+dir+"/sums")
	command(t, "dd", "if=/dev/urandom", "of="+mount+"/big", "bs=1M", "count=24", "conv=fsync", "status=none")
	full := d.Kept()
	command(t, "rm", mount+"/big")
	command(t, "sync")
	command(t, "fstrim", mount)
	command(t, "umount", mount)
	if now := d.Kept(); now > full-(15<<20) {
		t.Errorf("the overlay keeps %d MiB before the discard and %d after", full>>20, now>>20)
	}
	command(t, "fsck.ext4", "-f", "-n", device)
	detach(t, k, a)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(o); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, device = attach(t, k, d, "test:ext4 again")
	command(t, "fsck.ext4", "-f", "-n", device)
	command(t, "mount", "-t", "ext4", "-o", "ro", device, mount)
	command(t, "bash", "-c", "cd "+mount+" && sha256sum --quiet -c "+dir+"/sums")
	command(t, "umount", mount)
	if after := command(t, "sha256sum", image); after != before {
		t.Error("the base has changed")
	}
	t.Logf("the overlay keeps %d of %d MiB", d.Kept()>>20, d.Size()>>20)
}

// openDevice opens a device past the page cache (O_DIRECT) or through it (0).
func openDevice(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// aligned is memory as direct I/O wants it.
func aligned(t testing.TB, length int) []byte {
	t.Helper()
	p, err := unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(p) })
	return p
}

func discard(f *os.File, off, length int64) error {
	span := [2]uint64{uint64(off), uint64(length)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&span)))
	if errno != 0 {
		return errno
	}
	return nil
}

// TestLabRandom writes, discards and reads at random, direct and through the page cache.
func TestLabRandom(t *testing.T) {
	k := inLab(t)
	d, content, o := newTestDisk(t, testSize, 0)
	a, device := attach(t, k, d, "test:random")
	random := rand.New(rand.NewPCG(6, 7))
	buffer := aligned(t, 2<<20)
	for round, flags := range []int{unix.O_DIRECT, 0, unix.O_DIRECT} {
		f := openDevice(t, device, flags)
		for range 300 {
			off := random.Int64N(testSize/Size) * Size
			p := buffer[:min((random.Int64N(2<<20/Size)*random.Int64N(2)+1)*Size, testSize-off)]
			switch random.IntN(5) {
			case 0:
				if err := discard(f, off, int64(len(p))); err != nil {
					t.Fatal(err)
				}
				clear(content[off : off+int64(len(p))])
			case 1:
				if _, err := f.ReadAt(p, off); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(p, content[off:off+int64(len(p))]) {
					t.Fatalf("round %d: %d bytes at %d are not what was written", round, len(p), off)
				}
			default:
				fill(p, random)
				if _, err := f.WriteAt(p, off); err != nil {
					t.Fatal(err)
				}
				copy(content[off:], p)
			}
		}
		if err := a.Sync(context.Background()); err != nil { // while the file is open, as a microVM has it
			t.Fatal(err)
		}
		requireContent(t, d, content)
		f.Close()
	}
	detach(t, k, a)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	requireContent(t, d, content)
}

// TestLabNoStaleCache reads, through the page cache, one disk after another as the same device.
func TestLabNoStaleCache(t *testing.T) {
	k := inLab(t)
	devices := map[string]bool{}
	for round := range 4 {
		d, content, _ := newTestDisk(t, 2<<20, 0)
		write(t, d, content, bytes.Repeat([]byte{byte(round + 1)}, 2<<20), 0)
		a, device := attach(t, k, d, fmt.Sprintf("test:stale/%d", round))
		f := openDevice(t, device, 0)
		requireContent(t, f, content)
		f.Close()
		detach(t, k, a)
		devices[device] = true
	}
	if len(devices) != 1 {
		t.Errorf("the disks were %v, so that nothing was tried", devices)
	}
}

// TestLabManyDevices attaches a hundred disks, though the module was loaded for four.
func TestLabManyDevices(t *testing.T) {
	k := inLab(t)
	const disks = 100
	base, content := newBase(t, 1<<20)
	seen := map[string]bool{}
	var attachments []*Attachment
	var files []*Disk
	dir := t.TempDir()
	begin := time.Now()
	for i := range disks {
		d, err := Create(Options{Path: fmt.Sprintf("%s/%d", dir, i), Below: base, Size: 2 << 20})
		if err != nil {
			t.Fatal(err)
		}
		a, device := attach(t, k, d, fmt.Sprintf("test:many/%d", i))
		if seen[device] {
			t.Fatalf("%s was attached twice", device)
		}
		seen[device] = true
		attachments, files = append(attachments, a), append(files, d)
	}
	took := time.Since(begin)
	p := aligned(t, 64<<10)
	for i, a := range attachments {
		path, _ := a.Device(context.Background())
		f := openDevice(t, path, unix.O_DIRECT)
		for j := range p {
			p[j] = byte(i + 1)
		}
		if _, err := f.WriteAt(p, 1<<20); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for i, d := range files {
		want := append(bytes.Clone(content), make([]byte, 1<<20)...)
		copy(want[1<<20:], bytes.Repeat([]byte{byte(i + 1)}, 64<<10))
		requireContent(t, d, want)
	}
	attached, err := k.Attached()
	if err != nil || len(attached) < disks {
		t.Errorf("%d devices are attached (%v)", len(attached), err)
	}
	begin = time.Now()
	for _, a := range attachments {
		detach(t, k, a)
	}
	t.Logf("%d disks attached in %v, detached in %v", disks, took.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
}

// TestLabSharedRoom has captures and copies share room with what they are of, on XFS, and not on ext4.
func TestLabSharedRoom(t *testing.T) {
	inLab(t)
	command(t, "modprobe", "loop")
	command(t, "modprobe", "xfs")
	dir := t.TempDir()
	command(t, "truncate", "-s", "512M", dir+"/xfs")
	command(t, "mkfs.xfs", "-q", dir+"/xfs")
	xfs := dir + "/mount"
	if err := os.Mkdir(xfs, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop", dir+"/xfs", xfs)
	defer command(t, "umount", xfs)
	for _, place := range []struct {
		dir    string
		shares bool
	}{{xfs, true}, {dir, false}} {
		content := bytes.Repeat([]byte{1, 2, 3, 4}, 4<<20/4)
		if err := os.WriteFile(place.dir+"/base", content, 0o600); err != nil {
			t.Fatal(err)
		}
		base, err := OpenBase(place.dir+"/base", "base")
		if err != nil {
			t.Fatal(err)
		}
		d, err := Create(Options{Path: place.dir + "/overlay", Below: base, Size: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, make([]byte, 4<<20)...)
		write(t, d, content, bytes.Repeat([]byte{7}, 2<<20), 3<<20)
		f, err := os.Create(place.dir + "/layer")
		if err != nil {
			t.Fatal(err)
		}
		captured, err := d.Capture(context.Background(), f, nil)
		if err != nil || captured.Blocks != 512 || (captured.Shared == 512) != place.shares {
			t.Errorf("%s: %+v (%v)", place.dir, captured, err)
		}
		f.Close()
		write(t, d, bytes.Clone(content), bytes.Repeat([]byte{8}, 1<<20), 3<<20) // not in the layer
		l := openLayer(t, f.Name(), base)
		requireContent(t, l, content)
		c, way, err := CreateCopy(context.Background(), Options{Path: place.dir + "/copy", Below: base, Size: 8 << 20})
		if err != nil || (way == WayShared) != place.shares {
			t.Errorf("%s: copied by %s (%v)", place.dir, way, err)
		} else {
			requireContent(t, c.file, append(bytes.Clone(content[:3<<20]), append(bytes.Repeat([]byte{1, 2, 3, 4}, 1<<18), make([]byte, 4<<20)...)...))
			c.Close()
		}
		if way, err := Choose(&Kernel{sys: "/nowhere"}, place.dir); way != WayServed || err != nil {
			t.Errorf("%s: %s is chosen (%v)", place.dir, way, err)
		}
		l.Close()
		d.Close()
		base.Close()
		// XFS cannot be unmounted while anything of it is open.
	}
}

// TestLabOtherNamespace names what is wrong where the client does not answer.
func TestLabOtherNamespace(t *testing.T) {
	inLab(t)
	c := exec.Command("unshare", "-n", "/proc/self/exe", "-test.run", "^TestLabInOtherNamespace$", "-test.v")
	c.Args[2], _ = os.Executable()
	c.Env = append(os.Environ(), "SHOAL_TEST_OTHER_NAMESPACE=1")
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("network namespace")) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestLabInOtherNamespace is run by the test above.
func TestLabInOtherNamespace(t *testing.T) {
	if os.Getenv("SHOAL_TEST_OTHER_NAMESPACE") == "" {
		t.Skip("is run by another test")
	}
	var unavailable *UnavailableError
	err := NewKernel().Check()
	if !errors.As(err, &unavailable) {
		t.Fatalf("%v", err)
	}
	t.Log(err)
}
