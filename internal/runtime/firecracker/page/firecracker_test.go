package page

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
)

// TestLabFirecracker runs a real microVM over generations of snapshots, and compares the chain
// with a full snapshot that Firecracker writes of the same paused guest. FIRECRACKER_BIN is its
// path. SHOAL_TEST_MICROVM is a directory with a kernel (guest.vmlinux), an initial file system
// (guest.initrd) and a disk (guest.ext4), whose first program gives a shell on the console with
// the argument labmode=shell.
func TestLabFirecracker(t *testing.T) {
	tmp := t.TempDir()
	vm := bootMicroVM(t, tmp)
	dir := filepath.Join(tmp, "0")
	vm.snapshot(dir, "", nil)
	vm.end()

	var set *WorkingSet
	given := 0
	for generation := 1; generation <= 3; generation++ {
		vm = startMicroVM(t, tmp)
		m := open(t, dir)
		socket := filepath.Join(vm.dir, "pages.sock")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience())
		server := make(chan *Server, 1)
		ran := make(chan error, 1)
		go func() { ran <- serveOne(ctx, l, m, set, server) }()
		begin := time.Now()
		vm.put("/snapshot/load", `{"snapshot_path":%q,"mem_backend":{"backend_type":"Uffd","backend_path":%q},"track_dirty_pages":true,"resume_vm":false}`,
			filepath.Join(dir, "state"), socket)
		vm.patch("/vm", `{"state":"Resumed"}`)
		vm.asks("echo back-$((1+1))", "back-2")
		answered := time.Since(begin)
		s := <-server
		recorded := s.Recorded()
		at := s.Stats()
		if generation == 1 {
			// What it freed before the snapshot, it reports within two seconds, and does not use again.
			vm.asks("sleep 4; echo slept-$((1+1))", "slept-2")
		} else {
			vm.churn(generation)
			before := s.Stats().Removed
			vm.patch("/balloon", `{"amount_mib":48}`)
			eventually(t, "the balloon grows", func() bool { return s.Stats().Removed >= before+8<<20/Size })
			vm.patch("/balloon", `{"amount_mib":0}`)
			vm.churn(generation)
		}
		next := filepath.Join(tmp, fmt.Sprint(generation))
		given += vm.snapshot(next, dir, s).Given
		t.Logf("generation %d: answered after %v, %+v; at the end %+v; prefetched set: %v",
			generation, answered, at, s.Stats(), set != nil)
		vm.end()
		if err := <-ran; err != nil {
			t.Errorf("the server: %v", err)
		}
		cancel()
		l.Close()
		dir = next
		if set == nil {
			set = recorded
			t.Logf("recorded %d pages in %d runs", set.Pages(), len(set.runs))
		}
	}
	if given == 0 {
		t.Error("the guest gave back no page that it had not written to")
	}
}

// bootMicroVM boots a guest that has used its memory.
func bootMicroVM(t *testing.T, tmp string) *microVM {
	t.Helper()
	parts := os.Getenv("SHOAL_TEST_MICROVM")
	if os.Getenv("FIRECRACKER_BIN") == "" || parts == "" {
		t.Skip("FIRECRACKER_BIN and SHOAL_TEST_MICROVM do not name a Firecracker and a guest")
	}
	disk := filepath.Join(tmp, "disk")
	if err := copyLayer(filepath.Join(parts, "guest.ext4"), disk, atomicfile.Volatile); err != nil {
		t.Fatal(err)
	}
	vm := startMicroVM(t, tmp)
	vm.put("/boot-source", `{"kernel_image_path":%q,"initrd_path":%q,"boot_args":"console=ttyS0 reboot=k panic=-1 quiet labmode=shell"}`,
		filepath.Join(parts, "guest.vmlinux"), filepath.Join(parts, "guest.initrd"))
	vm.put("/drives/rootfs", `{"drive_id":"rootfs","path_on_host":%q,"is_root_device":true,"is_read_only":false}`, disk)
	vm.put("/machine-config", `{"vcpu_count":1,"mem_size_mib":192,"track_dirty_pages":true}`)
	vm.put("/balloon", `{"amount_mib":0,"deflate_on_oom":true,"free_page_reporting":true}`)
	vm.put("/actions", `{"action_type":"InstanceStart"}`)
	vm.says("GUEST-UP")
	vm.churn(0)
	return vm
}

