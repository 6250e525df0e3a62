package firecracker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"shoal/internal/atomicfile"
	"shoal/internal/envdapi"
	"shoal/internal/runtime"
	"shoal/internal/runtime/console"
	"shoal/internal/runtime/firecracker/api"
	"shoal/internal/runtime/firecracker/control"
	"shoal/internal/runtime/firecracker/cpio"
	"shoal/internal/runtime/firecracker/program"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// The names of a guest's devices, the same in every checkpoint.
const (
	rootDrive = "root"
	card      = "eth0"
)

// bootArguments are the kernel's. Nothing of what a guest is in is among them: they are in every
// checkpoint. The console says only what went wrong. Pages are not written with zeros whenever they are
// allocated, as some distributions' kernels do: the host would have to find memory for what is read from the
// disk or given to the balloon.
const bootArguments = "console=ttyS0 quiet loglevel=1 reboot=k panic=1 pci=off i8042.noaux i8042.nomux i8042.nopnp " +
	"i8042.dumbkbd random.trust_cpu=on init_on_alloc=0 rdinit=/init"

// shell is a Firecracker that has no machine yet.
type shell struct{ guest *guest }

var _ runtime.Shell = (*shell)(nil)

// Prepare starts Firecracker in its jail and its attendant, with the slot's link made a tap device.
func (d *Driver) Prepare(ctx context.Context, s runtime.Spec) (runtime.Shell, error) {
	defer telemetry.Begin(ctx, "kernel_create")()
	p, err := d.programOf(s)
	if err != nil {
		return nil, err
	}
	j, err := d.newJail(s)
	if err != nil {
		return nil, err
	}
	g, err := d.begin(ctx, j, p, s)
	if err != nil {
		return nil, errors.Join(err, d.removeLeftovers(context.WithoutCancel(ctx), s.ID))
	}
	return &shell{g}, nil
}

func (d *Driver) begin(ctx context.Context, j *jail, p program.Program, s runtime.Spec) (*guest, error) {
	if s.Link.Tap == nil {
		return nil, errors.New("the network slot has no tap device")
	}
	tap, err := s.Link.Tap(j.UID)
	if err != nil {
		return nil, err
	}
	if err := d.groups.create(s.ID, s.Resources, s.Background); err != nil {
		return nil, err
	}
	output, err := console.Open(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the console: %w", err)
	}
	defer output.Close()
	var attendantEnded <-chan struct{}
	if d.attended { // it begins while Firecracker does
		if attendantEnded, err = d.startAttendant(j); err != nil {
			return nil, err
		}
	}
	if err := d.execute(ctx, j, p, s, output); err != nil { // which writes down all that is to be known of the jail
		return nil, err
	}
	g, err := d.newGuest(s, j, tap)
	if err != nil {
		return nil, err
	}
	if attendantEnded != nil {
		g.watchAttendant(attendantEnded)
	}
	_, err = g.api.Await(ctx, g.done)
	if err == nil {
		err = g.putMetadata(ctx)
	}
	if err != nil {
		return nil, errors.Join(g.explain(err), g.Kill(context.WithoutCancel(ctx)))
	}
	return g, nil
}

func (s *shell) Kill(ctx context.Context) error { return s.guest.Kill(ctx) }

func (s *shell) Done() <-chan struct{} { return s.guest.done }

// Start boots the guest.
func (s *shell) Start(ctx context.Context) (runtime.Guest, error) {
	return s.become(ctx, s.guest.boot)
}

// Restore brings the guest back.
func (s *shell) Restore(
	ctx context.Context, checkpoint string, volumes []runtime.Volume,
) (runtime.Guest, error) {
	return s.become(ctx, func(ctx context.Context) error {
		return s.guest.restore(ctx, checkpoint, volumes)
	})
}

// become makes the guest what a step makes of it. If that fails, nothing of the guest is left.
func (s *shell) become(ctx context.Context, step func(context.Context) error) (runtime.Guest, error) {
	g := s.guest
	if g.ended() {
		return nil, runtime.ErrGone
	}
	if err := step(ctx); err != nil {
		ended := g.ended()
		err = errors.Join(g.explain(err), g.Kill(context.WithoutCancel(ctx)))
		if ended {
			err = fmt.Errorf("%w: %w", runtime.ErrGone, err)
		}
		return nil, err
	}
	return g, nil
}

