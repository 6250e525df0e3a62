package block

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// listen serves clients of a device at a socket until the test ends, and returns how to connect.
func listen(t *testing.T, device Device) func() net.Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(device, "disk", nil)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { _ = s.ServeClient(ctx, conn) })
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); all.Wait() })
	return func() net.Conn {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

// TestClients has several clients of one disk ask much at once, each in a part of its own, and compares.
func TestClients(t *testing.T) {
	d, content, o := newTestDisk(t, testSize, 0)
	dial := listen(t, d)
	var all sync.WaitGroup
	const clients = 4
	part := int64(testSize / clients)
	for n := range int64(clients) {
		c := newClient(t, dial(), []string{"", "disk"}[n%2])
		if c.size != testSize {
			t.Fatalf("the disk has %d bytes", c.size)
		}
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 11))
			mine := content[n*part : (n+1)*part]
			for range 20 {
				var asked []chan error
				// As many requests at once as there are places of half a MiB, each in one.
				for place := int64(0); place < part; place += 512 << 10 {
					off := place + random.Int64N(128<<10)
					length := random.Int64N(64<<10) + 1
					p := mine[off : off+length]
					r := request{offset: uint64(n*part + off), length: uint32(length)}
					switch random.IntN(6) {
					case 0:
						r.command, r.flags = commandZeroes, uint16(random.IntN(4))
						clear(p)
						asked = append(asked, c.ask(r, nil, nil))
					case 1:
						r.offset, r.length, r.command = uint64(n*part+place), 128<<10, commandTrim
						clear(mine[place : place+128<<10])
						asked = append(asked, c.ask(r, nil, nil))
					default:
						fill(p, random)
						r.command, r.flags = commandWrite, uint16(random.IntN(2))
						asked = append(asked, c.ask(r, bytes.Clone(p), nil))
					}
				}
				for _, a := range asked {
					if err := <-a; err != nil {
						t.Error(err)
					}
				}
				off := random.Int64N(part - 1)
				p := make([]byte, min(random.Int64N(1<<20)+1, part-off))
				if err := c.read(p, n*part+off); err != nil || !bytes.Equal(p, mine[off:off+int64(len(p))]) {
					t.Errorf("client %d reads something else at %d (%v)", n, off, err)
				}
			}
			if err := c.command(commandFlush, 0, 0, 0); err != nil {
				t.Error(err)
			}
			if err := c.end(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	requireContent(t, d, content)
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

func TestHandshake(t *testing.T) {
	d, _, _ := newTestDisk(t, 1<<20, 0)
	dial := listen(t, d)

	conn := dial()
	greet(t, conn, helloFixed|helloNoZeroes)
	infos, last, err := sendOption(conn, optionList, nil)
	if err != nil || last != answerAck || len(infos) != 1 || string(infos[0][4:]) != "disk" {
		t.Errorf("LIST is answered with %q, %d (%v)", infos, last, err)
	}
	for _, tried := range []struct {
		option uint32
		data   []byte
		want   uint32
	}{
		{optionList, []byte{1}, answerInvalid},
		{optionGo, goData("other"), answerUnknown},
		{optionGo, []byte{0, 0, 0}, answerInvalid},
		{optionGo, []byte{0xff, 0xff, 0xff, 0xff, 0, 0}, answerInvalid},
		{optionGo, append(goData("disk", 3), 0), answerInvalid},
		{optionInfo, goData("disk", 0, 1, 2, 3, 77), answerAck},
		{5, nil, answerUnsup},   // STARTTLS
		{8, nil, answerUnsup},   // structured replies
		{999, nil, answerUnsup}, // what nobody knows
		{optionGo, goData("disk"), answerAck},
	} {
		if _, last, err := sendOption(conn, tried.option, tried.data); err != nil || last != tried.want {
			t.Errorf("option %d with %x is answered with %#x (%v), not %#x", tried.option, tried.data, last, err, tried.want)
		}
	}
	c := &client{conn: conn}
	c.start()
	if err := c.read(make([]byte, 100), 5); err != nil {
		t.Errorf("a read after all that: %v", err)
	}

	// The way of old clients, with the zeros that they wait for.
	conn = dial()
	greet(t, conn, helloFixed)
	old := binary.BigEndian.AppendUint64(nil, optionMagic)
	old = binary.BigEndian.AppendUint32(old, optionExport)
	old = append(binary.BigEndian.AppendUint32(old, 4), "disk"...)
	if _, err := conn.Write(old); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8+2+124)
	if _, err := io.ReadFull(conn, p); err != nil || binary.BigEndian.Uint64(p) != 1<<20 {
		t.Errorf("an old client has %x (%v)", p, err)
	}

	for name, bytes := range map[string][]byte{
		"flags that do not exist": {0xff, 0, 0, 3},
		"no fixed handshake":      {0, 0, 0, 2},
		"a long option":           append([]byte{0, 0, 0, 3}, append(binary.BigEndian.AppendUint64(nil, optionMagic), 0, 0, 0, 7, 0xff, 0, 0, 0)...),
		"no option":               append([]byte{0, 0, 0, 3}, make([]byte, 16)...),
		"an abortion":             append([]byte{0, 0, 0, 3}, append(binary.BigEndian.AppendUint64(nil, optionMagic), 0, 0, 0, 2, 0, 0, 0, 0)...),
	} {
		conn := dial()
		if _, err := conn.Write(bytes); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, io.EOF) { // ends, or is reset
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%s: the server still waits", name)
			}
		}
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	d, content, _ := newTestDisk(t, 1<<20, 0)
	c := newClient(t, listen(t, d)(), "disk")
	for _, tried := range []struct {
		name string
		r    request
		out  int
		want wireError
	}{
		{"a read beyond the end", request{command: commandRead, offset: 1<<20 - 1, length: 2}, 0, wireInvalid},
		{"an offset that overflows", request{command: commandRead, offset: 1<<64 - 2, length: 4}, 0, wireInvalid},
		{"a long read", request{command: commandRead, length: maxPayload + 1}, 0, wireOverflow},
		{"a write beyond the end", request{command: commandWrite, offset: 1<<20 - 1, length: 2}, 2, wireNoSpace},
		{"a write with a flag that does not exist", request{command: commandWrite, flags: 1 << 9, length: 9}, 9, wireInvalid},
		{"zeros beyond the end", request{command: commandZeroes, length: 2 << 20}, 0, wireNoSpace},
		{"a discard beyond the end", request{command: commandTrim, length: 2 << 20}, 0, wireInvalid},
		{"a flush with a range", request{command: commandFlush, length: 1}, 0, wireInvalid},
		{"a command that does not exist", request{command: 7}, 0, wireInvalid},
	} {
		if err := <-c.ask(tried.r, make([]byte, tried.out), nil); err != error(tried.want) { //nolint:errorlint // the very value
			t.Errorf("%s: %v, not %v", tried.name, err, tried.want)
		}
	}
	// The connection goes on, and nothing has changed.
	have := make([]byte, 1<<20)
	if err := c.read(have, 0); err != nil || !bytes.Equal(have, content) {
		t.Errorf("after what was refused: %v", err)
	}
	if err := <-c.ask(request{command: commandWrite, length: maxPayload + 1}, nil, nil); err == nil {
		t.Error("a write of more than may be")
	}
}