// TestLabRestores measures how long a guest takes to answer, from the call that loads it: with
// Firecracker's own mapping of the file, a server that is as simple as can be, and this one.
func TestLabRestores(t *testing.T) {
	tmp := t.TempDir()
	vm := bootMicroVM(t, tmp)
	dir, state := filepath.Join(tmp, "memory"), filepath.Join(tmp, "state")
	vm.patch("/vm", `{"state":"Paused"}`)
	vm.put("/snapshot/create", `{"snapshot_type":"Full","snapshot_path":%q,"mem_file_path":%q}`, state, filepath.Join(tmp, "whole"))
	vm.end()
	keep(t, dir, Dump{File: filepath.Join(tmp, "whole"), Move: true})
	m := open(t, dir)
	whole, ok := m.File()
	if !ok {
		t.Fatal("Firecracker cannot map the memory itself")
	}
	var set *WorkingSet
	ways := []string{"file", "simple", "served", "recorded"}
	took := map[string][]time.Duration{}
	var faults [2]int64
	for range 7 {
		for _, way := range ways {
			vm := startMicroVM(t, tmp)
			socket, backend := filepath.Join(vm.dir, "pages.sock"), "Uffd"
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience())
			ran, made := make(chan error, 1), make(chan *Server, 1)
			with := map[bool]*WorkingSet{true: set}[way == "recorded"]
			switch way {
			case "file":
				socket, backend = whole, "File"
				ran <- nil
			case "simple":
				go func() { ran <- serveSimply(ctx, l, m, whole) }()
			default:
				go func() { ran <- serveOne(ctx, l, m, with, made) }()
			}
			begin := time.Now()
			vm.put("/snapshot/load", `{"snapshot_path":%q,"mem_backend":{"backend_type":%q,"backend_path":%q},"track_dirty_pages":true,"resume_vm":true}`,
				state, backend, socket)
			vm.asks("echo back-$((1+1))", "back-2")
			took[way] = append(took[way], time.Since(begin))
			switch way {
			case "served":
				s := <-made
				faults[0] = s.Stats().Faults
				if recorded := s.Recorded(); set == nil {
					set = recorded
				}
			case "recorded":
				faults[1] = (<-made).Stats().Faults
			}
			vm.end()
			if err := <-ran; err != nil {
				t.Errorf("%s: %v", way, err)
			}
			cancel()
			l.Close()
		}
	}
	for _, way := range ways {
		all := took[way]
		slices.Sort(all)
		t.Logf("%-8s %v, from %v to %v", way, all[len(all)/2].Round(time.Millisecond),
			all[0].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
	}
	t.Logf("faults: %d, with the record %d", faults[0], faults[1])
}

