package endpoint

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// Bounds of a listener that anybody can reach. Each connection of a client costs a
// descriptor, and one or two more behind it; the rest of the process's descriptors are kept
// for guests, images and databases.
const (
	// connectionShare is the part of the descriptors that may be connections to one
	// listener.
	connectionShare = 6
	// sourceShare is the part of those that may come from one address. All connections may
	// come from few addresses, if there is a load balancer.
	sourceShare = 2
	// maxConnections bounds what connections cost in memory, some 30 KiB each.
	maxConnections = 16384
)

// bounded closes connections beyond its bounds as soon as they are made. A listener that
// did not accept them would let everybody wait.
type bounded struct {
	net.Listener
	total, perSource int

	mu      sync.Mutex
	open    int
	sources map[netip.Addr]int
}

var _ net.Listener = (*bounded)(nil)

// newBounded bounds a listener by how many descriptors the process may have.
func newBounded(l net.Listener) *bounded {
	var limit unix.Rlimit
	total := maxConnections
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		total = int(min(uint64(total), limit.Cur/connectionShare))
	}
	return &bounded{Listener: l, total: total, perSource: max(total/sourceShare, 1),
		sources: map[netip.Addr]int{}}
}

// Accept returns the next connection within the bounds.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return conn, nil
		}
		if admitted := b.admit(tcp); admitted != nil {
			return admitted, nil
		}
		_ = tcp.SetLinger(0) // a closed descriptor must not linger in the kernel
		tcp.Close()
	}
}

// admit returns nil if the connection is one too many.
func (b *bounded) admit(tcp *net.TCPConn) net.Conn {
	source := tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if source.Is6() { // whoever has one address of a network has all
		prefix, _ := source.Prefix(64)
		source = prefix.Addr()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open >= b.total || b.sources[source] >= b.perSource {
		return nil
	}
	b.open++
	b.sources[source]++
	return &boundedConn{TCPConn: tcp, listener: b, source: source}
}

// boundedConn gives its place back when it is closed. It has all methods of a TCP
// connection, by which files are moved in the kernel.
type boundedConn struct {
	*net.TCPConn
	listener *bounded
	source   netip.Addr
	once     sync.Once
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.once.Do(func() {
		b := c.listener
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open--
		if b.sources[c.source]--; b.sources[c.source] == 0 {
			delete(b.sources, c.source)
		}
	})
	return c.TCPConn.Close()
}
