// Command shoal is the whole product: all roles, the sandbox kernel and the guest daemon
// in one static binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"shoal/internal/certificate"
	"shoal/internal/config"
	"shoal/internal/descriptors"
	"shoal/internal/runtime/gvisor/pin"
	"shoal/internal/shoal"
)

// version is set by the linker.
var version = "dev"

// commands is the command line. All commands share the settings.
type commands struct {
	config.Config
	ConfigFile kong.ConfigFlag `name:"config" placeholder:"FILE" help:"Configuration file; lines of name = value with the names of these flags."`

	Up           upCmd           `cmd:"" help:"Run every role in this process: a sandbox cloud on one machine."`
	Down         downCmd         `cmd:"" help:"End everything that 'up' left running: sandboxes, namespaces, links, rules."`
	API          apiCmd          `cmd:"" name:"api" help:"Run the REST control plane only."`
	Orchestrator orchestratorCmd `cmd:"" help:"Run the orchestrator of this machine only."`
	Proxy        proxyCmd        `cmd:"" help:"Run the sandbox traffic proxy only."`
	Doctor       doctorCmd       `cmd:"" help:"Check what this machine needs, with cause and fix of each failure."`
	GC           gcCmd           `cmd:"" name:"gc" help:"Remove unused builds, snapshots, images and kernels."`
	Trust        trustCmd        `cmd:"" help:"Let this machine trust the certificates of --tls=local."`
	Key          keyCmd          `cmd:"" help:"Make, list and remove API keys."`
	Team         teamCmd         `cmd:"" help:"Make teams, and say who is in them and what they may."`
	Tier         tierCmd         `cmd:"" help:"List, add and change tiers, which are named sets of limits."`
	Switch       switchCmd       `cmd:"" help:"List features that can be switched off, and switch them, for all or for a team."`
	User         userCmd         `cmd:"" help:"Make users, and say by what they come in."`
	Service      serviceCmd      `cmd:"" help:"Make service accounts, which are programs with a role in a team, and their keys."`
	Audit        auditCmd        `cmd:"" help:"List and export the audit log: who did what."`
	Event        eventCmd        `cmd:"" help:"List and follow what happens to a team's sandboxes."`
	Connections  connectionsCmd  `cmd:"" help:"List the connections of a sandbox that were decided about by name."`
	Webhook      webhookCmd      `cmd:"" help:"List, add and remove webhooks, and see what was sent to them."`
	Secret       secretCmd       `cmd:"" help:"List, set and remove secrets of a team, and change the key that seals."`
	Identity     identityCmd     `cmd:"" help:"Change the key that signs identities of sandboxes."`
	Volume       volumeCmd       `cmd:"" help:"List, make and remove volumes, and measure what is in them."`
	Template     templateCmd     `cmd:"" help:"Build the templates that Shoal ships."`
	Image        imageCmd        `cmd:"" help:"Import, list and remove the images that templates are built from."`
	Firecracker  firecrackerCmd  `cmd:"" help:"Import, list and remove builds of Firecracker, which microVMs run under."`
	Kernel       kernelCmd       `cmd:"" help:"Import, prepare, list and remove the kernels of microVMs."`
	Migrate      migrateCmd      `cmd:"" help:"Say what the database's schema is, and bring it up to date."`
	Backup       backupCmd       `cmd:"" help:"Write all records of the database to a file."`
	Restore      restoreCmd      `cmd:"" help:"Fill an empty database with the records of a backup."`
	SetLogLevel  logLevelCmd     `cmd:"" name:"log-level" help:"Show or change what the running processes of this machine log."`
	Check        checkCmd        `cmd:"" help:"Check the configuration and print it."`
	Version      versionCmd      `cmd:"" help:"Print the version."`
	Egress       egressCmd       `cmd:"" hidden:""`
}

func main() { os.Exit(run()) }

func run() int {
	if err := descriptors.KeepInherited(); err != nil {
		report(os.Stderr, err)
		return 1
	}
	var c commands
	parser := kong.Must(&c,
		kong.Name("shoal"),
		kong.Description("A self-hosted, E2B-compatible sandbox cloud."),
		kong.UsageOnError(),
		kong.DefaultEnvars(config.EnvPrefix),
		kong.Configuration(config.LoadFile, config.DefaultFile),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	kctx, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	if err := c.Config.Check(); err != nil {
		fmt.Fprintf(os.Stderr, "shoal: the configuration is wrong:\n%v\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	limitMemory()
	kctx.BindTo(ctx, (*context.Context)(nil))
	// The runtime replaces os.Stderr, so errors are reported on a copy of it.
	stderr := os.NewFile(uintptr(copyDescriptor(os.Stderr)), "stderr")
	err = kctx.Run(&c.Config, &c)
	if failed := auditCommand(ctx, kctx, &c, err); failed != nil {
		report(stderr, failed)
	}
	if err != nil {
		report(stderr, err)
		return 1
	}
	return 0
}

// report prints an error, with its cause and fix if they are known.
func report(w io.Writer, err error) {
	if errors.Is(err, errReported) {
		return
	}
	fmt.Fprintf(w, "shoal: %v\n", err)
	var known *shoal.Error
	if errors.As(err, &known) {
		fmt.Fprintf(w, "  code:  %s\n  cause: %s\n  fix:   %s\n", known.Code, known.Cause, known.Fix)
	}
}

// errReported means that the command has already told the user what is wrong.
var errReported = errors.New("reported")

type versionCmd struct{}

func (versionCmd) Run() error {
	fmt.Printf("shoal %s (gVisor %s)\n", version, pin.Version)
	return nil
}

type checkCmd struct{}

// Run prints the settings, which main has checked, and how features stand. It exits with 1 if
// clients refuse the certificate that the settings name.
func (checkCmd) Run(ctx context.Context, cfg *config.Config) error {
	for _, line := range cfg.Lines() {
		fmt.Println(line)
	}
	err := printSwitches(ctx, cfg)
	_, wrong := certificate.Inspect(cfg, time.Now())
	for _, f := range wrong {
		fmt.Fprintf(os.Stderr, "shoal: %s\n  fix:   %s\n", f.Problem, f.Fix)
		if f.Fatal {
			err = errReported
		}
	}
	return err
}
