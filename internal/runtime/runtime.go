// Package runtime is the isolation interface: what the orchestrator asks of
// whatever runs a guest. Its implementations are in the packages below it.
package runtime

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"shoal/internal/shoal"
)

var (
	// ErrGone means that the guest does not run (any more).
	ErrGone = errors.New("guest is gone")
	// ErrUnfit means that a checkpoint cannot be restored by what this machine has: its
	// runtime, the runtime's version, or the kernel that it is bound to. Trying again is
	// of no use.
	ErrUnfit = errors.New("the checkpoint does not fit this machine's runtime")
)

// Spec describes one boot of a guest.
type Spec struct {
	// ID is unique on the machine among everything that ever ran since boot;
	// 1 to 60 characters of [a-zA-Z0-9_-].
	ID string
	// Dir is an existing private host directory for the runtime's own files of
	// this guest. The caller removes it after the guest is gone.
	Dir string
	// UpperDir is an existing host directory on a disk; the backing file of the
	// guest's writable layer is made in it, unnamed.
	UpperDir string
	// Root is the guest's root file system. Its images must not change while guests
	// or snapshots use them.
	Root Root
	// Upper is the path of what Guest.Upper wrote, with which the writable layer
	// begins. Empty means an empty layer. A restored guest has its layer already.
	Upper string
	// Kernel is the program that runs the guest, as Maker.Kernel names it. Empty means
	// the present one.
	Kernel    string
	Hostname  string
	Resources shoal.Resources
	// Background makes the guest leave the host's processors to others that want them.
	// It has all of its Resources where nobody does.
	Background bool
	// MaxProcesses bounds processes and threads inside the guest.
	MaxProcesses int
	First        Process // whose end is the guest's
	Link         Link
}

// Volume is a directory of the host that guests share.
type Volume struct {
	// ID names it in checkpoints. A guest has each ID once.
	ID string
	// Dir is the host's directory.
	Dir string
	// Path is an absolute path in the guest, without . and ...
	Path string
	// Bytes bounds what is in the volume, if it is more than 0; Counter is the path of a file by
	// which all who write to the volume on this machine count together (see package meter).
	Bytes   int64
	Counter string
}

// Process is a program to run in a guest.
type Process struct {
	Args []string // Args[0] is its path in the guest
	Env  []string // NAME=value
}

// Maker identifies what took a checkpoint, and so what can restore it.
type Maker struct {
	// Runtime is the runtime's name.
	Runtime string `json:"runtime"`
	// Version is the runtime's, in a form of its own. Empty if it is not known.
	Version string `json:"version"`
	// Kernel names the program that ran the guest. Empty if the runtime has only one.
	Kernel string `json:"kernel"`
}

// Root is the paths of the images that a root file system consists of, lowest
// first, joined by colons as in $PATH.
type Root string

// NewRoot joins paths that contain no colon.
func NewRoot(paths ...string) Root { return Root(strings.Join(paths, ":")) }

// Images returns the paths, lowest first.
func (r Root) Images() []string { return strings.Split(string(r), ":") }

// Link is the guest's network interface, and the two ways in which a runtime can hold the
// other end of its wire.
type Link struct {
	Address netip.Prefix // of the guest
	Gateway netip.Addr
	MAC     net.HardwareAddr // of the guest
	MTU     int              // bytes
	// Namespace is the path of the network namespace in which the wire ends.
	Namespace string
	// PacketSocket opens a new packet socket on the wire, for a runtime with a network
	// stack of its own. Nil if the slot has none.
	PacketSocket func() (*os.File, error)
	// Tap makes the wire end at a tap device in Namespace, for a runtime whose guests have a
	// network card, and returns its name. The user with the ID may open it. After it there are
	// no packet sockets. Nil if the slot has none.
	Tap func(uid int) (name string, err error)
}

// Stats is what the host sees a guest use.
type Stats struct {
	MemoryBytes int64 // charged to the guest by the host, page cache included
	HeldBytes   int64 // of that, what the host cannot take back while the guest keeps it
	DiskBytes   int64 // allocated by the writable layer
}

// EndedProcess is a process that a guest lost for its memory; the zero value is none.
type EndedProcess struct {
	PID   int    // in the guest
	Name  string // of its program, as the guest has it
	Bytes int64  // what was resident of it
}

