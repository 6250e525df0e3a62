package gvisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/client"
	"gvisor.dev/gvisor/pkg/sentry/control"
	"gvisor.dev/gvisor/pkg/sentry/pgalloc"
	"gvisor.dev/gvisor/runsc/boot"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/sandbox"
	"gvisor.dev/gvisor/runsc/specutils"

	"shoal/internal/runtime"
	"shoal/internal/runtime/console"
	"shoal/internal/telemetry"
)

// Prepare starts the kernel without a guest.
func (d *Driver) Prepare(ctx context.Context, s runtime.Spec) (runtime.Shell, error) {
	g, err := d.create(ctx, s)
	if err != nil {
		return nil, err
	}
	return &shell{g}, nil
}

// shell is a kernel that runs no tasks yet.
type shell struct{ guest *guest }

var _ runtime.Shell = (*shell)(nil)

func (s *shell) Start(ctx context.Context) (runtime.Guest, error) { return s.boot(ctx, false, "", nil) }

func (s *shell) Restore(
	ctx context.Context, checkpoint string, volumes []runtime.Volume,
) (runtime.Guest, error) {
	return s.boot(ctx, true, checkpoint, volumes)
}

func (s *shell) boot(
	ctx context.Context, restore bool, checkpoint string, volumes []runtime.Volume,
) (runtime.Guest, error) {
	g := s.guest
	if g.ended() {
		return nil, runtime.ErrGone
	}
	err := g.holdVolumes(ctx, volumes)
	if err == nil {
		err = g.boot(ctx, g.driver.conf, restore, checkpoint)
	}
	if err != nil {
		ended := g.hasEnded()
		err = errors.Join(err, g.Kill(context.WithoutCancel(ctx)))
		if ended {
			err = fmt.Errorf("%w: the sandbox kernel %s: %w", runtime.ErrGone, howEnded(g.exit), err)
		}
		return nil, err
	}
	return g, nil
}

func (s *shell) Kill(ctx context.Context) error { return s.guest.Kill(ctx) }

func (s *shell) Done() <-chan struct{} { return s.guest.done }

// create starts the guest's kernel in its cgroup, without the guest. If the kernel ends
// before it is ready, it is started once more: it has used up nothing, and what ended it is
// a fault of the moment, like a host without memory.
func (d *Driver) create(ctx context.Context, s runtime.Spec) (*guest, error) {
	defer telemetry.Begin(ctx, "kernel_create")()
	spec := d.buildSpec(s)
	if err := writeBundle(s.Dir, spec); err != nil {
		return nil, err
	}
	g, err := d.createOnce(ctx, s, spec)
	if !errors.As(err, new(*sandbox.EndedError)) || ctx.Err() != nil {
		return g, err
	}
	d.log.Warn("a sandbox kernel ended before it was ready; another is tried", "guest", s.ID, "error", err)
	_ = os.Remove(filepath.Join(s.Dir, panicFile)) // these words were the first one's
	return d.createOnce(ctx, s, spec)
}

func (d *Driver) createOnce(ctx context.Context, s runtime.Spec, spec *specs.Spec) (*guest, error) {
	if err := d.cgroups.create(s.ID, s.Resources, s.Background); err != nil {
		return nil, err
	}
	box, upper, err := d.newSandbox(s, spec)
	if err != nil {
		return nil, errors.Join(startFailure(s.Dir, err), d.cgroups.remove(context.WithoutCancel(ctx), s.ID))
	}
	g, err := d.newGuest(s, spec, box, upper)
	if err != nil {
		return nil, errors.Join(err, box.DestroyContainer(s.ID),
			d.cgroups.remove(context.WithoutCancel(ctx), s.ID))
	}
	if err := g.settleIn(); err != nil {
		return nil, errors.Join(err, g.Kill(context.WithoutCancel(ctx)))
	}
	return g, nil
}

// startFailure says how a new kernel ended, if it did, and what it said last.
func startFailure(dir string, err error) error {
	var ended *sandbox.EndedError
	if errors.As(err, &ended) {
		how := howEnded(ended.Status)
		if how == "" {
			how = "ended with exit code 0"
		}
		err = fmt.Errorf("it %s (%w)", how, err)
	}
	if words := readPanic(dir); words != "" {
		err = fmt.Errorf("%w; its last words: %s", err, words)
	}
	return fmt.Errorf("start the sandbox kernel: %w", err)
}

