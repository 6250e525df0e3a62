package page

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The guest of these tests is another process, this binary again: it gives the faults of its
// memory away as Firecracker does, and uses the memory as a plan says. It cannot be this process,
// because a thread that waits for a page holds up Go's others.

const guestEnv = "SHOAL_TEST_GUEST"

func TestMain(m *testing.M) {
	if plan := os.Getenv(guestEnv); plan != "" {
		if err := guestMain(plan); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// plan is what a guest does.
type plan struct {
	Socket  string
	Bytes   int
	Regions int // that the memory is divided into
	Huge    bool
	Forget  bool // to keep a descriptor of its own
	// Expected is a file with what the memory is to have.
	Expected string
	Threads  int
	Ops      int // of each thread
	Seed     uint64
	Writes   bool
	Removes  bool
	// Touch is pages that are read in this order by one thread, instead of Ops; Mapped maps the
	// file Expected instead of being served.
	Touch  []run32
	Mapped bool
	// After gets the memory when all is done, Diff the pages that were written to.
	After, Diff string
}

type run32 struct{ First, Count uint32 }

// guest is the memory of the process.
type guest struct {
	plan
	mem      []byte // as it is served
	expected []byte // as it is to be
	written  *Set
	fault    userfault
}

func guestMain(text string) error {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(64) // threads that wait for pages hold one each
	g := &guest{plan: p, written: NewSet(uint32(p.Bytes / Size))}
	f, err := os.Open(p.Expected)
	if err != nil {
		return err
	}
	if g.expected, err = unix.Mmap(int(f.Fd()), 0, p.Bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE); err != nil {
		return err
	}
	if p.Mapped {
		g.mem = g.expected
	} else if err := g.handOver(); err != nil {
		return err
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		begin := time.Now()
		switch in.Text() {
		case "touch":
			sum := byte(0)
			for _, r := range p.Touch {
				for i := range r.Count {
					sum += g.mem[(r.First+i)*Size]
				}
			}
			fmt.Println("done", time.Since(begin).Nanoseconds(), sum)
		case "use":
			if err := g.use(); err != nil {
				return err
			}
			fmt.Println("done", time.Since(begin).Nanoseconds())
		case "save":
			if err := g.save(); err != nil {
				return err
			}
			fmt.Println("done", time.Since(begin).Nanoseconds())
		}
	}
	return in.Err()
}

// handOver makes the memory and gives its faults away.
func (g *guest) handOver() (err error) {
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
	page := Size
	if g.Huge {
		flags, page = flags|unix.MAP_HUGETLB, HugeSize
	}
	if g.mem, err = unix.Mmap(-1, 0, g.Bytes, unix.PROT_READ|unix.PROT_WRITE, flags); err != nil {
		return fmt.Errorf("the guest's memory: %w", err)
	}
	if g.fault, err = newUserfault(userfaultDevice, 0); err != nil {
		return err
	}
	if _, err := g.fault.begin(featureRemove); err != nil {
		return err
	}
	r := struct{ start, length, mode, ioctls uint64 }{start: uint64(uintptr(unsafe.Pointer(&g.mem[0]))),
		length: uint64(g.Bytes), mode: 1} // of missing pages
	if err := g.fault.ioctl(0xc020aa00, unsafe.Pointer(&r)); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	regions := make([]region, max(1, g.Regions))
	size := uint64(g.Bytes/len(regions)) &^ uint64(page-1)
	for i := range regions {
		regions[i] = region{Base: r.start + uint64(i)*size, Bytes: size, Offset: uint64(i) * size,
			Page: uint64(page), PageKiB: uint64(page)}
	}
	last := &regions[len(regions)-1]
	last.Bytes = uint64(g.Bytes) - last.Offset
	message, err := json.Marshal(regions)
	if err != nil {
		return err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: g.Socket, Net: "unix"})
	if err != nil {
		return err
	}
	if _, _, err = conn.WriteMsgUnix(message, unix.UnixRights(int(g.fault)), nil); err != nil {
		return err
	}
	if g.Forget { // once the server has it
		_, _ = conn.Read(make([]byte, 1))
		unix.Close(int(g.fault))
	}
	return nil
}

// block is how many pages a thread of `use` has for itself at a place: so what faults bring
// besides lies next to pages that another thread changes.
const block = 16

// use has threads read, write and give back pages at random.
func (g *guest) use() error {
	errs := make(chan error, g.Threads)
	var all sync.WaitGroup
	for t := range g.Threads {
		all.Go(func() {
			runtime.LockOSThread()
			errs <- g.useAs(t)
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *guest) useAs(thread int) error {
	r := rand.New(rand.NewPCG(g.Seed, uint64(thread)))
	blocks := g.Bytes / Size / block / g.Threads
	for range g.Ops {
		first := (r.IntN(blocks)*g.Threads + thread) * block
		page := first + r.IntN(block)
		mine, want := g.mem[page*Size:][:Size], g.expected[page*Size:][:Size]
		switch op := r.IntN(8); {
		case op == 0 && g.Removes:
			n := (1 + r.IntN(first+block-page)) * Size
			at := page * Size
			if g.Huge {
				at &^= HugeSize - 1
				n = HugeSize
				if g.Threads > 1 {
					continue
				}
			}
			if err := unix.Madvise(g.mem[at:][:n], unix.MADV_DONTNEED); err != nil {
				return fmt.Errorf("give pages back: %w", err)
			}
			clear(g.expected[at:][:n])
		case op < 3 && g.Writes:
			at := r.IntN(Size)
			mine[at]++
			want[at]++
			g.written.Add(uint32(page), 1)
		default:
			if !bytes.Equal(mine, want) {
				return fmt.Errorf("thread %d: page %d is another", thread, page)
			}
		}
	}
	return nil
}

// save compares all, and writes the memory and the pages that were written to, as a snapshot does:
// by write(2) from the memory itself.
func (g *guest) save() error {
	if !bytes.Equal(g.mem, g.expected) {
		for i := range g.Bytes / Size {
			if !bytes.Equal(g.mem[i*Size:][:Size], g.expected[i*Size:][:Size]) {
				return fmt.Errorf("at the end: page %d is another", i)
			}
		}
	}
	for path, all := range map[string]bool{g.After: true, g.Diff: false} {
		if path == "" {
			continue
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := f.Truncate(int64(g.Bytes)); err != nil {
			return err
		}
		for i := range g.Bytes / Size {
			if all || g.written.Has(uint32(i)) {
				if _, err := f.WriteAt(g.mem[i*Size:][:Size], int64(i*Size)); err != nil {
					return err
				}
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// needsUserfault skips a test where the kernel or the user's rights do not allow it.
func needsUserfault(t testing.TB) {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err)
	}
}
