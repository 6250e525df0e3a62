package block

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// stream is a connection on which all has been said.
type stream struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *stream) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.out.Write(p) }

// FuzzHandshake: whatever a client says, the server says no more than it has to, and begins to serve only
// a client that asked for a disk there is.
func FuzzHandshake(f *testing.F) {
	begin := []byte{0, 0, 0, 3}
	option := func(kind uint32, data []byte) []byte {
		p := binary.BigEndian.AppendUint64(nil, optionMagic)
		p = binary.BigEndian.AppendUint32(p, kind)
		return append(binary.BigEndian.AppendUint32(p, uint32(len(data))), data...)
	}
	f.Add(append(begin, option(optionGo, goData("disk", 3))...))
	f.Add(append(begin, append(option(optionList, nil), option(optionExport, []byte("disk"))...)...))
	f.Add(append(begin, append(option(optionInfo, goData("", 0, 1)), option(optionAbort, nil)...)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &stream{in: bytes.NewReader(data)}
		err := handshake(s, "disk", 1<<20)
		if asked := len(data)/16 + 1; s.out.Len() > 18+asked*256 {
			t.Fatalf("%d bytes are answered with %d", len(data), s.out.Len())
		}
		if err == nil && !bytes.Contains(data, []byte{0, 0, 0, optionGo}) && !bytes.Contains(data, []byte{0, 0, 0, optionExport}) {
			t.Fatal("a client that asked for nothing is served")
		}
		if err != nil && !errors.Is(err, ErrHandshake) {
			t.Fatalf("%v", err)
		}
	})
}

// pipe is a connection with all requests on it, which keeps the replies.
type pipe struct {
	stream
}

func (*pipe) Close() error                     { return nil }
func (*pipe) LocalAddr() net.Addr              { return nil }
func (*pipe) RemoteAddr() net.Addr             { return nil }
func (*pipe) SetDeadline(time.Time) error      { return nil }
func (*pipe) SetReadDeadline(time.Time) error  { return nil }
func (*pipe) SetWriteDeadline(time.Time) error { return nil }

// FuzzRequests: each request gets one reply, by its cookie, with the right error and as much as it asked for.
func FuzzRequests(f *testing.F) {
	f.Add(append(encodeRequest(request{command: commandWrite, cookie: 1, length: 5}), "12345"...))
	f.Add(append(encodeRequest(request{command: commandRead, cookie: 2, offset: 4090, length: 50}), encodeRequest(request{command: commandEnd})...))
	f.Add(append(encodeRequest(request{command: commandTrim, cookie: 3, length: 9000}), encodeRequest(request{command: commandZeroes, flags: 3, cookie: 4, offset: 100, length: 9000})...))
	f.Add(encodeRequest(request{command: commandRead, cookie: 5, offset: 1<<64 - 1, length: 1<<32 - 1}))
	const size = 16 * Size
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := create(newPlatter(dataOffset(size)+size, nil), Options{Below: pattern{}, Size: size}, [16]byte{})
		if err != nil {
			t.Fatal(err)
		}
		p := &pipe{stream{in: bytes.NewReader(data)}}
		_ = NewServer(d, "disk", nil).Serve(context.Background(), p)
		// By the book, what is to be answered.
		type expected struct{ code, length uint32 }
		want := map[uint64]expected{}
		for rest := data; len(rest) >= requestSize; {
			r, err := decodeRequest((*[requestSize]byte)(rest))
			rest = rest[requestSize:]
			if err != nil || r.command == commandEnd || r.command == commandWrite && r.length > maxPayload {
				break
			}
			if r.command == commandWrite {
				if len(rest) < int(r.length) {
					break
				}
				rest = rest[r.length:]
			}
			if _, twice := want[r.cookie]; twice {
				return // the two replies could not be told apart
			}
			e := expected{code: r.check(size)}
			if r.command == commandRead && e.code == 0 {
				e.length = r.length
			}
			want[r.cookie] = e
		}
		for replies := p.out.Bytes(); len(replies) > 0; {
			if len(replies) < replySize || binary.BigEndian.Uint32(replies) != replyMagic {
				t.Fatalf("%x is no reply", replies[:min(len(replies), replySize)])
			}
			code, cookie := binary.BigEndian.Uint32(replies[4:]), binary.BigEndian.Uint64(replies[8:])
			replies = replies[replySize:]
			e, is := want[cookie]
			if !is || e.code != code || len(replies) < int(e.length) {
				t.Fatalf("cookie %d is answered with %d and %d bytes; %v was to be (%v)", cookie, code, len(replies), e, is)
			}
			replies = replies[e.length:]
			delete(want, cookie)
		}
		if len(want) != 0 {
			t.Fatalf("%d requests have no reply", len(want))
		}
	})
}

// FuzzOverlay: a file that was changed anywhere in what it says of itself is refused, or serves each block as
// it was, as zeros, as the base's or as damaged, never with other bytes; and does not end the program.
func FuzzOverlay(f *testing.F) {
	const size = 300 * Size
	base := newPattern(200 * Size)
	fresh := func() *platter {
		p := newPlatter(dataOffset(size)+size, rand.New(rand.NewPCG(1, 1)))
		d, err := create(p, Options{Below: base, Size: size}, [16]byte{1})
		if err != nil {
			f.Fatal(err)
		}
		if _, err := d.WriteAt(bytes.Repeat([]byte{9}, 20*Size), 190*Size); err != nil {
			f.Fatal(err)
		}
		if err := d.Trim(0, 10*Size); err != nil {
			f.Fatal(err)
		}
		return p
	}
	head := fresh()
	f.Add(uint32(0), head.cached[:headerSize], true)
	f.Add(uint32(mapAt+190*8), []byte{1, 2, 3, 4, 5, 6, 7, 8}, false)
	f.Add(uint32(mapAt+190*8), head.cached[mapAt+191*8:mapAt+192*8], false)
	f.Add(uint32(placesAt), []byte{0, 0, 0, 0, 0, 0, 0, 0, 255}, false)
	f.Add(uint32(regionsAt), []byte{255}, true)
	f.Fuzz(func(t *testing.T, at uint32, change []byte, reboot bool) {
		p := fresh()
		if at >= uint32(dataOffset(size)) {
			return
		}
		copy(p.cached[at:dataOffset(size)], change)
		boot := [16]byte{1}
		if reboot {
			boot[0]++
		}
		d, err := open(p, Options{Below: base, Size: size}, boot)
		if err != nil {
			return
		}
		for block := range d.head.blocks() {
			have := [Size]byte{}
			if _, err := d.ReadAt(have[:], block*Size); err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatalf("block %d: %v", block, err)
				}
				continue
			}
			below := [Size]byte{}
			_, _ = base.ReadAt(below[:], block*Size)
			if have != below && !isZero(have[:]) && !bytes.Equal(have[:], bytes.Repeat([]byte{9}, Size)) {
				t.Fatalf("block %d has %x…", block, have[:16])
			}
		}
		if _, err := d.WriteAt([]byte{1}, 0); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}

// FuzzGo: what names a disk in the handshake is read as it was written.
func FuzzGo(f *testing.F) {
	f.Add([]byte("disk"), uint16(3))
	f.Fuzz(func(t *testing.T, data []byte, kind uint16) {
		if len(data) < 1<<10 {
			if name, ok := decodeGo(goData(string(data), kind, kind)); !ok || name != string(data) {
				t.Fatalf("%q is read as %q", data, name)
			}
		}
		if name, ok := decodeGo(data); ok && len(name) > len(data)-6 {
			t.Fatalf("a name of %d bytes in %d", len(name), len(data))
		}
	})
}