// settleIn moves a new kernel into its cgroup and records it.
func (g *guest) settleIn() error {
	pids, err := descendants(g.pid)
	if err != nil {
		return err
	}
	if err := g.driver.cgroups.enter(g.spec.ID, g.pid, pids); err != nil {
		return err
	}
	protectKernel(g.pid, pids)
	return g.save()
}

// newSandbox executes the kernel with the image and a new writable layer, and returns when
// its control server answers.
func (d *Driver) newSandbox(s runtime.Spec, spec *specs.Spec) (*sandbox.Sandbox, *os.File, error) {
	kernel, err := d.kernelPath(s.Kernel)
	if err != nil {
		return nil, nil, err
	}
	images, err := openAll(s.Root.Images())
	if err != nil {
		return nil, nil, fmt.Errorf("open the root image: %w", err)
	}
	defer closeAll(images)
	upper, err := unnamedFile(s.UpperDir)
	if err != nil {
		return nil, nil, fmt.Errorf("make the writable layer: %w", err)
	}
	defer upper.Close()
	// The probe shows how much the layer has grown; it does not keep the guest alive.
	probe, err := reopenPath(upper)
	if err != nil {
		return nil, nil, fmt.Errorf("make the writable layer: %w", err)
	}
	output, err := console.Open(s.Dir)
	if err != nil {
		probe.Close()
		return nil, nil, fmt.Errorf("open the console: %w", err)
	}
	defer output.Close()
	input, err := emptyInput(s.Dir)
	if err != nil {
		probe.Close()
		return nil, nil, fmt.Errorf("make the guest's standard input: %w", err)
	}
	defer input.Close()

	args := &sandbox.Args{
		ID:                  s.ID,
		Spec:                withUpper(spec, s.Upper),
		BundleDir:           s.Dir,
		IOFiles:             images,
		GoferFilestoreFiles: []*os.File{upper},
		GoferMountConfs:     mountConfs(s, spec),
		MountHints:          &boot.PodMountHints{},
		Cgroup:              guestLimits(s.Resources),
		Started:             func(pid int) error { return d.cgroups.begin(s.ID, pid) },
	}
	box, err := d.execute(kernel, input, output, args)
	if err != nil {
		probe.Close()
		return nil, nil, err
	}
	// The limits were only needed for the kernel's flags.
	box.CgroupJSON.Cgroup = nil
	return box, probe, nil
}

// execute starts a kernel whose first process reads input and writes to output. Both belong
// to nobody afterwards, so they are files of this guest alone.
func (d *Driver) execute(kernel string, input, output *os.File, args *sandbox.Args) (*sandbox.Sandbox, error) {
	d.creating.Lock()
	defer d.creating.Unlock()
	stdin, stdout, stderr, present := os.Stdin, os.Stdout, os.Stderr, specutils.ExePath
	defer func() { os.Stdin, os.Stdout, os.Stderr, specutils.ExePath = stdin, stdout, stderr, present }()
	os.Stdin, os.Stdout, os.Stderr = input, output, output
	if kernel != "" {
		specutils.ExePath = kernel
	}
	conf := *d.conf
	conf.PanicLog = filepath.Join(args.BundleDir, panicFile)
	return sandbox.New(&conf, args)
}

// mountConfs describes the root: the EROFS image under a file-backed, bounded upper layer.
// No other mount has a configuration.
func mountConfs(s runtime.Spec, spec *specs.Spec) specutils.GoferMountConfFlags {
	root := specutils.GoferMountConf{Lower: specutils.Erofs, Upper: specutils.AnonOverlay,
		Size: strconv.FormatInt(s.Resources.DiskMB, 10) + "m"}
	return specutils.GoferMountConfFlags{root}
}

func openAll(paths []string) ([]*os.File, error) {
	var files []*os.File
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func unnamedFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "upper-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	// This is done here, because the kernel's system call filter forbids it.
	pgalloc.IMAWorkAroundForMemFile(f.Fd())
	return f, nil
}

