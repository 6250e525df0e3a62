package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// served is a guest whose memory is served.
type served struct {
	t      testing.TB
	m      *Memory
	client *Client
	server *Server
	ran    chan error // the server's end
	stop   context.CancelFunc
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Scanner
	stderr bytes.Buffer
}

// start starts a guest with the memory in a directory.
func start(t testing.TB, dir string, p plan, o Options) *served {
	t.Helper()
	s := &served{t: t, m: open(t, dir), ran: make(chan error, 1)}
	p.Socket, p.Bytes = filepath.Join(t.TempDir(), "pages.sock"), int(s.m.Bytes())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.spawn(p)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	within, cancel := context.WithTimeout(ctx, patience())
	defer cancel()
	if s.client, err = Accept(within, l, s.m); err != nil {
		t.Fatalf("%v: %s", err, &s.stderr)
	}
	s.server = NewServer(s.m, s.client, o)
	if p.Forget {
		_, _ = s.client.conn.Write([]byte{1})
	}
	go func() { s.ran <- s.server.Run(ctx) }()
	s.line("ready")
	return s
}

// spawn starts the guest's process; the test's end ends it, and then the server.
func (s *served) spawn(p plan) {
	s.t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command("/proc/self/exe")
	s.cmd.Env = append(os.Environ(), guestEnv+"="+string(text))
	s.cmd.Stderr = &s.stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.out = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		if s.server != nil {
			if err := <-s.ran; err != nil {
				s.t.Errorf("the server: %v", err)
			}
			s.stop()
			s.client.Close()
		}
	})
}

// line waits for a line of the guest's that begins with a word, and returns the rest.
func (s *served) line(word string) string {
	s.t.Helper()
	if !s.out.Scan() {
		_ = s.cmd.Wait()
		s.t.Fatalf("the guest has ended: %s", &s.stderr)
	}
	first, rest, _ := strings.Cut(s.out.Text(), " ")
	if first != word {
		s.t.Fatalf("the guest says %q", s.out.Text())
	}
	return rest
}

// do has the guest do something, and returns how long that took it.
func (s *served) do(what string) time.Duration {
	s.t.Helper()
	s.begin(what)
	ns, _, _ := strings.Cut(s.line("done"), " ")
	n, err := strconv.ParseInt(ns, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return time.Duration(n)
}

func (s *served) begin(what string) {
	if _, err := io.WriteString(s.in, what+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// mixed is a memory of zeros, pages of data alone, and runs of them.
func mixed(r *rand.Rand, pages int) image {
	m := newImage(pages)
	for i := 0; i < pages; {
		n := min(1+r.IntN(100), pages-i)
		if r.IntN(3) > 0 {
			for j := range n {
				m.fill(r, i+j)
			}
		}
		i += n
	}
	return m
}

func (m image) file(t testing.TB) string {
	return m.dump(t, filepath.Join(t.TempDir(), "expected"), nil)
}

// TestGuest: threads read, write and give back memory at random and find what is to be there, over
// generations of snapshots, with all that a guest gave back and did not write to.
func TestGuest(t *testing.T) {
	needsUserfault(t)
	for _, seed := range []uint64{1, 2} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r, tmp := rand.New(rand.NewPCG(seed, 0)), t.TempDir()
			m := mixed(r, 2048)
			dir := filepath.Join(tmp, "0")
			keep(t, dir, Dump{File: m.file(t)})
			var set *WorkingSet
			var total Stats
			for generation := range MaxLayers + 2 {
				p := plan{Expected: m.file(t), Regions: 1 + generation%3, Threads: 8, Ops: 400, Writes: true, Removes: true,
					Seed: seed*100 + uint64(generation), After: filepath.Join(tmp, "after"), Diff: filepath.Join(tmp, "diff")}
				s := start(t, dir, p, Options{WorkingSet: set})
				s.do("use")
				s.do("save")
				removed := s.server.Removed()
				after, err := os.ReadFile(p.After)
				if err != nil {
					t.Fatal(err)
				}
				next := filepath.Join(tmp, strconv.Itoa(generation+1))
				keep(t, next, Dump{File: p.Diff, Parent: dir, Removed: removed, Move: generation%2 == 0})
				image(after).is(t, next)
				s.server.Forget(removed)
				if n := s.server.Removed().Len(); n != 0 {
					t.Errorf("%d pages are still removed", n)
				}
				if recorded := s.server.Recorded(); (recorded == nil) != (set != nil) {
					t.Errorf("recorded: %v", recorded)
				} else if recorded != nil {
					set = recorded
				}
				dir, m = next, after
				st := s.server.Stats()
				total.Faults, total.Removed, total.Retried = total.Faults+st.Faults, total.Removed+st.Removed, total.Retried+st.Retried
				total.Prefetched += st.Prefetched
				_ = s.cmd.Process.Kill()
			}
			if total.Faults == 0 || total.Removed == 0 || total.Prefetched == 0 {
				t.Errorf("%+v", total)
			}
			t.Logf("%+v", total)
		})
	}
}

