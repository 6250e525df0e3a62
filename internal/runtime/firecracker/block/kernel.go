package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The kernel's client is commanded by generic netlink: linux/nbd-netlink.h.
const (
	familyName = "nbd"

	nlConnect     = 1
	nlDisconnect  = 2
	nlReconfigure = 3

	attrIndex       = 1
	attrSize        = 2
	attrBlockSize   = 3
	attrTimeout     = 4
	attrServerFlags = 5
	attrSockets     = 7
	attrDeadTimeout = 8
	attrBackend     = 10

	attrSocketItem = 1
	attrSocketFD   = 1
)

// UnavailableError says why the kernel serves no disks over NBD here, and what mends it.
type UnavailableError struct {
	Cause string
	Fix   string
	Full  bool  // the client is there, and has no device left
	Err   error // may be nil
}

// Error has cause and fix.
func (e *UnavailableError) Error() string {
	text := e.Cause
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text + "; " + e.Fix
}

// Unwrap returns the underlying error.
func (e *UnavailableError) Unwrap() error { return e.Err }

const fixModule = "run `modprobe nbd nbds_max=0 max_part=0`, and write `nbd` to /etc/modules-load.d/nbd.conf and " +
	"`options nbd nbds_max=0 max_part=0` to /etc/modprobe.d/nbd.conf"

// ErrNoModule is that of a kernel without an NBD client.
func ErrNoModule() error {
	return &UnavailableError{Cause: "the kernel's nbd module is not loaded", Fix: fixModule}
}

// ErrNoDevice is that of a kernel whose devices are all in use, so many of which can be seen.
func ErrNoDevice(inUse int) error {
	return &UnavailableError{
		Cause: fmt.Sprintf("the kernel has no free NBD device, and makes none; %d are in use", inUse), Full: true,
		Fix: "end sandboxes or what else uses devices (`lsblk`), load nbd with max_part=0, which leaves numbers for more, and look at `dmesg`"}
}

// Kernel is the kernel's NBD client. It has no state of its own.
type Kernel struct {
	sys string // where sysfs is
	dev string // where devices are
}

// NewKernel returns the client of this machine's kernel, whether it can be used or not.
func NewKernel() *Kernel { return &Kernel{sys: "/sys", dev: "/dev"} }

// Check tells whether disks can be attached: nil, or an UnavailableError.
func (k *Kernel) Check() error {
	c, _, err := k.dial()
	if err != nil {
		return err
	}
	return c.Close()
}

func (k *Kernel) dial() (*genetlink.Conn, genetlink.Family, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, genetlink.Family{}, fmt.Errorf("netlink: %w", err)
	}
	family, err := c.GetFamily(familyName)
	if err == nil {
		return c, family, nil
	}
	c.Close()
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, family, fmt.Errorf("netlink: %w", err)
	}
	if _, err := os.Stat(k.sys + "/module/nbd"); err == nil {
		return nil, family, &UnavailableError{
			Cause: "the kernel's NBD client does not answer, though its module is loaded",
			Fix:   "run Shoal in the host's network namespace: the client answers in no other",
		}
	}
	return nil, family, ErrNoModule()
}

// execute sends one command. Each has a connection of its own, so that no answer is taken for another's.
func (k *Kernel) execute(ctx context.Context, command uint8, acknowledged bool, attributes func(*netlink.AttributeEncoder)) ([]genetlink.Message, error) {
	c, family, err := k.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, fmt.Errorf("netlink: %w", err)
		}
	}
	encoder := netlink.NewAttributeEncoder()
	attributes(encoder)
	data, err := encoder.Encode()
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	flags := netlink.Request
	if acknowledged { // the others answer by themselves
		flags |= netlink.Acknowledge
	}
	return c.Execute(genetlink.Message{Header: genetlink.Header{Command: command, Version: 1}, Data: data}, family.ID, flags)
}

// attachment is what the kernel is told of a device.
type attachment struct {
	size        int64
	backend     string
	timeout     time.Duration // for a reply; whole seconds
	deadTimeout time.Duration // for another server
}

// connect gives a socket to a free device, which the kernel finds or makes, and returns its number.
func (k *Kernel) connect(ctx context.Context, socket *os.File, a attachment) (int, error) {
	answers, err := k.execute(ctx, nlConnect, false, func(e *netlink.AttributeEncoder) {
		e.Uint64(attrSize, uint64(a.size))
		e.Uint64(attrBlockSize, Size)
		e.Uint64(attrTimeout, uint64(a.timeout/time.Second))
		e.Uint64(attrDeadTimeout, uint64(a.deadTimeout/time.Second))
		e.Uint64(attrServerFlags, transmissionFlags)
		e.String(attrBackend, a.backend)
		encodeSocket(e, socket)
	})
	if err != nil {
		return 0, k.explain("attach a disk", err)
	}
	for _, answer := range answers {
		decoder, err := netlink.NewAttributeDecoder(answer.Data)
		if err != nil {
			return 0, fmt.Errorf("attach a disk: %w", err)
		}
		for decoder.Next() {
			if decoder.Type() == attrIndex {
				return int(decoder.Uint32()), nil
			}
		}
	}
	return 0, errors.New("attach a disk: the kernel does not tell which device it has taken")
}