// explain adds what is known of a failure, and the console's end.
func (g *guest) explain(err error) error {
	err = program.Explain(err, said(console.End(g.spec.Dir))) // a kernel says why before its call trace
	if end := said(console.Read(g.spec.Dir)); end != "" {
		err = fmt.Errorf("%w; its console ends with:\n%s", err, end)
	}
	return err
}

func (g *guest) boot(ctx context.Context) error {
	defer telemetry.Begin(ctx, "guest_start")()
	if err := g.furnish(ctx); err != nil {
		return err
	}
	if err := g.configure(ctx); err != nil {
		return err
	}
	if err := g.api.Start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, g.driver.opts.Patience+bootTime)
	defer cancel()
	l := g.spec.Link
	_, err := g.agent.await(ctx, control.Request{Start: &control.Start{
		Args: g.spec.First.Args, Env: g.spec.First.Env, MaxProcesses: g.spec.MaxProcesses,
		Link:   control.Link{Address: l.Address.String(), Gateway: l.Gateway.String(), MAC: l.MAC.String(), MTU: l.MTU},
		Resume: g.renewal(),
	}}, g.done)
	if err != nil {
		return fmt.Errorf("start the guest's first process: %w", err)
	}
	return nil
}

// entropySize is how many random bytes a guest is given each time it begins.
const entropySize = 64

// renewal is what must not be the same in two guests from one checkpoint, but for the time, which the agent tells.
func (g *guest) renewal() control.Resume {
	entropy := make([]byte, entropySize)
	_, _ = rand.Read(entropy) // never fails
	return control.Resume{Hostname: g.spec.Hostname, Entropy: entropy}
}

// furnish puts into the jail what a boot needs.
func (g *guest) furnish(ctx context.Context) error {
	d, s := g.driver, g.spec
	room := s.Resources.DiskMB
	if s.Upper != "" { // the disk keeps the size that it had
		base, err := baseOf(s.Upper)
		if err != nil {
			return err
		}
		var ok bool
		if room, ok = roomOf(base); !ok || baseName(s.Root, room) != base {
			return fmt.Errorf("%w: the disk belongs to other images", runtime.ErrUnfit)
		}
	}
	if err := g.stand(room); err != nil {
		return err
	}
	if err := g.makeDisk(ctx, s.Upper); err != nil {
		return err
	}
	k, err := d.kernelOf(s)
	if err != nil {
		return err
	}
	if err := place(k.Path, g.jail.path(kernelFile)); err != nil {
		return fmt.Errorf("put the kernel into the jail: %w", err)
	}
	initrd, err := d.initrd(k)
	if err != nil {
		return err
	}
	if err := place(initrd, g.jail.path(initrdFile)); err != nil {
		return fmt.Errorf("put the first root file system into the jail: %w", err)
	}
	return nil
}

// stand finds the base of the guest's disk, with room for so many MiB, and writes down which it is, and that its devices
// have no bounds if so.
func (g *guest) stand(roomMB int64) (err error) {
	g.jail.Base, g.basePath, err = g.driver.bases.get(g.spec.Root, roomMB)
	if err != nil {
		return err
	}
	g.jail.Unlimited = g.driver.opts.Rates == Rates{}
	return g.driver.record(g.jail)
}