// TestGuestReads: threads that read the same pages at once all get them.
func TestGuestReads(t *testing.T) {
	needsUserfault(t)
	r := rand.New(rand.NewPCG(4, 0))
	m := mixed(r, 4096)
	dir := filepath.Join(t.TempDir(), "m")
	keep(t, dir, Dump{File: m.file(t)})
	s := start(t, dir, plan{Expected: m.file(t), Threads: 32, Ops: 500, Seed: 9}, Options{})
	s.do("use")
	s.do("save")
	if st := s.server.Stats(); st.Copied == 0 || st.Zeroed == 0 {
		t.Errorf("%+v", st)
	}
}

// dropCache has the pages of a memory's files leave the host's cache.
func dropCache(t *testing.T, m *Memory) {
	t.Helper()
	for _, l := range m.layers {
		if err := l.file.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := fadviseDontNeed(l.file); err != nil {
			t.Fatal(err)
		}
	}
}

// TestColdGuest: pages that must come from the disk do, too.
func TestColdGuest(t *testing.T) {
	needsUserfault(t)
	r := rand.New(rand.NewPCG(5, 0))
	m := mixed(r, 4096)
	dir := filepath.Join(t.TempDir(), "m")
	keep(t, dir, Dump{File: m.file(t)})
	dropCache(t, open(t, dir))
	s := start(t, dir, plan{Expected: m.file(t), Threads: 8, Ops: 500, Seed: 9, Removes: true, Writes: true}, Options{})
	s.do("use")
	s.do("save")
	if st := s.server.Stats(); st.Waited == 0 && !s.m.layers[0].memory {
		t.Errorf("no fault waited for the disk: %+v", st)
	}
}

