package attack

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/test/installation"
)

// arrival is a connection by TCP, or packets by UDP or ICMP, that an internal address was
// sent.
type arrival struct {
	place    string // the network: inside, or "host" for its own addresses
	from, to string
	protocol string // a number of IP's, or "ping"
	port     float64
}

func (a arrival) String() string {
	return fmt.Sprintf("at %s, from %s: %s to %s port %v", a.place, a.from, a.protocol, a.to, a.port)
}

// trapRules record what comes in, after all other rules let it pass. The first place is
// the hook, the second what is not recorded.
const trapRules = `
table inet trap {
	set arrived4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; }
	set arrived6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service; flags dynamic; size 65535; }
	set pinged { type ipv4_addr . ipv4_addr; flags dynamic; size 65535; }
	chain record {
		type filter hook %s priority 300; policy accept;
		ct state established,related accept
%s
		meta nfproto ipv4 meta l4proto { tcp, udp } add @arrived4 { ip saddr . ip daddr . meta l4proto . th dport }
		meta nfproto ipv6 meta l4proto { tcp, udp } add @arrived6 { ip6 saddr . ip6 daddr . meta l4proto . th dport }
		icmp type echo-request add @pinged { ip saddr . ip daddr }
	}
}
`

// setTraps starts to record. At the host it leaves out the installation's own ports, which
// the tests call, what Shoal's rules have redirected to its services for guests, and late
// answers from the public side to guests that are gone.
func setTraps(i *installation.Installation) error {
	var ports []string
	for _, address := range []string{i.API, i.Proxy, i.Health, i.Node, i.NodeProxy, domainListen} {
		_, port, _ := net.SplitHostPort(address)
		ports = append(ports, port)
	}
	own := fmt.Sprintf("\t\tiifname lo tcp dport { %s } accept\n\t\tct status dnat accept\n\t\tip saddr %s accept\n",
		strings.Join(ports, ", "), publicRange)
	if err := nft("", fmt.Sprintf(trapRules, "input", own)); err != nil {
		return err
	}
	return nft(inside, fmt.Sprintf(trapRules, "input",
		fmt.Sprintf("\t\tip daddr %s accept\n\t\tip daddr %s tcp dport 5000-5002 accept\n", openedRange, registryHost)))
}

// nft gives commands to nftables, in a namespace by name or in the host's.
func nft(namespace, commands string) error {
	args := []string{"nft", "-f", "-"}
	if namespace != "" {
		args = append([]string{"ip", "netns", "exec", namespace}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// arrivals returns what was recorded since the start or the last reset.
func arrivals() []arrival {
	var all []arrival
	for _, place := range []string{"", inside} {
		for _, set := range []string{"arrived4", "arrived6", "pinged"} {
			args := []string{"nft", "-n", "-j", "list", "set", "inet", "trap", set}
			if place != "" {
				args = append([]string{"ip", "netns", "exec", place}, args...)
			}
			out, err := exec.Command(args[0], args[1:]...).Output()
			if err != nil {
				all = append(all, arrival{place: place, protocol: "the trap cannot be read: " + err.Error()})
				continue
			}
			all = append(all, parseArrivals(place, out)...)
		}
	}
	return all
}

func parseArrivals(place string, list []byte) []arrival {
	var answer struct {
		Nftables []struct {
			Set struct{ Elem []struct{ Concat []any } }
		}
	}
	if err := json.Unmarshal(list, &answer); err != nil {
		return []arrival{{place: place, protocol: "the trap is not understood: " + err.Error()}}
	}
	if place == "" {
		place = "host"
	}
	var all []arrival
	for _, part := range answer.Nftables {
		for _, e := range part.Set.Elem {
			a := arrival{place: place, protocol: "ping"}
			a.from, a.to = fmt.Sprint(e.Concat[0]), fmt.Sprint(e.Concat[1])
			if len(e.Concat) == 4 {
				a.protocol = fmt.Sprint(e.Concat[2])
				a.port, _ = e.Concat[3].(float64)
			}
			all = append(all, a)
		}
	}
	return all
}

// emptyTraps forgets what arrived.
func emptyTraps() (err error) {
	for _, place := range []string{"", inside} {
		err = errors.Join(err, nft(place,
			"flush set inet trap arrived4\nflush set inet trap arrived6\nflush set inet trap pinged\n"))
	}
	return err
}

// resetTraps forgets what arrived, for a test.
func resetTraps(t *testing.T) {
	t.Helper()
	if err := emptyTraps(); err != nil {
		t.Fatal(err)
	}
}

// nothingArrives fails the test at its end if an internal address was sent something.
func nothingArrives(t *testing.T) {
	t.Helper()
	resetTraps(t)
	t.Cleanup(func() {
		for _, a := range arrivals() {
			t.Errorf("arrived %v", a)
		}
		resetTraps(t)
	})
}

// TestTraps shows that the traps see what they must: each internal range and each of the
// host's own addresses, by TCP, UDP and ICMP.
func TestTraps(t *testing.T) {
	resetTraps(t)
	defer resetTraps(t)
	targets := slices.Clone(ownAddresses)
	for _, address := range internalRanges {
		targets = append(targets, address)
	}
	for _, target := range targets {
		address := net.JoinHostPort(target, "4999")
		if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address); err == nil {
			conn.Close()
		}
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("x"))
		conn.Close()
	}
	echo, err := (&net.Dialer{}).DialContext(t.Context(), "ip4:icmp", "10.1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = echo.Write([]byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0})
	echo.Close()
	seen := arrivals()
	if !slices.ContainsFunc(seen, func(a arrival) bool { return a.protocol == "ping" && a.to == "10.1.2.3" }) {
		t.Error("the ping was not seen")
	}
	for _, target := range targets {
		for _, protocol := range []string{"6", "17"} { // TCP, UDP
			if !slices.ContainsFunc(seen, func(a arrival) bool {
				return a.to == target && a.port == 4999 && a.protocol == protocol
			}) {
				t.Errorf("protocol %s to %s was not seen", protocol, target)
			}
		}
	}
	if t.Failed() {
		t.Logf("seen: %v", seen)
	}
}
