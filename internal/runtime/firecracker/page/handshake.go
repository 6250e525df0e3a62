package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Firecracker connects to a Unix socket when it loads a snapshot, and sends one message: a
// list of its memory's regions as JSON, and the descriptor of its userfaultfd. It is what
// the guest may have taken over by then, so what it says is not trusted.

const (
	// maxMappings bounds the message, in bytes. Firecracker sends about 130 for a region, and
	// has a handful.
	maxMappings = 64 << 10
	maxRegions  = 512
	maxPassed   = 16 // descriptors
)

// region is a part of the guest's memory in the address space of its Firecracker.
type region struct {
	Base   uint64 `json:"base_host_virt_addr"`
	Bytes  uint64 `json:"size"`
	Offset uint64 `json:"offset"`    // in the guest's memory, as the files have it
	Page   uint64 `json:"page_size"` // size of the pages behind it, in bytes
	// PageKiB is called so and has bytes; before Firecracker 1.12 it is alone.
	PageKiB uint64 `json:"page_size_kib"`
}

// contains is false for an address outside.
func (r region) contains(address uint64) bool { return address >= r.Base && address-r.Base < r.Bytes }

// page is the page of the guest at an address inside.
func (r region) page(address uint64) uint32 { return uint32((address - r.Base + r.Offset) / Size) }

// address is where a page of the guest is.
func (r region) address(page uint32) uint64 { return uint64(page)*Size - r.Offset + r.Base }

func (r region) first() uint32 { return uint32(r.Offset / Size) }

func (r region) end() uint32 { return uint32((r.Offset + r.Bytes) / Size) }

// unit is how many pages are given to the guest at once, at least.
func (r region) unit() uint32 { return uint32(r.Page / Size) }

// parseRegions reads the list, sorts it by address, and checks that it makes sense for a memory
// of a number of pages.
func parseRegions(data []byte, pages uint32) ([]region, error) {
	var rs []region
	if err := json.Unmarshal(data, &rs); err != nil {
		return nil, fmt.Errorf("the list of regions: %w", err)
	}
	if len(rs) == 0 || len(rs) > maxRegions {
		return nil, fmt.Errorf("%d regions", len(rs))
	}
	memory := uint64(pages) * Size
	for i := range rs {
		r := &rs[i]
		r.Page = cmp.Or(r.Page, r.PageKiB, Size)
		switch {
		case r.Page != Size && r.Page != HugeSize:
			return nil, fmt.Errorf("pages of %d bytes", r.Page)
		case r.Bytes == 0 || (r.Base|r.Bytes|r.Offset)%r.Page != 0:
			return nil, fmt.Errorf("a region of %d bytes at %#x, offset %#x, does not consist of pages",
				r.Bytes, r.Base, r.Offset)
		case r.Offset > memory || r.Bytes > memory-r.Offset:
			return nil, fmt.Errorf("a region of %d bytes at offset %#x, where the memory has %d bytes",
				r.Bytes, r.Offset, memory)
		case r.Base+r.Bytes < r.Base:
			return nil, errors.New("a region beyond the address space")
		}
	}
	for _, by := range []func(r region) uint64{
		func(r region) uint64 { return r.Offset }, func(r region) uint64 { return r.Base }} {
		slices.SortFunc(rs, func(a, b region) int { return cmp.Compare(by(a), by(b)) })
		for i := 1; i < len(rs); i++ {
			if by(rs[i]) < by(rs[i-1])+rs[i-1].Bytes {
				return nil, errors.New("regions that overlap")
			}
		}
	}
	return rs, nil
}

// Client is a Firecracker whose guest waits for its memory. Close it when the process has
// ended: when the last descriptor of a userfaultfd is closed, the kernel answers faults with
// zeros. Firecracker keeps one of its own.
type Client struct {
	regions []region
	fault   userfault
	// process becomes readable when the process ends; -1 if it is this one.
	process int
	conn    *net.UnixConn
}

// Accept waits for a Firecracker to connect to a socket, and for what it sends. m is the memory
// that it loads. The caller bounds the time by ctx, and closes the listener.
func Accept(ctx context.Context, l *net.UnixListener, m *Memory) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := l.AcceptUnix()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("wait for Firecracker to connect to the page server: %w", err)
	}
	stopConn := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stopConn()
	c, err := receive(conn, m)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("what Firecracker sent to the page server: %w", errors.Join(err, ctx.Err()))
	}
	return c, nil
}

func receive(conn *net.UnixConn, m *Memory) (_ *Client, err error) {
	data, files, err := receiveMessage(conn)
	c := &Client{fault: -1, process: -1, conn: conn}
	defer func() {
		for _, f := range files { // of several, such as a memory's, the first is what is needed
			if userfault(f) != c.fault || err != nil {
				unix.Close(f)
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("no descriptor of a userfaultfd")
	}
	c.fault = userfault(files[0])
	if err := checkUserfault(files[0]); err != nil {
		return nil, err
	}
	if c.regions, err = parseRegions(data, m.pages); err != nil {
		return nil, err
	}
	c.process, err = peer(conn)
	return c, err
}

// receiveMessage reads until there is a whole list. The descriptors come with its first byte.
func receiveMessage(conn *net.UnixConn) (data []byte, files []int, err error) {
	buf, rights := make([]byte, maxMappings), make([]byte, unix.CmsgSpace(maxPassed*4))
	for {
		n, oob, flags, _, err := conn.ReadMsgUnix(buf[len(data):], rights)
		if err != nil || n == 0 {
			return nil, files, fmt.Errorf("it ended after %d bytes: %w", len(data), errors.Join(err, errors.New("no list")))
		}
		passed, err := parseRights(rights[:oob])
		files = append(files, passed...)
		if err != nil || flags&unix.MSG_CTRUNC != 0 {
			return nil, files, errors.Join(err, errors.New("descriptors that cannot be read"))
		}
		if data = buf[:len(data)+n]; json.Valid(data) {
			return data, files, nil
		}
		if len(data) == len(buf) || len(files) > maxPassed {
			return nil, files, errors.New("too much, or no JSON")
		}
	}
}

func parseRights(oob []byte) (files []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	for i := range messages {
		if fds, perr := unix.ParseUnixRights(&messages[i]); perr == nil {
			files = append(files, fds...)
		}
	}
	return files, err
}

// checkUserfault refuses other files, which would answer other calls.
func checkUserfault(fd int) error {
	unix.CloseOnExec(fd)
	what, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || what != "anon_inode:[userfaultfd]" {
		return errors.Join(fmt.Errorf("the descriptor is %q and no userfaultfd", what), err)
	}
	return unix.SetNonblock(fd, true)
}

// peer is a descriptor of the process at the other end.
func peer(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return -1, errors.Join(err, credErr)
	}
	if int(cred.Pid) == os.Getpid() {
		return -1, nil
	}
	// It waits for its memory meanwhile, so the number is still its own.
	fd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil {
		return -1, fmt.Errorf("watch Firecracker's process %d: %w", cred.Pid, err)
	}
	return fd, nil
}

// Close closes the descriptors.
func (c *Client) Close() error {
	if c.process >= 0 {
		unix.Close(c.process)
	}
	return errors.Join(unix.Close(int(c.fault)), c.conn.Close())
}
