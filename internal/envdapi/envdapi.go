// Package envdapi is the contract between envd, the daemon inside every sandbox, and the
// node that runs the sandbox: the port, paths, headers, variables and messages by which
// they talk. Both sides use these definitions. The protocol is that of E2B's daemon
// (envd.md) with a few additions, which are marked as Shoal's own.
package envdapi

//go:generate sh -c "cd ../../spec/envd && go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate"

import (
	"net"
	"strconv"
)

// Version is the version of E2B's daemon whose behavior this one has. Clients switch
// features on by it, so it must stay X.Y.Z and not promise more.
const Version = "0.6.13"

// Port is the TCP port on which the daemon listens (envd.md §0). It never speaks TLS.
const Port = 49983

// URL is the daemon's base URL for a caller that reaches the guest at host.
func URL(host string) string { return "http://" + net.JoinHostPort(host, strconv.Itoa(Port)) }

// Executable is where the daemon's program lies in a guest.
const Executable = "/usr/bin/envd"

// The flags with which a node starts the daemon.
const (
	LocalFlag     = "isnotfc"    // there is no metadata service to ask
	NoCgroupsFlag = "no-cgroups" // the daemon makes no cgroups
)

// Command is the guest's first process: the daemon with its arguments.
func Command() []string { return []string{Executable, "-" + LocalFlag, "-" + NoCgroupsFlag} }

// The paths of the daemon's HTTP endpoints (envd.md §1). The paths of its RPC services
// are in the packages below gen.
const (
	HealthPath   = "/health"  // GET: 204 once the daemon serves
	InitPath     = "/init"    // POST an Init: 204 once it is applied
	MetricsPath  = "/metrics" // GET: Metrics
	EnvsPath     = "/envs"    // GET: the variables that every command gets
	FilesPath    = "/files"   // GET and POST: the content of one file
	ComposePath  = "/files/compose"
	FreezePath   = "/freeze"
	UnfreezePath = "/unfreeze"
	CollapsePath = "/collapse"
	FsfreezePath = "/fsfreeze"
	FsthawPath   = "/fsthaw"
	UpgradePath  = "/upgrade"
	PreparePath  = "/prepare" // POST: Prepared; Shoal's own
)

// The headers of the daemon's requests and answers.
const (
	TokenHeader     = "X-Access-Token" // of a request: the token that Init set
	RequestIDHeader = "X-Request-Id"   // of POST /init: the client's call that it belongs to
	VersionHeader   = "X-Envd-Version" // of the answer to POST /init
)