// reconnect gives a new socket to a device whose last one is dead. It is unix.ENOSPC as long as the
// kernel has not seen that.
func (k *Kernel) reconnect(ctx context.Context, index int, socket *os.File, backend string) error {
	_, err := k.execute(ctx, nlReconfigure, true, func(e *netlink.AttributeEncoder) {
		e.Uint32(attrIndex, uint32(index))
		e.String(attrBackend, backend)
		encodeSocket(e, socket)
	})
	return err
}

func encodeSocket(e *netlink.AttributeEncoder, socket *os.File) {
	e.Nested(attrSockets, func(e *netlink.AttributeEncoder) error {
		e.Nested(attrSocketItem, func(e *netlink.AttributeEncoder) error {
			e.Uint32(attrSocketFD, uint32(socket.Fd()))
			return nil
		})
		return nil
	})
}

// Disconnect ends what is attached as /dev/nbdN. What was not written is lost, and an error to who has
// it open. It is no error if nothing is attached.
func (k *Kernel) Disconnect(ctx context.Context, index int) error {
	_, err := k.execute(ctx, nlDisconnect, true, func(e *netlink.AttributeEncoder) {
		e.Uint32(attrIndex, uint32(index))
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // there is no such device, or it is free
		return nil
	}
	if err != nil {
		return k.explain("detach a disk", err)
	}
	return nil
}

// explain adds cause and fix to an error of the kernel.
func (k *Kernel) explain(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		err = &UnavailableError{Cause: "only root may attach disks", Fix: "run Shoal as root", Err: err}
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINVAL):
		attached, _ := k.Attached()
		err = fmt.Errorf("%w (%w)", ErrNoDevice(len(attached)), err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Attached is a device that something is attached to.
type Attached struct {
	Index   int
	Path    string // of the device
	Size    int64  // bytes
	PID     int    // of what attached it, which may be gone
	Backend string // what that called it; empty if it did not
}

// Attached lists all devices in use, by anybody.
func (k *Kernel) Attached() ([]Attached, error) {
	dirs, err := filepath.Glob(k.sys + "/block/nbd[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list NBD devices: %w", err)
	}
	var all []Attached
	for _, dir := range dirs {
		index, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "nbd"))
		if err != nil {
			continue
		}
		pid, err := readNumber(dir + "/pid")
		if err != nil { // nothing is attached, or not any more
			continue
		}
		sectors, _ := readNumber(dir + "/size")
		backend, _ := os.ReadFile(dir + "/backend")
		all = append(all, Attached{Index: index, Path: k.path(index), Size: sectors * 512, PID: int(pid),
			Backend: strings.TrimSpace(string(backend))})
	}
	return all, nil
}

func readNumber(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// Find returns the device with a backend of that name.
func (k *Kernel) Find(backend string) (Attached, bool, error) {
	all, err := k.Attached()
	for _, a := range all {
		if a.Backend == backend {
			return a, true, nil
		}
	}
	return Attached{}, false, err
}

// Reclaim detaches all devices whose backend begins with a prefix, such as that of an installation, and is
// not in use. It is for what a crash has left, and returns how many those were.
func (k *Kernel) Reclaim(ctx context.Context, prefix string, inUse func(backend string) bool) (int, error) {
	all, err := k.Attached()
	if err != nil {
		return 0, err
	}
	ended := 0
	var errs []error
	for _, a := range all {
		if prefix == "" || !strings.HasPrefix(a.Backend, prefix) || inUse(a.Backend) {
			continue
		}
		if err := k.Disconnect(ctx, a.Index); err != nil {
			errs = append(errs, err)
			continue
		}
		ended++
	}
	return ended, errors.Join(errs...)
}

// knows tells whether the kernel keeps what a device is called, without which no server would find it again.
func (k *Kernel) knows(index int, backend string) error {
	path := fmt.Sprintf("%s/block/nbd%d/backend", k.sys, index)
	text, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(text)) == backend {
		return nil
	}
	return &UnavailableError{Cause: "the kernel does not keep the names of NBD devices", Fix: "run Linux 5.14 or later", Err: err}
}

// tune bounds what the kernel has under way, so that none of it waits long behind the rest: a request that
// gets no reply in time is sent again.
func (k *Kernel) tune(index int) error {
	path := fmt.Sprintf("%s/block/nbd%d/queue/nr_requests", k.sys, index)
	if err := os.WriteFile(path, []byte("32"), 0o644); err != nil {
		return fmt.Errorf("set up a disk's queue: %w", err)
	}
	return nil
}

func (k *Kernel) path(index int) string { return fmt.Sprintf("%s/nbd%d", k.dev, index) }

// node makes the device's file where nothing has done that, as in a container.
func (k *Kernel) node(index int) (string, error) {
	path := k.path(index)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("%s/block/nbd%d/dev", k.sys, index))
	if err != nil {
		return "", fmt.Errorf("the number of %s: %w", path, err)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
		return "", fmt.Errorf("the number of %s: %w", path, err)
	}
	err = unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return "", fmt.Errorf("make %s: %w", path, err)
	}
	return path, nil
}
