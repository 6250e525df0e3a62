package network

import (
	"bytes"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLabTap: a slot whose wire ends at a tap device is as any other to the host and the guest.
func TestLabTap(t *testing.T) {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("the host has no tap devices")
	}
	w := newWorld(t, nil)
	for range 2 { // a slot may be given one again
		if name, err := w.slot.Tap(1234); err != nil || name != gatewayName {
			t.Fatalf("%q %v", name, err)
		}
	}
	if _, err := w.slot.PacketSocket(); err == nil {
		t.Error("there is a packet socket besides")
	}
	tap := openTap(t, w.slot)
	conn, err := net.Dial("udp4", net.JoinHostPort(w.slot.HostIP().String(), "9999"))
	w.must(err)
	defer conn.Close()
	frame := make([]byte, 2048)
	// The host's kernel takes a moment to see that somebody has the device.
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err = conn.Write([]byte("for the guest"))
		w.must(err)
		w.must(tap.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
		n, err := tap.Read(frame)
		const header = 10 // of virtio
		if err == nil && bytes.Contains(frame[:n], []byte("for the guest")) {
			if got := frame[header:n]; !bytes.HasPrefix(got, guestMAC) || !bytes.Contains(got, guestIP.AsSlice()) {
				t.Errorf("what comes is not for the guest's card: % x", got)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing comes from the host: %v", err)
		}
	}
}

// openTap opens the device as a Firecracker does.
func openTap(t *testing.T, s *Slot) *os.File {
	t.Helper()
	var tap *os.File
	err := inNamespace(s.plan.namespaceName(s.index), func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		r, err := unix.NewIfreq(gatewayName)
		if err != nil {
			return err
		}
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
			return err
		}
		tap = os.NewFile(uintptr(fd), "tap")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })
	return tap
}
