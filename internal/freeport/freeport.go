// Package freeport gives tests the ports of servers that start later, or are down for a while.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// given holds the ports that this process has or has found taken, because nobody listens on a port between its choice and the
// start, or while its server is down.
var given sync.Map

// tries is how many ports are tried before giving up.
const tries = 100

// Take returns a port of 127.0.0.1 at which nobody listens by TCP or UDP, each once in this process. It is below
// the range from which the host's kernel takes ports: otherwise another connection might have it when the server
// starts.
func Take() (port int, err error) {
	const lowest, end = 20000, 32768
	for range tries {
		port = lowest + rand.IntN(end-lowest)
		if _, taken := given.LoadOrStore(port, true); taken {
			err = fmt.Errorf("this process has %d already", port)
		} else if err = isFree(port); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

// Of is a port for a test, which ends if there is none.
func Of(t testing.TB) int {
	t.Helper()
	port, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Address is a port's address.
func Address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func isFree(port int) error {
	l, err := net.Listen("tcp", Address(port))
	if err != nil {
		return err
	}
	defer l.Close()
	packets, err := net.ListenPacket("udp", Address(port))
	if err != nil {
		return err
	}
	return packets.Close()
}
