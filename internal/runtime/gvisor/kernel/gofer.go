package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/lisafs"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/unet"
	"gvisor.dev/gvisor/runsc/cmd/sandboxsetup"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/fsgofer"
	"gvisor.dev/gvisor/runsc/fsgofer/filter"
	filterconfig "gvisor.dev/gvisor/runsc/fsgofer/filter/config"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"shoal/internal/volume/enclosure"
	"shoal/internal/volume/meter"
)

// Numbers of the files that a gofer is started with.
const (
	goferSocket  = 3
	goferCounter = 4 // of what is written; there is none without a bound
)

// goferCapabilities are what a gofer may do with files whose owners it acts for.
var goferCapabilities = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID"}

// runGofer serves a directory to one guest's kernel until that has gone. It is started in a
// mount namespace of its own, in which it keeps nothing but the directory. limit is how many bytes may be
// in that; 0 is no bound.
func runGofer(dir string, limit int64) error {
	log.SetTarget(log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}})
	unix.Umask(0) // modes come from the guest, whose mask is in them already
	if err := errors.Join(openOwnDescriptors(), openMeter(limit)); err != nil {
		return err
	}
	wanted := &specs.LinuxCapabilities{Bounding: goferCapabilities, Effective: goferCapabilities,
		Permitted: goferCapabilities}
	capabilities, err := sandboxsetup.ResolveThreadCaps(wanted, nil)
	if err != nil {
		return fmt.Errorf("find the capabilities: %w", err)
	}
	if err := enclosure.Enter(dir); err != nil {
		return err
	}
	if err := capabilities.Apply(nil); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := filter.Install(filterconfig.OfVolumes(config.CgoEnabled)); err != nil {
		return fmt.Errorf("install the system call filter: %w", err)
	}
	return serveGofer()
}

func serveGofer() error {
	socket, err := unet.NewSocket(goferSocket)
	if err != nil {
		return fmt.Errorf("open the socket: %w", err)
	}
	server := lisafs.NewServer()
	server.SetHandlers(lisafs.HandlersOfVolumes())
	conn, err := server.CreateConnection(socket, "/", fsgofer.ConnectionOpts(false),
		fsgofer.NewConnectionImpl(&fsgofer.Config{}))
	if err != nil {
		return fmt.Errorf("open the connection: %w", err)
	}
	server.StartConnection(conn)
	server.Wait()
	return nil
}

// openMeter bounds what is written, unless there is no bound.
func openMeter(limit int64) error {
	if limit == 0 {
		return nil
	}
	counter := os.NewFile(goferCounter, "counter")
	defer counter.Close()
	m, err := meter.Open(counter, limit, "/")
	if err == nil {
		lisafs.OnGrant = func(want int64) (int64, error) { return m.Take(want, 0) }
	}
	return err
}

// openOwnDescriptors opens the directory of this process's descriptors as a mount of its own,
// from which no path leads to the rest of /proc.
func openOwnDescriptors() error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/proc/self/fd", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open the list of descriptors: %w", err)
	}
	defer unix.Close(fd)
	return fsgofer.OpenProcSelfFD(fmt.Sprintf("/proc/self/fd/%d", fd))
}