// emptyInput returns a file without a name that has no content and cannot be written. It is
// no pipe, because a checkpoint that was taken with one can only be restored with one, and
// those of earlier versions were taken with the null device.
func emptyInput(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "input"), os.O_CREATE|os.O_RDONLY, 0o400)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// reopenPath returns an O_PATH descriptor of the same file, which is only good for stat.
func reopenPath(f *os.File) (*os.File, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// boot gives the kernel its link and starts the guest, either new or restored.
func (g *guest) boot(ctx context.Context, conf *config.Config, restore bool, checkpoint string) error {
	link, err := linkArgs(g.spec.Link, restore)
	if err != nil {
		return fmt.Errorf("open the guest's link: %w", err)
	}
	defer link.FilePayload.Files[0].Close()
	if restore {
		defer telemetry.Begin(ctx, "guest_restore")()
		if err := firstLine(g.box.Restore(conf, g.oci, g.spec.ID, checkpoint, false,
			false, link)); err != nil {
			return fmt.Errorf("restore the guest: %w", err)
		}
		return nil
	}
	defer telemetry.Begin(ctx, "guest_start")()
	if err := g.call(boot.ContMgrSetNetworkArgs, link, nil); err != nil {
		return fmt.Errorf("give the guest its link: %w", err)
	}
	if err := g.box.StartRoot(hostNetworkConfig(conf), g.oci); err != nil {
		return fmt.Errorf("start the guest: %w", err)
	}
	return g.limitProcesses()
}

// limitProcesses sets pids.max of the container's cgroup inside the sandbox. A pids limit
// on the host would kill the sandbox instead of refusing a fork.
func (g *guest) limitProcesses() error {
	if g.spec.MaxProcesses == 0 {
		return nil
	}
	file := control.CgroupControlFile{Controller: "pids", Path: boot.GuestCgroup, Name: "pids.max"}
	if err := g.box.CgroupsWriteControlFile(file, strconv.Itoa(g.spec.MaxProcesses)); err != nil {
		return fmt.Errorf("limit the guest's processes: %w", err)
	}
	return nil
}

func (g *guest) call(method string, arg, result any) error {
	conn, err := client.ConnectTo(g.box.GetControlSocketPath())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Call(method, arg, result)
}

const gsoMaxSize = 65536 // bytes; the packet socket carries virtio-net headers

func linkArgs(l runtime.Link, restore bool) (*boot.CreateLinksAndRoutesArgs, error) {
	if l.PacketSocket == nil {
		return nil, errors.New("the network slot has no packet socket")
	}
	socket, err := l.PacketSocket()
	if err != nil {
		return nil, err
	}
	subnet := l.Address.Masked()
	any4 := net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	args := &boot.CreateLinksAndRoutesArgs{
		IsRestore:     restore,
		LoopbackLinks: []boot.LoopbackLink{boot.DefaultLoopbackLink},
		FDBasedLinks: []boot.FDBasedLink{{
			Name: "eth0", MTU: l.MTU, NumChannels: 1,
			GSOMaxSize: gsoMaxSize, RXChecksumOffload: true, LinkAddress: l.MAC,
			Addresses: []boot.IPWithPrefix{{Address: l.Address.Addr().AsSlice(),
				PrefixLen: l.Address.Bits()}},
			Routes: []boot.Route{{Destination: net.IPNet{IP: subnet.Addr().AsSlice(),
				Mask: net.CIDRMask(subnet.Bits(), 32)}}},
		}},
		Defaultv4Gateway: boot.DefaultRoute{Name: "eth0",
			Route: boot.Route{Destination: any4, Gateway: l.Gateway.AsSlice()}},
	}
	args.FilePayload.Files = []*os.File{socket}
	return args, nil
}

// protectKernel makes the host's out-of-memory killer prefer a guest's process to its
// kernel, whose end would end the sandbox.
func protectKernel(pid int, pids []int) {
	// Best effort: a host that forbids it loses nothing but the preference.
	for _, p := range pids {
		score := "1000"
		if p == pid {
			score = "-500"
		}
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", p), []byte(score), 0)
	}
}

// firstLine strips the stacks that a kernel adds to its error when it cannot read or write a
// checkpoint. errors.Is still finds the original.
func firstLine(err error) error {
	if err == nil {
		return nil
	}
	text, _, cut := strings.Cut(err.Error(), "\n")
	if !cut {
		return err
	}
	return &shortError{text: strings.TrimSuffix(text, ":"), error: err}
}

type shortError struct {
	text string
	error
}

func (e *shortError) Error() string { return e.text }
func (e *shortError) Unwrap() error { return e.error }