// Runtime runs guests on this machine. runtimetest.Run holds an implementation to what is
// promised here.
type Runtime interface {
	// Maker is what takes the checkpoints of guests that start now.
	Maker() Maker
	// Volumes reports whether guests can have volumes, by Guest.Mount and Restore.
	Volumes() bool
	// Fits tells whether a checkpoint can be restored here: nil, or an ErrUnfit that
	// says why not.
	Fits(made Maker) error
	// Prepare starts the kernel of a guest without the guest, which the shell then starts or
	// restores. It costs most of the time of a start, and can be done before it is known what the
	// guest will be. If it fails, nothing is left.
	Prepare(ctx context.Context, spec Spec) (Shell, error)
	// Adopt takes over a guest that outlived the process that started it. Spec
	// is the one it was started with. A guest that does not run is ErrGone.
	Adopt(ctx context.Context, spec Spec) (Guest, error)
	// Reclaim ends and removes every guest that inUse does not name.
	Reclaim(ctx context.Context, inUse func(id string) bool) error
	// RemoveKernels removes the programs of earlier versions that needed does not name,
	// and returns how many those were and their size in bytes.
	RemoveKernels(needed func(kernel string) bool) (removed int, bytes int64, err error)
	// RemoveRoots removes what was made of root images and is none of the needed roots', nor any
	// guest's, unless it was used after a time. It returns how many those were and their size in bytes.
	// What was removed is made again when a guest needs it.
	RemoveRoots(needed []Root, before time.Time) (removed int, bytes int64, err error)
}

// Shell is a kernel that waits for the guest of the specification that it was prepared with.
// Start or Restore may be called, once. When it fails, the shell is gone and nothing is left.
type Shell interface {
	// Start boots the guest. It returns when the guest's first process runs; waiting for the
	// daemon inside is the caller's.
	Start(ctx context.Context) (Guest, error)
	// Restore brings the guest back from a directory that Guest.Checkpoint filled, with the
	// same Root. Spec.Kernel is the one that took the checkpoint. Of the volumes that the
	// guest had, it has those that are given, with the files that it had open if they are
	// still there; every use of the others is an error to it until they are mounted again.
	Restore(ctx context.Context, checkpoint string, volumes []Volume) (Guest, error)
	// Kill ends an unused shell.
	Kill(ctx context.Context) error
	Done() <-chan struct{}
}

// Guest is one run of processes, isolated from the host and from other guests.
type Guest interface {
	// Freeze stops every task; Thaw lets them go on. Freezing a frozen guest and
	// thawing a running one do nothing, also on a guest that was adopted.
	Freeze(ctx context.Context) error
	Thaw(ctx context.Context) error
	// Checkpoint writes memory and writable layer into the empty directory dir.
	// A frozen guest stays frozen; a running one stands still meanwhile and then
	// goes on. Both also hold when Checkpoint fails.
	Checkpoint(ctx context.Context, dir string) error
	// Upper writes the writable layer to a file, in a form that any version of the
	// runtime can start from. The guest must be frozen, or nothing may write to it.
	Upper(ctx context.Context, to *os.File) error
	// Changes writes to an empty file what the guest has changed of its root, as the tar that package
	// image reads as a layer (image.FromTar): with the root's images it is what the guest has. A layer is
	// of no runtime. What is not on the root's disk is left out: what is mounted, sockets. The guest's
	// processes stand still meanwhile; those of a frozen guest stay so.
	Changes(ctx context.Context, to *os.File) error
	Stats(ctx context.Context) (Stats, error)
	// Mount shows a volume to the guest, which may be frozen. What the guest or another
	// writes to it is seen by all at once. It does nothing if the volume is mounted at its
	// path and answers; a volume at that path that does not is replaced.
	Mount(ctx context.Context, v Volume) error
	// CPUTime is the processor time charged to the guest by the host. Asking is cheap.
	CPUTime() time.Duration
	// Yield makes the guest leave the host's processors to guests that do not yield, or
	// compete with them again. Where nobody else wants them it has all of its own. A host
	// that cannot do that is an errors.ErrUnsupported.
	Yield(yields bool) error
	// Foreground ends what Spec.Background began.
	Foreground() error
	// EndLargest ends the process that uses most of the guest's memory, as Linux does when
	// memory runs out, and returns when the host has most of that back, or when for two seconds
	// no more of it has come; after half a minute in any case.
	// A process that must not be ended, by its score or as the guest's first one, is spared;
	// if there is no other, nothing is ended.
	EndLargest(ctx context.Context) (EndedProcess, error)
	// Tidy bounds what the host holds for a running guest. It is to be called every few
	// seconds, and cheap.
	Tidy()
	// Kill ends the guest and returns when nothing of it is left on the host.
	Kill(ctx context.Context) error
	// Done is closed when the guest has ended, by Kill or by itself.
	Done() <-chan struct{}
	// Console returns the last lines that the guest's first process wrote and, once
	// it has ended, how.
	Console() string
}
