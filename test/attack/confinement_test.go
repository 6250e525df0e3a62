package attack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"shoal/test/installation"
)

// confined is set in the process that runs the tests: this program again, in a network and
// a mount namespace of its own.
const confined = "SHOAL_ATTACK_CONFINED"

// The networks beside the host's namespace. Each has all addresses that are routed to it.
const (
	inside  = "attack-lan" // every internal range
	outside = "attack-net" // public addresses

	hostInside  = "10.240.0.1" // the host's own addresses
	hostOutside = "44.128.255.254"
	publicRange = "44.128.0.0/17" // without the host's
	resolver    = "44.128.0.53"   // answers the host and, through it, guests; see names_test.go
	website     = "44.128.0.80"

	// What the operator has opened: to guests, and to the host for tenants.
	openedRange     = "10.77.0.0/16"
	opened          = "10.77.0.7"
	registryHost    = "10.66.0.5"
	registryAddress = registryHost + ":5000"
	loginAddress    = registryHost + ":5001" // refers to a login server inside
	secondLogin     = registryHost + ":5002" // refers to one that redirects there
)

// internalRanges are routed to the inside, each with an address of it. They do not contain
// the host's own.
var internalRanges = map[string]string{
	"10.0.0.0/9": "10.1.2.3", "172.16.0.0/12": "172.20.0.9", "192.168.0.0/16": "192.168.1.1",
	"100.64.0.0/10": "100.100.100.200", "169.254.0.0/16": "169.254.169.254", "168.63.129.16/32": "168.63.129.16",
	"192.0.0.0/24": "192.0.0.192", "198.18.0.0/15": "198.18.0.1", "fd00::/16": "fd00:ec2::254",
}

// ownAddresses are those of the host itself.
var ownAddresses = []string{"127.0.0.1", "127.9.9.9", "::1", hostInside, hostOutside, "fd77::1"}

// confine runs the tests in namespaces of their own, and returns their exit code. What is
// downloaded for the base image is downloaded before, while there is an internet.
func confine() int {
	runtime.LockOSThread() // the child is told to end when this thread does
	i, err := newServer()
	if err != nil {
		return complain(err)
	}
	defer i.Remove()
	if err := i.Runnable(); err != nil {
		fmt.Println("skipped; run `make test-attack`:", err)
		return 0
	}
	if err := prepareBase(i); err != nil {
		return complain(err)
	}
	tests := exec.Command("/proc/self/exe", os.Args[1:]...)
	tests.Env = append(os.Environ(), confined+"=yes")
	tests.Stdin, tests.Stdout, tests.Stderr = os.Stdin, os.Stdout, os.Stderr
	tests.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM,
		Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if err := tests.Start(); err != nil {
		return complain(err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for range signals {
			_ = tests.Process.Signal(syscall.SIGTERM)
		}
	}()
	err = tests.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		return complain(err)
	}
	return 0
}

// prepareBase makes the base image, unless it is there.
func prepareBase(i *installation.Installation) error {
	p, err := i.Up()
	if p != nil {
		err = errors.Join(err, p.Stop(syscall.SIGTERM, time.Minute))
	}
	return errors.Join(err, i.Down())
}

// buildWorld makes the networks around the host. They end with this process.
func buildWorld() error {
	// Names of namespaces, of which others on this machine have theirs.
	if err := errors.Join(os.MkdirAll("/run/netns", 0o755), unix.Mount("none", "/run/netns", "tmpfs", 0, "")); err != nil {
		return fmt.Errorf("mount /run/netns: %w", err)
	}
	if err := useResolver(); err != nil {
		return err
	}
	var script strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&script, format+"\n", args...) }
	say("link set lo up")
	for name, link := range map[string]string{inside: "lan", outside: "net"} {
		say("netns add %s", name)
		say("link add %s type veth peer name eth0 netns %s", link, name)
		say("link set %s up", link)
	}
	say("addr add %s/24 dev lan", hostInside)
	say("addr add fd77::1/64 dev lan nodad")
	say("addr add %s/16 dev net", hostOutside)
	say("route add default via 44.128.0.1 dev net")
	for network := range internalRanges { // more specific routes, those to guests, come first
		if strings.Contains(network, ":") {
			say("-6 route add %s via fd77::2 dev lan", network)
		} else {
			say("route add %s via 10.240.0.2 dev lan", network)
		}
	}
	if err := ip("", script.String()); err != nil {
		return err
	}
	var ranges strings.Builder
	for network := range internalRanges {
		family := "-4"
		if strings.Contains(network, ":") {
			family = "-6"
		}
		fmt.Fprintf(&ranges, "%s route add local %s dev lo\n", family, network)
	}
	err := ip(inside, "link set lo up\nlink set eth0 up\naddr add 10.240.0.2/24 dev eth0\n"+
		"addr add fd77::2/64 dev eth0 nodad\nroute add default via 10.240.0.1\n"+ranges.String())
	return errors.Join(err, ip(outside, "link set lo up\nlink set eth0 up\naddr add 44.128.0.1/16 dev eth0\n"+
		"route add default via "+hostOutside+"\nroute add local "+publicRange+" dev lo\n"))
}

// useResolver makes the host ask ours.
func useResolver() error {
	file, err := os.CreateTemp("", "attack-resolv-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // the mount keeps the content
	_, err = fmt.Fprintf(file, "nameserver %s\noptions timeout:2 attempts:1\n", resolver)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return err
	}
	if err := unix.Mount(file.Name(), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("replace %s: %w", target, err)
	}
	return nil
}

// ip gives commands to iproute2, in a namespace by name or in the host's.
func ip(namespace, commands string) error {
	for line := range strings.Lines(commands) {
		args := strings.Fields(line)
		if namespace != "" {
			args = append([]string{"-n", namespace}, args...)
		}
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// at runs f in a namespace. What f opens stays there.
func at(namespace string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		target, err := os.Open("/run/netns/" + namespace)
		if err != nil {
			result <- err
			return
		}
		defer target.Close()
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter %s: %w", namespace, err)
			return
		}
		result <- f()
	}()
	return <-result
}