// serveSimply maps a memory file and gives single pages of it.
func serveSimply(ctx context.Context, l *net.UnixListener, m *Memory, file string) error {
	c, err := Accept(ctx, l, m)
	if err != nil {
		return err
	}
	defer c.Close()
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := unix.Mmap(int(f.Fd()), 0, int(m.Bytes()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(data) }()
	s := &Server{c: c, gone: NewSet(m.pages), unsaved: NewSet(m.pages), given: NewSet(m.pages), kick: -1}
	for {
		if err := s.wait(false); err != nil {
			return nil // the guest has ended
		}
		var faults []fault
		if _, err := s.readMessages(&faults); err != nil {
			return err
		}
		for _, f := range faults {
			r := c.regions[f.region]
			if _, err := c.fault.copy(r.address(f.page), data[f.page*Size:][:Size]); err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
	}
}

// serveOne serves the next Firecracker that connects.
func serveOne(ctx context.Context, l *net.UnixListener, m *Memory, set *WorkingSet, made chan<- *Server) error {
	c, err := Accept(ctx, l, m)
	if err != nil {
		return err
	}
	defer c.Close()
	s := NewServer(m, c, Options{WorkingSet: set})
	made <- s
	return s.Run(ctx)
}

// microVM is a Firecracker with its console.
type microVM struct {
	t       *testing.T
	dir     string
	cmd     *exec.Cmd
	in      io.Writer
	console *bufio.Reader
	log     bytes.Buffer
	api     *http.Client
}

func startMicroVM(t *testing.T, tmp string) *microVM {
	t.Helper()
	dir, err := os.MkdirTemp(tmp, "vm")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "api.sock")
	vm := &microVM{t: t, dir: dir, cmd: exec.Command(os.Getenv("FIRECRACKER_BIN"), "--api-sock", socket, "--id", "test")}
	if vm.in, err = vm.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := vm.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	vm.console = bufio.NewReader(io.TeeReader(out, &vm.log))
	if err := vm.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.end)
	vm.api = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	eventually(t, "Firecracker serves", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	return vm
}

func (vm *microVM) end() {
	_ = vm.cmd.Process.Kill()
	_ = vm.cmd.Wait()
}

func (vm *microVM) put(path, body string, args ...any) { vm.call(http.MethodPut, path, body, args...) }

func (vm *microVM) patch(path, body string, args ...any) {
	vm.call(http.MethodPatch, path, body, args...)
}

func (vm *microVM) call(method, path, body string, args ...any) {
	vm.t.Helper()
	req, err := http.NewRequest(method, "http://firecracker"+path, strings.NewReader(fmt.Sprintf(body, args...)))
	if err != nil {
		vm.t.Fatal(err)
	}
	resp, err := vm.api.Do(req)
	if err != nil {
		vm.t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 {
		vm.t.Fatalf("%s: %s", path, answer)
	}
}

// says waits for a text on the console.
func (vm *microVM) says(text string) {
	vm.t.Helper()
	for {
		line, err := vm.console.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			vm.t.Fatalf("the guest did not say %q: %v: %s", text, err, &vm.log)
		}
	}
}

// asks has the guest's shell do something, and waits for its answer.
func (vm *microVM) asks(command, answer string) {
	vm.t.Helper()
	if _, err := io.WriteString(vm.in, command+"\n"); err != nil {
		vm.t.Fatal(err)
	}
	vm.says(answer)
}

// churn has the guest use memory, give some of it free, and keep some.
func (vm *microVM) churn(generation int) {
	vm.t.Helper()
	vm.asks(fmt.Sprintf("head -c 2000000 /dev/urandom >/tmp/k%d; head -c 9000000 /dev/zero >/tmp/z; for i in 1 2 3 4 5 6 7 8; do cp /tmp/k%[1]d /tmp/a$i; done; rm /tmp/a*; "+
		"echo churned-$((%[1]d+1))", generation),
		fmt.Sprintf("churned-%d", generation+1))
}

// snapshot pauses the guest and keeps its memory in a directory, by what changed since its parent,
// and compares that with all of its memory.
func (vm *microVM) snapshot(dir, parent string, s *Server) Kept {
	vm.t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		vm.t.Fatal(err)
	}
	vm.patch("/vm", `{"state":"Paused"}`)
	diff, full := filepath.Join(vm.dir, "diff"), filepath.Join(vm.dir, "full")
	begin := time.Now()
	vm.put("/snapshot/create", `{"snapshot_type":"Diff","snapshot_path":%q,"mem_file_path":%q}`, filepath.Join(dir, "state"), diff)
	wrote := time.Since(begin)
	d := Dump{File: diff, Parent: parent, Move: true}
	if s != nil {
		d.Removed = s.Removed()
	}
	begin = time.Now()
	kept, err := Keep(context.Background(), dir, d)
	if err != nil {
		vm.t.Fatal(err)
	}
	vm.t.Logf("Firecracker wrote for %v, Keep took %v: %+v", wrote, time.Since(begin), kept)
	vm.put("/snapshot/create", `{"snapshot_type":"Full","snapshot_path":%q,"mem_file_path":%q}`, filepath.Join(vm.dir, "state"), full)
	vm.compare(dir, full)
	return kept
}

// compare fails unless a memory has what a file has.
func (vm *microVM) compare(dir, file string) {
	vm.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		vm.t.Fatal(err)
	}
	defer f.Close()
	m := open(vm.t, dir)
	have, want := make([]byte, chunk*Size), make([]byte, chunk*Size)
	differ := 0
	for page := uint32(0); page < m.pages; page += chunk {
		n := min(chunk, m.pages-page) * Size
		if _, err := f.ReadAt(want[:n], int64(page)*Size); err != nil {
			vm.t.Fatal(err)
		}
		if err := m.readPages(have[:n], page); err != nil {
			vm.t.Fatal(err)
		}
		for i := uint32(0); i < n; i += Size {
			if !bytes.Equal(have[i:][:Size], want[i:][:Size]) {
				if differ++; differ < 10 {
					vm.t.Errorf("page %d is another: zero here %v, zero there %v", page+i/Size,
						bytes.Equal(have[i:][:Size], zeroPages[:Size]), bytes.Equal(want[i:][:Size], zeroPages[:Size]))
				}
			}
		}
	}
	if differ > 0 {
		vm.t.Errorf("%d pages differ", differ)
	}
}
