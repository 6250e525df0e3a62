// Package envd is the daemon inside every sandbox. The platform sets it up by
// POST /init; clients run commands and move files through it. It speaks the
// protocol of E2B's daemon (envd.md) and has one package per subject: process,
// filesystem, transfer, watch, port, access, trust and metrics.
package envd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"shoal/internal/envd/access"
	"shoal/internal/envd/account"
	"shoal/internal/envd/file"
	"shoal/internal/envd/filesystem"
	"shoal/internal/envd/metrics"
	"shoal/internal/envd/port"
	"shoal/internal/envd/process"
	"shoal/internal/envd/report"
	"shoal/internal/envd/settings"
	"shoal/internal/envd/stream"
	"shoal/internal/envd/transfer"
	"shoal/internal/envd/trust"
	"shoal/internal/envd/watch"
	"shoal/internal/envdapi/gen/filesystem/filesystemconnect"
	"shoal/internal/envdapi/gen/process/processconnect"
)

const (
	idleTime  = 640 * time.Second // of a kept-alive connection; longer than the edge keeps it
	drainTime = 2 * time.Second   // for requests in flight when the daemon ends
)

// Config is the daemon's surroundings. DefaultConfig fits a sandbox.
type Config struct {
	Local        bool // E2B_SANDBOX is "false" unless the node states otherwise
	ReapOrphans  bool // it is process 1
	Boots        bool // it stands in for an init system; see boot.go
	ForwardPorts bool // make loopback servers reachable from outside

	Root       string // of what an init system prepares; "" is the file system itself
	HostsFile  string
	RunDir     string // of the identity files
	PasswdFile string
	GroupFile  string
	CABundle   string   // what programs trust
	CAExtra    string   // what update-ca-certificates adds to it; others are in its directory
	Policies   []string // directories in which browsers look for policies
	Sudoers    string   // directory in which sudo looks for rules
	Path       string   // PATH of new processes

	Authority access.Authority
	Log       *slog.Logger
	Report    *report.Queue // sends the log to the node; nil if nobody collects it
	Processes *slog.Logger  // logs what clients start; nil means Log
}

// DefaultConfig is for a daemon that is a sandbox's first process.
func DefaultConfig(log *slog.Logger) Config {
	return Config{
		ReapOrphans:  os.Getpid() == 1,
		Boots:        os.Getpid() == 1,
		ForwardPorts: true,
		HostsFile:    "/etc/hosts",
		RunDir:       "/run/e2b",
		PasswdFile:   "/etc/passwd",
		GroupFile:    "/etc/group",
		CABundle:     "/etc/ssl/certs/ca-certificates.crt",
		CAExtra:      "/usr/local/share/ca-certificates/e2b-ca.crt",
		Policies: []string{"/etc/chromium/policies/managed", "/etc/opt/chrome/policies/managed",
			"/etc/opt/chrome_for_testing/policies/managed"},
		Sudoers:   "/etc/sudoers.d",
		Path:      "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		Authority: access.NewAuthority(),
		Log:       log,
	}
}

// Server is the daemon. Use New, then Run once.
type Server struct {
	config    Config
	log       *slog.Logger
	token     *access.Token
	authority access.Authority
	claimed   *claim // of a guest that was started ahead; held by the init turn
	accounts  *account.Database
	settings  *settings.Settings
	callers   access.Callers

	transfer  *transfer.Handler
	watchers  *watch.Group
	reaper    *process.Reaper
	table     *process.Table
	forwarder *port.Forwarder
	meter     *metrics.Meter
	trust     *trust.Store
	volumes   *volumes
	disk      *disk
	clock     *clock
	machine   machineID

	initTurn   chan struct{} // has a token; guards newestInit and serializes /init
	newestInit time.Time
	eventsMu   sync.Mutex // serializes the rewriting of the hosts file
	identityMu sync.Mutex // serializes the writing of the identity files, machine
	prepareMu  sync.Mutex // serializes prepare

	background sync.WaitGroup // short work that no request waits for
}

// New builds a daemon. It touches nothing outside its own memory, so that Run serves soon.
func New(config Config) *Server {
	s := &Server{
		config:    config,
		log:       config.Log,
		token:     &access.Token{},
		authority: config.Authority,
		accounts:  account.NewDatabase(config.PasswdFile, config.GroupFile),
		settings:  settings.New(),
		watchers:  &watch.Group{},
		reaper:    &process.Reaper{Orphans: config.ReapOrphans},
		table:     &process.Table{},
		forwarder: port.New(config.Log),
		meter:     metrics.New(),
		trust: trust.New(trust.Paths{Bundle: config.CABundle, Extra: config.CAExtra, Policies: config.Policies,
			Sudoers: config.Sudoers}, config.Log),
		volumes:  newVolumes(),
		disk:     newDisk(),
		clock:    newClock(config.Log),
		initTurn: make(chan struct{}, 1),
	}
	s.initTurn <- struct{}{}
	s.callers = access.Callers{Accounts: s.accounts, Settings: s.settings}
	s.transfer = &transfer.Handler{Token: s.token, Accounts: s.accounts, Settings: s.settings,
		Writer: file.Writer{Made: s.watchers.Settle}}
	return s
}

func (s *Server) routeRPCs(rt *router) {
	prefix, processes := processconnect.NewProcessHandler(&process.Service{
		Callers: s.callers, Settings: s.settings, Reaper: s.reaper, Table: s.table,
		Path: s.config.Path, OOMScore: ownOOMScore(), Nice: ownNice(),
		Log: cmp.Or(s.config.Processes, s.log)})
	rt.handleRPC(prefix, processes)
	rt.handle(http.MethodPost, processconnect.ProcessStreamInputProcedure,
		stream.AnsweringEarly(processes).ServeHTTP)
	rt.handleRPC(filesystemconnect.NewFilesystemHandler(filesystem.New(s.callers, s.watchers)))
}

// Run serves on the listener until the context ends. Then it ends all streams,
// kills all processes that it started, and waits for its goroutines.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	s.boot(ctx)
	base, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	defer endStreams()
	server := &http.Server{Handler: s.routes(), IdleTimeout: idleTime,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}

	parts, endParts := context.WithCancel(context.WithoutCancel(ctx))
	defer endParts()
	var running sync.WaitGroup
	running.Go(func() { s.reaper.Run(parts) })
	failed := make(chan error, 1)
	running.Go(func() { failed <- server.Serve(listener) })
	s.background.Go(func() {
		s.refresh(s.authority.Read())
		s.meter.Begin()
	})
	if s.config.ForwardPorts {
		running.Go(func() { s.forwarder.Run(parts) })
	}
	if s.config.Report != nil {
		running.Go(func() { s.config.Report.Run(parts) })
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	}
	endStreams()
	err = errors.Join(err, s.drain(server))
	endParts()
	running.Wait()
	s.background.Wait()
	s.trust.Wait()
	return err
}

func (s *Server) drain(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err := server.Shutdown(ctx)
	if err != nil {
		err = server.Close() // a request did not end in time
	}
	s.watchers.Close()
	ctx, cancel = context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if closeErr := s.table.Close(ctx); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("end the processes: %w", closeErr))
	}
	return err
}

// ownOOMScore and ownNice are 0 unless a supervisor gave the daemon privileges
// that its children must not have.
func ownOOMScore() int {
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	score, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return score
}

func ownNice() int {
	// The system call returns 20 less the nice value, so that it is never negative.
	value, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - value
}
