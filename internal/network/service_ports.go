package network

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"syscall"
)

// The rules that lead guests to a service's port outlive this process, as guests do. So the
// port is none that the kernel gives to programs which ask for any: such a program would get
// the guests' connections, and lose those of others.

const (
	// portRange holds the first and the last port that the kernel gives away.
	portRange = "/proc/sys/net/ipv4/ip_local_port_range"
	// firstPort is the first port that needs no privilege.
	firstPort = 1024
	lastPort  = 1<<16 - 1
	// portTries bounds the search for a port that no other program has.
	portTries = 100
)

// ListenService listens for what the host's rules lead to a service of this machine.
func ListenService() (net.Listener, error) { return listenTCP("") }

// listenTCP listens at a service port of a host, "" for all addresses.
func listenTCP(host string) (listener net.Listener, err error) {
	err = tryPorts(func(port int) error {
		listener, err = net.Listen("tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
		return err
	})
	return listener, err
}

// listenUDP does the same for packets.
func listenUDP(host string) (packets net.PacketConn, err error) {
	err = tryPorts(func(port int) error {
		packets, err = net.ListenPacket("udp4", net.JoinHostPort(host, strconv.Itoa(port)))
		return err
	})
	return packets, err
}

// listenBoth does the same for both protocols at one port.
func listenBoth(host string) (packets net.PacketConn, listener net.Listener, err error) {
	err = tryPorts(func(port int) error {
		address := net.JoinHostPort(host, strconv.Itoa(port))
		if packets, err = net.ListenPacket("udp4", address); err != nil {
			return err
		}
		if listener, err = net.Listen("tcp4", address); err != nil {
			packets.Close()
		}
		return err
	})
	return packets, listener, err
}

// tryPorts calls listen with service ports until one is free.
func tryPorts(listen func(port int) error) error {
	data, err := os.ReadFile(portRange)
	if err != nil {
		return err
	}
	var low, high int
	if _, err := fmt.Sscan(string(data), &low, &high); err != nil {
		return fmt.Errorf("%s: %w", portRange, err)
	}
	for range portTries {
		if err = listen(servicePort(low, high)); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return err
}

// servicePort returns a random port above the range that the kernel gives away, where hardly
// any program listens, or below it if there is no room above. If the range is everything, it
// is a port of the range.
func servicePort(low, high int) int {
	const room = 1000
	switch {
	case lastPort-high >= room:
		low, high = high+1, lastPort
	case low-firstPort >= room:
		low, high = firstPort, low-1
	}
	return low + rand.IntN(high-low+1)
}
