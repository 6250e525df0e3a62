package block

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// client is a client of the protocol by the book, as a reference.
type client struct {
	conn net.Conn
	size uint64

	sending sync.Mutex
	mutex   sync.Mutex
	serial  uint64
	waiting map[uint64]*answer
	ended   error
}

type answer struct {
	payload []byte // to be read, or nil
	done    chan error
}

// wireError is an error that a server has answered.
type wireError uint32

func (e wireError) Error() string { return fmt.Sprintf("the server answers error %d", uint32(e)) }

// sendOption sends an option of the handshake and reads answers until one that is no information.
func sendOption(conn io.ReadWriter, option uint32, data []byte) (infos [][]byte, last uint32, err error) {
	p := binary.BigEndian.AppendUint64(nil, optionMagic)
	p = binary.BigEndian.AppendUint32(p, option)
	p = binary.BigEndian.AppendUint32(p, uint32(len(data)))
	if _, err := conn.Write(append(p, data...)); err != nil {
		return nil, 0, err
	}
	for {
		var head [20]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return infos, 0, err
		}
		if m := binary.BigEndian.Uint64(head[:]); m != answerMagic || binary.BigEndian.Uint32(head[8:]) != option {
			return infos, 0, fmt.Errorf("the answer %x to option %d", head, option)
		}
		kind := binary.BigEndian.Uint32(head[12:])
		data := make([]byte, binary.BigEndian.Uint32(head[16:]))
		if _, err := io.ReadFull(conn, data); err != nil {
			return infos, 0, err
		}
		if kind != answerInfo && kind != answerServer {
			return infos, kind, nil
		}
		infos = append(infos, data)
	}
}

func goData(name string, kinds ...uint16) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	p = append(p, name...)
	p = binary.BigEndian.AppendUint16(p, uint16(len(kinds)))
	for _, k := range kinds {
		p = binary.BigEndian.AppendUint16(p, k)
	}
	return p
}

// greet reads the server's first words and answers with flags.
func greet(t testing.TB, conn net.Conn, flags uint32) {
	t.Helper()
	var hello [18]byte
	if _, err := io.ReadFull(conn, hello[:]); err != nil {
		t.Fatal(err)
	}
	if binary.BigEndian.Uint64(hello[:]) != helloMagic || binary.BigEndian.Uint64(hello[8:]) != optionMagic || hello[17] != helloFixed|helloNoZeroes {
		t.Fatalf("the server says %x", hello)
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, flags)); err != nil {
		t.Fatal(err)
	}
}

// newClient goes through the handshake.
func newClient(t testing.TB, conn net.Conn, name string) *client {
	t.Helper()
	greet(t, conn, helloFixed|helloNoZeroes)
	infos, last, err := sendOption(conn, optionGo, goData(name, infoBlockSize))
	if err != nil || last != answerAck {
		t.Fatalf("GO is answered with %d (%v)", last, err)
	}
	c := &client{conn: conn}
	for _, info := range infos {
		if binary.BigEndian.Uint16(info) == infoExport {
			c.size = binary.BigEndian.Uint64(info[2:])
			if flags := binary.BigEndian.Uint16(info[10:]); flags != transmissionFlags {
				t.Fatalf("flags %#x", flags)
			}
		}
	}
	c.start()
	return c
}

// start begins the transmission phase; its goroutine ends with the connection.
func (c *client) start() {
	c.waiting = map[uint64]*answer{}
	go c.receive()
}

func (c *client) receive() {
	var err error
	for err == nil {
		err = c.receiveOne()
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.ended = err
	for _, a := range c.waiting {
		a.done <- err
	}
	c.waiting = nil
}

func (c *client) receiveOne() error {
	var head [replySize]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return err
	}
	if m := binary.BigEndian.Uint32(head[:]); m != replyMagic {
		return fmt.Errorf("a reply begins with %#x", m)
	}
	code, cookie := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint64(head[8:])
	c.mutex.Lock()
	a := c.waiting[cookie]
	delete(c.waiting, cookie)
	c.mutex.Unlock()
	if a == nil {
		return fmt.Errorf("a reply to %d, which nobody asked", cookie)
	}
	var err error
	if code != 0 {
		err = wireError(code)
	} else if a.payload != nil {
		if _, err := io.ReadFull(c.conn, a.payload); err != nil {
			a.done <- err
			return err
		}
	}
	a.done <- err
	return nil
}

// ask sends a request, and returns where its answer comes. out is sent after it, in is read.
func (c *client) ask(r request, out, in []byte) chan error {
	a := &answer{payload: in, done: make(chan error, 1)}
	c.mutex.Lock()
	c.serial++
	r.cookie = c.serial
	if c.waiting == nil {
		a.done <- c.ended
	} else {
		c.waiting[r.cookie] = a
	}
	c.mutex.Unlock()
	c.sending.Lock()
	defer c.sending.Unlock()
	_, _ = c.conn.Write(append(encodeRequest(r), out...)) // receive sees what fails
	return a.done
}

func encodeRequest(r request) []byte {
	p := binary.BigEndian.AppendUint32(nil, requestMagic)
	p = binary.BigEndian.AppendUint16(p, r.flags)
	p = binary.BigEndian.AppendUint16(p, r.command)
	p = binary.BigEndian.AppendUint64(p, r.cookie)
	p = binary.BigEndian.AppendUint64(p, r.offset)
	return binary.BigEndian.AppendUint32(p, r.length)
}

func (c *client) read(p []byte, off int64) error {
	return <-c.ask(request{command: commandRead, offset: uint64(off), length: uint32(len(p))}, nil, p)
}

func (c *client) write(p []byte, off int64, flags uint16) error {
	return <-c.ask(request{command: commandWrite, flags: flags, offset: uint64(off), length: uint32(len(p))}, p, nil)
}

func (c *client) command(command, flags uint16, off, length int64) error {
	return <-c.ask(request{command: command, flags: flags, offset: uint64(off), length: uint32(length)}, nil, nil)
}

// end says that the client goes.
func (c *client) end() error {
	c.sending.Lock()
	defer c.sending.Unlock()
	_, err := c.conn.Write(encodeRequest(request{command: commandEnd}))
	return err
}
