package netstack

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/inet"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// The loopback interface of a new network namespace is down and has no address, and gets both
// addresses when it is brought up without any (Linux: inetdev_event and init_loopback). Programs
// that make such namespaces, as bubblewrap, add 127.0.0.1 themselves and end if it exists.

// siocsifflags is SIOCSIFFLAGS (man 7 netdevice).
const siocsifflags = 0x8914

// loopbackAddrs are the addresses that loopback gets when it is brought up.
var loopbackAddrs = []inet.InterfaceAddr{
	{Family: linux.AF_INET, PrefixLen: 8, Addr: []byte{127, 0, 0, 1}},
	{Family: linux.AF_INET6, PrefixLen: 128, Addr: []byte{15: 1}},
}

// ResetLoopback implements the interface of that name in package inet.
func (s *Stack) ResetLoopback() {
	for id, info := range s.Stack.NICInfo() {
		if !info.Flags.Loopback {
			continue
		}
		for _, addr := range info.ProtocolAddresses {
			_ = s.Stack.RemoveAddress(id, addr.AddressWithPrefix.Address) // it has just been there
		}
		_ = s.Stack.DisableNIC(id)
	}
}

// setLoopbackUp does nothing for other interfaces.
func (s *Stack) setLoopbackUp(ctx context.Context, id tcpip.NICID, up bool) {
	s.linkMu.Lock()
	defer s.linkMu.Unlock()
	info, ok := s.Stack.SingleNICInfo(id)
	if !ok || !info.Flags.Loopback || info.Flags.Up == up {
		return
	}
	if !up {
		_ = s.Stack.DisableNIC(id)
		s.sendChangeEvent(ctx, id)
		return
	}
	_ = s.Stack.EnableNIC(id)
	has := map[uint8]bool{}
	for _, addr := range s.InterfaceAddrs()[int32(id)] {
		has[addr.Family] = true
	}
	for _, addr := range loopbackAddrs {
		if !has[addr.Family] {
			_ = s.AddInterfaceAddr(int32(id), addr)
		}
	}
	s.sendChangeEvent(ctx, id)
}

// setInterfaceFlags is the ioctl of that name, of which only IFF_UP of loopback has an effect.
func setInterfaceFlags(t *kernel.Task, addr hostarch.Addr) error {
	var ifr linux.IFReq
	if _, err := ifr.CopyIn(t, addr); err != nil {
		return err
	}
	namespace := t.NetworkNamespace()
	if !namespace.HasCapability(t, linux.CAP_NET_ADMIN) {
		return linuxerr.EPERM
	}
	s, ok := namespace.Stack().(*Stack)
	if !ok {
		return linuxerr.EOPNOTSUPP
	}
	for id, info := range s.Stack.NICInfo() {
		if info.Name == ifr.Name() {
			flags := hostarch.ByteOrder.Uint16(ifr.Data[:2])
			s.setLoopbackUp(t, id, flags&linux.IFF_UP != 0)
			return nil
		}
	}
	return linuxerr.ENODEV
}