func TestErrorsOfTheDisk(t *testing.T) {
	d, _, o := newTestDisk(t, 1<<20, 4*Size)
	c := newClient(t, listen(t, d)(), "disk")
	if err := c.write(bytes.Repeat([]byte{1}, 5*Size), 0, 0); err != error(wireError(wireNoSpace)) { //nolint:errorlint // the very value
		t.Errorf("more than fits: %v", err)
	}
	if err := c.write(bytes.Repeat([]byte{1}, 4*Size), 0, flagFUA); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(o.Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{7}, dataOffset(1<<20)+Size); err != nil {
		t.Fatal(err)
	}
	if err := c.read(make([]byte, 4*Size), 0); err != error(wireError(wireIO)) { //nolint:errorlint // the very value
		t.Errorf("a damaged block: %v", err)
	}
	if err := c.read(make([]byte, Size), 0); err != nil {
		t.Errorf("the block beside it: %v", err)
	}
}

// TestGreedyClients has clients announce far more than they send.
func TestGreedyClients(t *testing.T) {
	d, _, _ := newTestDisk(t, testSize, 0)
	s := NewServer(d, "disk", nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	var conns []net.Conn
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20 {
		ours, theirs := net.Pipe()
		conns = append(conns, theirs)
		all.Go(func() { _ = s.Serve(ctx, ours) })
		if _, err := theirs.Write(encodeRequest(request{command: commandWrite, length: maxPayload})); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 2*heldBytes {
		t.Errorf("20 clients have the server hold %d MiB", held>>20)
	}
	for _, c := range conns {
		c.Close()
	}
	all.Wait()
	if !s.held.TryAcquire(heldBytes) {
		t.Error("what the clients announced is still held")
	}
}

// slow is a device whose writes wait until they may go on.
type slow struct {
	Device
	begun, goOn chan struct{}
}

func (s slow) WriteAt(p []byte, off int64) (int, error) {
	s.begun <- struct{}{}
	<-s.goOn
	return s.Device.WriteAt(p, off)
}

// TestServeEndsAfterItsRequests ends a server, and cuts a connection, while a write is under way: Serve
// returns after it, so that no late write changes what another server has written since.
func TestServeEndsAfterItsRequests(t *testing.T) {
	for _, how := range []string{"context", "connection"} {
		d, _, _ := newTestDisk(t, 1<<20, 0)
		device := slow{d, make(chan struct{}), make(chan struct{})}
		ours, theirs := net.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- NewServer(device, "disk", nil).Serve(ctx, ours) }()
		if _, err := theirs.Write(append(encodeRequest(request{command: commandWrite, length: Size}), bytes.Repeat([]byte{5}, Size)...)); err != nil {
			t.Fatal(err)
		}
		<-device.begun
		if how == "context" {
			cancel()
		} else {
			theirs.Close()
		}
		select {
		case err := <-served:
			t.Fatalf("%s: it has ended (%v) before its write", how, err)
		case <-time.After(20 * time.Millisecond):
		}
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		close(device.goOn)
		if err := <-served; err == nil || how == "context" && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: it ends with %v", how, err)
		}
		p := make([]byte, 1)
		if _, err := d.ReadAt(p, 0); err != nil || p[0] != 5 {
			t.Errorf("%s: the write was not done (%v)", how, err)
		}
		cancel()
	}
}
