package installation

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Internet is a namespace behind the host with public addresses, and a DNS server on this host that
// knows names. Close removes both.
type Internet struct {
	// Resolver is the DNS server's address, for the setting dns.
	Resolver string

	namespace, link string
	names           *dns.Server
	listeners       []net.Listener
}

// NewInternet makes an internet. The name is at most eight letters. The host is there at the last
// address but one of the network, whose others are addresses of servers; names are by FQDN.
func NewInternet(name string, network netip.Prefix, addresses []string, names map[string]string) (*Internet, error) {
	i := &Internet{namespace: "inet-" + name, link: "in-" + name}
	_ = i.Close() // what a run left that was killed
	host := network.Masked().Addr().As4()
	host[3] = 254
	steps := [][]string{{"netns", "add", i.namespace},
		{"link", "add", i.link, "type", "veth", "peer", "name", "eth0", "netns", i.namespace},
		{"addr", "add", netip.PrefixFrom(netip.AddrFrom4(host), network.Bits()).String(), "dev", i.link},
		{"link", "set", i.link, "up"}}
	for _, a := range addresses {
		steps = append(steps, []string{"-n", i.namespace, "addr", "add", fmt.Sprintf("%s/%d", a, network.Bits()), "dev", "eth0"})
	}
	steps = append(steps, []string{"-n", i.namespace, "link", "set", "eth0", "up"})
	for _, args := range steps {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("ip %v: %w: %s", args, err, out), i.Close())
		}
	}
	if err := i.serveNames(names); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

func (i *Internet) serveNames(names map[string]string) error {
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	i.Resolver = packets.LocalAddr().String()
	started := make(chan struct{})
	i.names = &dns.Server{PacketConn: packets, NotifyStartedFunc: func() { close(started) },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			answer := new(dns.Msg).SetReply(q)
			address, known := names[strings.ToLower(q.Question[0].Name)]
			if !known {
				answer.SetRcode(q, dns.RcodeNameError)
			} else if q.Question[0].Qtype == dns.TypeA {
				rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A " + address)
				answer.Answer = append(answer.Answer, rr)
			}
			_ = w.WriteMsg(answer)
		})}
	go func() { _ = i.names.ActivateAndServe() }() // ends with Close
	<-started
	return nil
}

// Listen opens an address of the internet's, until Close.
func (i *Internet) Listen(address string) (net.Listener, error) {
	type result struct {
		l   net.Listener
		err error
	}
	made := make(chan result, 1)
	go func() { // its thread goes with it
		runtime.LockOSThread()
		fd, err := unix.Open("/run/netns/"+i.namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		var l net.Listener
		if err == nil {
			l, err = net.Listen("tcp4", address)
		}
		made <- result{l, err}
	}()
	r := <-made
	if r.err == nil {
		i.listeners = append(i.listeners, r.l)
	}
	return r.l, r.err
}

// Close removes what there is of it.
func (i *Internet) Close() error {
	for _, l := range i.listeners {
		l.Close()
	}
	if i.names != nil {
		_ = i.names.Shutdown()
	}
	_ = exec.Command("ip", "link", "del", i.link).Run() // it may not be there yet
	if out, err := exec.Command("ip", "netns", "del", i.namespace).CombinedOutput(); err != nil {
		return fmt.Errorf("remove namespace %s: %w: %s", i.namespace, err, out)
	}
	return nil
}