// configure tells Firecracker what the machine is.
func (g *guest) configure(ctx context.Context) error {
	r := g.spec.Resources
	for _, step := range []func() error{
		func() error {
			return g.api.SetBootSource(ctx, api.BootSource{Kernel: "/" + kernelFile, Initrd: "/" + initrdFile,
				Arguments: bootArguments})
		},
		func() error {
			return g.api.SetMachine(ctx, api.MachineConfig{CPUs: virtualCPUs(r.CPUCount), MemoryMB: r.MemoryMB, Dirty: true})
		},
		func() error {
			return g.api.SetDrive(ctx, api.Drive{ID: rootDrive, Path: "/" + diskFile, Cache: "Writeback",
				Limiter: limiter(g.driver.opts.Rates.Disk)})
		},
		func() error {
			rate := g.driver.opts.Rates.Network
			return g.api.SetInterface(ctx, api.Interface{ID: card, MAC: g.spec.Link.MAC.String(), Tap: g.tap,
				RxLimiter: limiter(rate), TxLimiter: limiter(rate)})
		},
		func() error {
			return g.api.SetVsock(ctx, api.Vsock{CID: control.GuestCID, Path: "/" + vsockSocket})
		},
		func() error { return g.api.SetEntropy(ctx, api.Entropy{}) },
		func() error { return g.api.SetBalloon(ctx, api.Balloon{DeflateOnOOM: true}) },
		func() error {
			return g.api.SetMMDS(ctx, api.MMDSConfig{Version: "V2", Interfaces: []string{card}})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// limiter bounds a rate in bytes a second; nil does not.
func limiter(rate int64) *api.Limiter {
	if rate <= 0 {
		return nil
	}
	return &api.Limiter{Bandwidth: &api.Bucket{Size: max(rate/10, 1), Refill: 100}}
}

// maxCPUs is Firecracker's limit.
const maxCPUs = 32

// virtualCPUs is how many processors a machine has for so many: one, or an even number. The cgroup
// bounds their time to what was asked for.
func virtualCPUs(n int) int {
	if n > 1 {
		n += n % 2
	}
	return min(max(n, 1), maxCPUs)
}

// putMetadata fills the metadata service with what E2B's daemon asks it for, which Firecracker keeps when it boots a
// machine or loads one. Shoal's daemon has it in its environment.
func (g *guest) putMetadata(ctx context.Context) error {
	facts := envdapi.ReadFacts(func(key string) string {
		for _, entry := range g.spec.First.Env {
			if len(entry) > len(key) && entry[:len(key)] == key && entry[len(key)] == '=' {
				return entry[len(key)+1:]
			}
		}
		return ""
	})
	return g.api.PutMetadata(ctx, map[string]string{"instanceID": facts.SandboxID, "envID": facts.TemplateID,
		"address": "http://" + envdapi.HyperloopIP + "/logs", "accessTokenHash": facts.TokenHash})
}

// initrd returns the path of a kernel's first root file system: its modules, and Shoal's init. It is
// made when a guest first needs it.
func (d *Driver) initrd(k program.Kernel) (string, error) {
	name := d.initrdName(k)
	path := filepath.Join(d.opts.BaseDir, name+initrdSuffix)
	own := d.bases.lock(name)
	own.Lock()
	defer own.Unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := atomicfile.Create(d.opts.BaseDir)
	if err != nil {
		return "", err
	}
	err = d.writeInitrd(f.File, k)
	if err == nil {
		err = f.Commit(path, 0o644, atomicfile.Durable)
	}
	if err = errors.Join(err, f.Discard()); err != nil {
		return "", fmt.Errorf("make the first root file system: %w", err)
	}
	return path, nil
}

func (d *Driver) initrdName(k program.Kernel) string {
	return fmt.Sprintf("%s-%.12s-%s", k.Name, k.Modules, digest(d.opts.Init))
}

func (d *Driver) writeInitrd(f *os.File, k program.Kernel) error {
	if k.Archive != "" {
		modules, err := os.ReadFile(k.Archive)
		if err != nil {
			return shoal.ErrFirecrackerChanged.Wrap(err, "the modules of the kernel %s cannot be read", k.Name)
		}
		if _, err := f.Write(modules); err != nil {
			return err
		}
		// Archives begin at a multiple of four bytes.
		if _, err := f.Write(make([]byte, (4-len(modules)%4)%4)); err != nil {
			return err
		}
	}
	a := cpio.NewWriter(f)
	// The kernel opens the console before the init can make anything.
	const consoleMajor, consoleMinor = 5, 1
	return errors.Join(a.Dir("dev"), a.Device("dev/console", 0o600, consoleMajor, consoleMinor), a.Dir("root"),
		a.File("init", 0o755, d.opts.Init), a.Close())
}