// TestLabHugeGuest: the same with huge pages, if there are any. The lab's machine reserves some.
func TestLabHugeGuest(t *testing.T) {
	needsUserfault(t)
	const huge = 16
	if os.Getenv("SHOAL_TEST_LAB") != "" {
		if err := os.WriteFile("/proc/sys/vm/nr_hugepages", []byte("32"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if free := hugePages(t); free < huge {
		t.Skipf("%d huge pages are free, of %d that the test needs", free, huge)
	}
	r, tmp := rand.New(rand.NewPCG(6, 0)), t.TempDir()
	m := mixed(r, huge*HugeSize/Size)
	one, two := filepath.Join(tmp, "1"), filepath.Join(tmp, "2")
	keep(t, one, Dump{File: m.file(t), Backing: HugeSize})
	p := plan{Expected: m.file(t), Huge: true, Threads: 4, Ops: 400, Writes: true, Seed: 1,
		After: filepath.Join(tmp, "after"), Diff: filepath.Join(tmp, "diff")}
	s := start(t, one, p, Options{})
	s.do("use")
	s.do("save")
	keep(t, two, Dump{File: p.Diff, Parent: one, Backing: HugeSize, Removed: s.server.Removed()})
	set := s.server.Recorded()
	if st := s.server.Stats(); st.Faults > 4*huge || st.Copied != int64(len(m)/Size) {
		t.Errorf("%+v", st)
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	after, err := os.ReadFile(p.After)
	if err != nil {
		t.Fatal(err)
	}
	p.Expected, p.Threads, p.Removes = image(after).file(t), 1, true
	s = start(t, two, p, Options{WorkingSet: set})
	if s.m.Backing() != HugeSize {
		t.Errorf("backed by pages of %d bytes", s.m.Backing())
	}
	s.do("use")
	s.do("save")
	three := filepath.Join(tmp, "3")
	keep(t, three, Dump{File: p.Diff, Parent: two, Backing: HugeSize, Removed: s.server.Removed()})
	if after, err = os.ReadFile(p.After); err != nil {
		t.Fatal(err)
	}
	image(after).is(t, three)
	t.Logf("%+v", s.server.Stats())
}

// TestNoHugePages: what is missing is said, with what mends it.
func TestNoHugePages(t *testing.T) {
	s := &Server{}
	err := s.explain(errNoMemory, region{Page: HugeSize})
	if err == nil || !strings.Contains(err.Error(), "vm.nr_hugepages") {
		t.Error(err)
	}
}

// TestWorkingSet: what was recorded is there before it is asked for.
func TestWorkingSet(t *testing.T) {
	needsUserfault(t)
	r := rand.New(rand.NewPCG(7, 0))
	m := mixed(r, 16384)
	dir := filepath.Join(t.TempDir(), "m")
	keep(t, dir, Dump{File: m.file(t)})
	var touch []run32
	for range 300 {
		touch = append(touch, run32{r.Uint32N(16384 - 40), 1 + r.Uint32N(30)})
	}
	s := start(t, dir, plan{Expected: m.file(t), Touch: touch}, Options{})
	s.do("touch")
	first := s.server.Stats()
	if err := SaveWorkingSet(dir, s.server.Recorded()); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Process.Kill()
	set, err := LoadWorkingSet(dir, s.m)
	if err != nil || set == nil {
		t.Fatal(set, err)
	}
	s = start(t, dir, plan{Expected: m.file(t), Touch: touch}, Options{WorkingSet: set})
	eventually(t, "all of the set is prefetched", func() bool {
		st := s.server.Stats()
		return int(st.Copied+st.Zeroed) >= set.Pages()
	})
	s.do("touch")
	second := s.server.Stats()
	if second.Faults > first.Faults/20 {
		t.Errorf("%d faults, and %d with the set", first.Faults, second.Faults)
	}
	s.do("save")
	t.Logf("%+v, then %+v", first, second)
	// A set that is damaged is none, and makes room for another.
	path := filepath.Join(dir, workingSetFile)
	if err := os.Truncate(path, 30); err != nil {
		t.Fatal(err)
	}
	if set, err := LoadWorkingSet(dir, s.m); set != nil || err != nil {
		t.Error(set, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestDamagedPage: a guest that needs a page which is damaged gets no other bytes: it waits, the
// server ends with the reason.
func TestDamagedPage(t *testing.T) {
	needsUserfault(t)
	for name, damage := range map[string]func(path string) error{
		"a page": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte{1, 2, 3}, 500*Size+100)
			return err
		},
		"cut short": func(path string) error { return os.Truncate(path, 400*Size) },
	} {
		for _, cold := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cold %v", name, cold), func(t *testing.T) {
				r := rand.New(rand.NewPCG(8, 0))
				m := newImage(1000)
				for i := range 1000 {
					m.fill(r, i)
				}
				dir := filepath.Join(t.TempDir(), "m")
				keep(t, dir, Dump{File: m.file(t)})
				s := start(t, dir, plan{Expected: m.file(t), Touch: []run32{{500, 1}}}, Options{})
				if err := damage(s.m.layers[0].path); err != nil {
					t.Fatal(err)
				}
				if cold {
					dropCache(t, s.m)
				}
				s.begin("touch")
				err := <-s.ran
				s.ran <- nil // for the end of the test
				if !shoal.ErrSnapshotDamaged.Matches(err) {
					t.Fatal(err)
				}
				s.waitsForPage()
			})
		}
	}
}

// TestDamageNotNeeded: a page that is damaged, and that the guest was only expected to need, is
// nothing to it.
func TestDamageNotNeeded(t *testing.T) {
	needsUserfault(t)
	r := rand.New(rand.NewPCG(8, 1))
	m := newImage(1000)
	for i := range 1000 {
		m.fill(r, i)
	}
	dir := filepath.Join(t.TempDir(), "m")
	keep(t, dir, Dump{File: m.file(t)})
	f, err := os.OpenFile(open(t, dir).layers[0].path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1, 2, 3}, 500*Size); err != nil {
		t.Fatal(err)
	}
	set := &WorkingSet{pages: 1000, runs: []run{{first: 480, count: 100}}}
	s := start(t, dir, plan{Expected: m.file(t), Touch: []run32{{0, 400}, {600, 400}}}, Options{WorkingSet: set})
	eventually(t, "some is prefetched", func() bool { return s.server.Stats().Prefetched > 0 })
	s.do("touch")
}

// waitsForPage fails unless a thread of the guest comes to wait for a page.
func (s *served) waitsForPage() {
	s.t.Helper()
	eventually(s.t, "the guest waits", func() bool {
		waits, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", s.cmd.Process.Pid))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, w := range waits {
			if b, _ := os.ReadFile(w); string(b) == "handle_userfault" {
				return true
			}
		}
		return false
	})
}

// TestServerEnds: a guest whose server ends stands still, and never reads zeros.
func TestServerEnds(t *testing.T) {
	needsUserfault(t)
	m := newImage(1000)
	m.fill(rand.New(rand.NewPCG(9, 0)), 500)
	dir := filepath.Join(t.TempDir(), "m")
	keep(t, dir, Dump{File: m.file(t)})
	s := start(t, dir, plan{Expected: m.file(t), Touch: []run32{{500, 1}}}, Options{})
	s.stop()
	if err := <-s.ran; err != nil {
		t.Fatal(err)
	}
	s.ran <- nil
	s.client.Close()
	s.begin("touch")
	s.waitsForPage()
}

// TestGuestEnds: the server ends with its guest.
func TestGuestEnds(t *testing.T) {
	needsUserfault(t)
	m := newImage(1000)
	dir := filepath.Join(t.TempDir(), "m")
	keep(t, dir, Dump{File: m.file(t)})
	for _, forget := range []bool{false, true} {
		s := start(t, dir, plan{Expected: m.file(t), Forget: forget, Threads: 1, Ops: 10}, Options{})
		s.do("use")
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		err := <-s.ran
		s.ran <- err
	}
}

// patience is when what does not happen is taken not to happen. The lab's machine is emulated.
func patience() time.Duration {
	if os.Getenv("SHOAL_TEST_LAB") != "" {
		return 20 * time.Minute
	}
	return time.Minute
}

func eventually(t testing.TB, what string, probe func() bool) {
	t.Helper()
	for end := time.Now().Add(patience()); !probe(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not happen: " + what)
		}
	}
}

func hugePages(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
