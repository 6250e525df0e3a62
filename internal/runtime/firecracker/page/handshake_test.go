package page

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connect runs Accept, for so long, with what a client does after it has connected.
func connect(t *testing.T, limit time.Duration, client func(conn *net.UnixConn)) (*Client, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		client(conn)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := Accept(ctx, l, &Memory{pages: 100})
	conn.Close()
	<-done
	return c, err
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

const oneRegion = `[{"base_host_virt_addr":1048576,"size":409600,"offset":0,"page_size":4096,"page_size_kib":4096}]`

// TestAccept: whatever a client sends, it is a client or an error, and no descriptor is left.
func TestAccept(t *testing.T) {
	needsUserfault(t)
	fault, err := newUserfault(userfaultDevice, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(int(fault))
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	send := func(text string, fds ...int) func(*net.UnixConn) {
		return func(conn *net.UnixConn) { _, _, _ = conn.WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil) }
	}
	many := make([]int, 100)
	for i := range many {
		many[i] = int(file.Fd())
	}
	for name, c := range map[string]struct {
		client func(*net.UnixConn)
		says   string // of the error; empty for a client
	}{
		"as Firecracker":  {send(oneRegion, int(fault)), ""},
		"with a memory":   {send(oneRegion, int(fault), int(file.Fd())), ""},
		"another file":    {send(oneRegion, int(file.Fd())), "no userfaultfd"},
		"the other first": {send(oneRegion, int(file.Fd()), int(fault)), "no userfaultfd"},
		"no descriptor":   {func(conn *net.UnixConn) { _, _ = conn.Write([]byte(oneRegion)) }, "no descriptor"},
		"many":            {send(oneRegion, many...), "descriptors"},
		"no regions":      {send("[]", int(fault)), "0 regions"},
		"no list":         {send("{}", int(fault)), "list of regions"},
		"ends":            {func(conn *net.UnixConn) { send(oneRegion[:40], int(fault))(conn); conn.Close() }, "ended after 40"},
		"says nothing":    {func(*net.UnixConn) {}, "deadline"},
		"much": {func(conn *net.UnixConn) {
			send("[", int(fault))(conn)
			_, _ = conn.Write([]byte(strings.Repeat(" ", 2*maxMappings)))
		}, "too much"},
		"in parts": {func(conn *net.UnixConn) {
			send(oneRegion[:1], int(fault))(conn)
			for i := range oneRegion[1:] {
				_, _ = conn.Write([]byte{oneRegion[1+i]})
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := descriptors(t)
			limit := patience()
			if name == "says nothing" {
				limit = 50 * time.Millisecond
			}
			got, err := connect(t, limit, c.client)
			if err == nil {
				if got.regions[0].Bytes != 409600 || got.fault < 0 {
					t.Errorf("%+v", got)
				}
				if err := got.Close(); err != nil {
					t.Error(err)
				}
			}
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors, and %d before", after, before)
			}
		})
	}
}

// TestNobodyConnects: the wait ends with its context.
func TestNobodyConnects(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := Accept(ctx, l, &Memory{pages: 1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRegions(t *testing.T) {
	const g = 1 << 18 // pages of a GiB
	for name, c := range map[string]struct {
		text  string
		pages uint32
		says  string
	}{
		"one":              {oneRegion, 100, ""},
		"before 1.12":      {`[{"base_host_virt_addr":4096,"size":4096,"offset":0,"page_size_kib":4096}]`, 1, ""},
		"before 1.7":       {`[{"base_host_virt_addr":4096,"size":4096,"offset":0}]`, 1, ""},
		"around the gap":   {`[{"base_host_virt_addr":1099511627776,"size":3221225472,"offset":0,"page_size":2097152},{"base_host_virt_addr":549755813888,"size":1073741824,"offset":3221225472,"page_size":2097152}]`, 4 * g, ""},
		"more than has":    {oneRegion, 99, "where the memory has"},
		"the same twice":   {oneRegion[:len(oneRegion)-1] + "," + oneRegion[1:], 100, "overlap"},
		"odd":              {`[{"base_host_virt_addr":4097,"size":4096,"offset":0}]`, 1, "does not consist"},
		"half a huge page": {`[{"base_host_virt_addr":2097152,"size":4096,"offset":0,"page_size":2097152}]`, 1, "does not consist"},
		"other pages":      {`[{"base_host_virt_addr":4096,"size":4096,"offset":0,"page_size":4}]`, 1, "pages of 4 bytes"},
		"beyond":           {`[{"base_host_virt_addr":18446744073709547520,"size":8192,"offset":0}]`, 2, "address space"},
		"negative":         {`[{"base_host_virt_addr":4096,"size":-4096,"offset":0}]`, 1, "list"},
	} {
		t.Run(name, func(t *testing.T) {
			rs, err := parseRegions([]byte(c.text), c.pages)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v %v", rs, err)
			}
		})
	}
}

// FuzzRegions: of regions that are taken, each page has one address and each address at most one
// page, within the memory, whatever the kernel's messages name.
func FuzzRegions(f *testing.F) {
	f.Add([]byte(oneRegion), uint32(100), uint64(1048576+8192), uint64(1048576+40960))
	f.Add([]byte(`[{"base_host_virt_addr":8388608,"size":4194304,"offset":2097152,"page_size":2097152},`+
		`{"base_host_virt_addr":2097152,"size":2097152,"offset":0}]`), uint32(4096), uint64(8400000), ^uint64(0))
	f.Add([]byte{0, 2, 1, 0, 0, 0, 0, 8, 2, 0, 1, 0}, uint32(4096), uint64(5<<20), uint64(9<<20))
	f.Add([]byte{0, 2, 1, 0, 0, 1, 0, 8, 2, 0, 1, 1}, uint32(4096), uint64(1<<20), uint64(99<<20))
	f.Fuzz(func(t *testing.T, text []byte, pages uint32, start, end uint64) {
		pages %= 1 << 16
		if !json.Valid(text) { // six bytes for each region: base, size, offset, page
			var rs []region
			for c := range slices.Chunk(text, 6) {
				if len(c) == 6 {
					unit := uint64([]int{HugeSize, Size}[c[5]&1])
					rs = append(rs, region{Base: uint64(c[0])<<30 + uint64(c[1])*unit, Bytes: uint64(c[2]) * unit,
						Offset: uint64(c[3])<<16 + uint64(c[4])*unit, Page: unit})
				}
			}
			text, _ = json.Marshal(rs)
			start, end = start%(2<<30), end%(2<<30)
		}
		rs, err := parseRegions(text, pages)
		if err != nil {
			return
		}
		s := &Server{c: &Client{regions: rs}, gone: NewSet(pages), unsaved: NewSet(pages), given: NewSet(pages)}
		for _, address := range []uint64{start, end, end - 1} {
			if at, ok := s.faultAt(address); ok {
				r := rs[at.region]
				if at.page >= pages || at.page%r.unit() != 0 || !r.contains(r.address(at.page)) ||
					address-r.address(at.page) >= r.Page {
					t.Fatalf("%#x is page %d of %+v", address, at.page, r)
				}
				if again, ok := s.faultOf(at.page); !ok || again != at {
					t.Fatalf("page %d is %+v", at.page, again)
				}
			}
		}
		s.remove(start, end)
		want := 0
		for _, r := range rs {
			for p := r.first(); p < r.end(); p++ {
				if a := r.address(p); a < end && a+Size > start && start < end {
					want++
				}
			}
		}
		if got := s.gone.Len(); got != want {
			t.Fatalf("%d pages are removed by %#x to %#x, not %d", got, start, end, want)
		}
	})
}
