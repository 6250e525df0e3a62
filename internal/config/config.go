// Package config defines the settings of every role. Each setting is a flag
// (--api-listen), an environment variable (SHOAL_API_LISTEN) and a line of the
// configuration file (api-listen = …). Flags take precedence over the environment, and
// the environment over the file.
package config

import "time"

// EnvPrefix starts every environment variable.
const EnvPrefix = "SHOAL"

// Values of Runtimes.
const (
	RuntimeAuto        = "auto"
	RuntimeGvisor      = "gvisor"
	RuntimeFirecracker = "firecracker"
)

// DefaultFile is read if it exists and --config names no other file.
const DefaultFile = "/etc/shoal/shoal.conf"

// DefaultInstance is the name of an installation that is not given one.
const DefaultInstance = "shoal"

// Config holds the settings of all roles. A role ignores settings that it does not use.
type Config struct {
	Dev       bool   `help:"Development mode: listen on loopback only, with the fixed development key."`
	DataDir   string `default:"/var/lib/shoal" placeholder:"DIR" help:"Durable state: database, images, records, writable layers. On a disk."`
	RunDir    string `placeholder:"DIR" help:"State of running guests. On tmpfs, or pauses and resumes wait for the disk. /run/shoal by default, or /dev/shm/shoal where only that is on tmpfs."`
	ImageDir  string `placeholder:"DIR" help:"Base images and what they are made from; installations may share it. In the data directory by default."`
	Instance  string `default:"shoal" placeholder:"NAME" help:"Name of this installation in cgroups, namespaces and rules, for several on one machine. 1 to 8 letters or digits."`
	LogLevel  string `default:"info" placeholder:"LEVEL,ROOM=LEVEL,…" help:"Least severe level that is logged: debug, info, warn or error; then those of rooms that have another, as in info,network=debug,orchestrator/rpc=warn. shoal log-level changes it in a running process."`
	LogFormat string `default:"auto" enum:"auto,text,json" help:"text, json, or auto: text on a terminal, else json."`

	APIListen       string        `default:"127.0.0.1:3000" placeholder:"ADDR" help:"Address of the REST API."`
	ProxyListen     string        `default:"127.0.0.1:3002" placeholder:"ADDR" help:"Address of the sandbox traffic proxy."`
	HealthListen    string        `default:"127.0.0.1:3003" placeholder:"ADDR" help:"Address of the proxy's health check, and of metrics for Prometheus (GET /metrics). Whoever reaches it reads them."`
	MetricsListen   string        `placeholder:"ADDR" help:"Address at which the api and the orchestrator, where they run apart, serve their metrics for Prometheus, each its own. None by default. Others serve them at health-listen."`
	OTLPEndpoint    string        `placeholder:"URL" env:"SHOAL_OTLP_ENDPOINT,OTEL_EXPORTER_OTLP_ENDPOINT" help:"OpenTelemetry collector that gets traces, metrics and the log, such as http://127.0.0.1:4318. None by default, which costs nothing."`
	OTLPProtocol    string        `default:"http/protobuf" enum:"http/protobuf,grpc" env:"SHOAL_OTLP_PROTOCOL,OTEL_EXPORTER_OTLP_PROTOCOL" help:"How the collector is spoken to: http/protobuf or grpc."`
	OTLPHeaders     string        `placeholder:"NAME=VALUE,…" env:"SHOAL_OTLP_HEADERS,OTEL_EXPORTER_OTLP_HEADERS" help:"Headers of requests to the collector, such as its token. Values are percent-encoded."`
	OTLPSignals     []string      `default:"traces,metrics,logs" placeholder:"SIGNAL,…" help:"What the collector gets of traces, metrics and logs."`
	OTLPInterval    time.Duration `default:"1m" help:"Time between two looks at the metrics for the collector."`
	TraceRatio      float64       `default:"1" env:"SHOAL_TRACE_RATIO,OTEL_TRACES_SAMPLER_ARG" help:"Share of the requests that are traced, from 0 to 1. A client's own wish does not count."`
	NodeListen      string        `default:"127.0.0.1:5008" placeholder:"ADDR" help:"Address of the orchestrator's RPC."`
	NodeProxyListen string        `default:"127.0.0.1:5007" placeholder:"ADDR" help:"Address at which the orchestrator takes sandbox traffic from proxies."`

	Nodes      []string `placeholder:"ADDR,…" help:"RPC addresses of the orchestrators, for the api and proxy roles. The proxy reaches each machine's sandboxes at the same host on the port of node-proxy-listen."`
	NodeSecret string   `placeholder:"SECRET" help:"Shared secret of the roles. Generated in the data directory by default, so roles on one machine agree."`
	NodeID     string   `placeholder:"NAME" help:"Name of this machine. The host name by default."`

	Database             string `placeholder:"URL" help:"Database: a file, or postgres://…. A file in the data directory by default."`
	Redis                string `placeholder:"URL" help:"Redis, by which several apis on one database know together what rates have left, and tell each other what has changed: redis://[[USER]:PASSWORD@]HOST[:PORT][/NUMBER], or rediss:// with TLS. None by default, as one api needs none."`
	RedisCA              string `placeholder:"FILE" help:"Authorities (PEM) that vouch for Redis, where they are not the host's."`
	Clickhouse           string `placeholder:"URL" help:"ClickHouse server that keeps events, metrics and logs of sandboxes for longer than machines and the database do, such as http://shoal@127.0.0.1:8123/shoal. For all roles. None by default."`
	ClickhousePassword   string `placeholder:"SECRET" help:"Password of the user that it names."`
	ClickhouseEventDays  int    `default:"365" placeholder:"DAYS" help:"Days for which the ClickHouse server keeps events; a team's for as long as its event-days, if those are more."`
	ClickhouseMetricDays int    `default:"30" placeholder:"DAYS" help:"Days for which it keeps what sandboxes use."`
	ClickhouseLogDays    int    `default:"30" placeholder:"DAYS" help:"Days for which it keeps their logs."`

	Domain            string   `placeholder:"HOST[:PORT]" help:"Public domain of sandboxes: port P of sandbox S is at P-S.DOMAIN. Clients build host names from it."`
	TLS               string   `default:"off" enum:"off,local,files,acme,balancer" help:"Serve https://api.DOMAIN and https://PORT-SANDBOX.DOMAIN at one address, so that clients need the domain and a key alone: with a certificate of an authority of Shoal's own (local, see shoal trust), from files, by ACME, or behind a load balancer that ends TLS and is among trusted-proxies. With local the domain is sandbox.localhost unless another is set."`
	TLSListen         string   `placeholder:"ADDR" help:"Address of the domain. Port 443 by default: on loopback for a domain below localhost, else on all addresses."`
	TLSCert           string   `placeholder:"FILE" help:"Certificate of the domain and of *.DOMAIN with its chain (PEM), for tls=files. It is read again when it changes."`
	TLSKey            string   `placeholder:"FILE" help:"Key of that certificate (PEM)."`
	ACMEDirectory     string   `default:"https://acme-v02.api.letsencrypt.org/directory" placeholder:"URL" help:"ACME authority, for tls=acme. Using one means to agree to its terms."`
	ACMEEmail         string   `placeholder:"ADDRESS" help:"Where that authority may write to."`
	ACMEHook          string   `placeholder:"PROGRAM" help:"Program that makes and removes DNS records, called as PROGRAM present|cleanup NAME VALUE: the wildcard's certificate is then asked for. Without it each name is asked for when it is first used, which needs port 443 and is bounded."`
	ACMERoots         string   `placeholder:"FILE" help:"Authorities (PEM) that vouch for the directory itself, where they are not public."`
	TrustedProxies    []string `placeholder:"CIDR,…" help:"Load balancers whose X-Forwarded-For, -Proto and -Host are believed at the domain's address. None by default: others' are replaced."`
	PublicAPI         string   `placeholder:"URL" help:"Where clients reach the REST API, if it is not the host that they name, for example behind a proxy that ends TLS. Upload links start with it."`
	AllowedOrigins    []string `placeholder:"ORIGIN" help:"Web pages of these origins may call the API, such as https://console.example.com. * is any, the default without --dev. With --dev only pages of this machine and these may call, and only loopback hosts and those of these may be named."`
	TokenSeed         string   `placeholder:"SECRET" help:"Seed of the sandboxes' access tokens. Generated in the data directory by default."`
	SealSecret        string   `placeholder:"SECRET" help:"What secrets, and the keys of sandboxes' identities, are sealed by in the database. Generated in the data directory by default; apis on several machines need the same."`
	FormerSealSecrets []string `placeholder:"SECRET,…" help:"Earlier values of seal-secret, or one that is to come: what they have sealed is read still, until shoal secret key rotate has sealed it anew."`
	SealCommand       string   `placeholder:"PROGRAM" help:"Program that wraps the keys of sealed values in place of seal-secret, such as one that asks a key management service. Called as PROGRAM wrap or PROGRAM unwrap; a line of base64 goes in, and one comes out."`
	TrustDomain       string   `placeholder:"NAME" help:"Name of the installation in the identities of its sandboxes, spiffe://NAME/…. The host of the API's public address by default."`
	AdminToken        string   `placeholder:"SECRET" help:"Token of the admin routes. None by default: the routes are then closed."`

	JWTIssuers   map[string]string `placeholder:"ISSUER=AUDIENCE …;…" help:"OpenID Connect providers whose tokens (JWTs) let users in, by their URL, with the audiences of which a token must have one, and discovery=URL where that is not at its well-known address. Internal ones are reached if outbound-allow names them. None by default: all such tokens are refused."`
	SwitchOff    []string          `placeholder:"SWITCH,…" help:"Features that nobody can use, whatever is switched while Shoal runs; shoal switch list has their names. None by default."`
	AccessTokens string            `default:"on" enum:"on,keep,off" help:"Access tokens of users (E2B_ACCESS_TOKEN, which E2B has given up): on, keep those that there are and make none, or off."`

	SignInIssuers map[string]string `placeholder:"ISSUER=client=ID …;…" help:"OpenID Connect providers at which people sign in by a browser, by their URL: client=ID of this installation there, and where they differ name=LABEL, groups=CLAIM, scopes=openid,email and discovery=URL. The provider sends browsers back to /sign-in/callback of the API."`
	SignInSecret  map[string]string `placeholder:"ISSUER=SECRET;…" help:"Secrets of those clients."`
	SignInGroups  map[string]string `placeholder:"ISSUER GROUP=TEAM:ROLE …;…" help:"What members of the providers' groups are in which teams, by slug. It is brought up to date when they sign in, and makes users of those who are none yet."`

	LocalAccounts bool `default:"true" negatable:"" help:"Let people sign in by passwords at the API's /sign-in."`
	AuditDays     int  `default:"400" placeholder:"DAYS" help:"Days for which entries of the audit log are kept."`

	HostCIDR      string   `default:"10.11.0.0/16" placeholder:"CIDR" help:"Addresses at which the host reaches sandboxes, one each."`
	VethCIDR      string   `default:"10.12.0.0/16" placeholder:"CIDR" help:"Addresses of the links to the sandboxes' namespaces, two each."`
	AllowInternal []string `placeholder:"CIDR,…" help:"Private ranges that sandboxes may reach. None by default."`
	DNS           []string `placeholder:"IP[:PORT],…" help:"Resolvers that sandboxes' DNS queries are forwarded to. Those of the host by default."`
	SlotPool      int      `default:"16" help:"Network slots kept ready."`

	MaxSandboxes     int            `default:"1000" help:"Sandboxes alive at once on one machine."`
	OvercommitMemory float64        `default:"16" help:"How many times the machine's memory may be promised to its running sandboxes together, which use far less than they may. 0 is without a bound."`
	OvercommitCPU    float64        `default:"256" help:"The same of its processors."`
	OvercommitDisk   float64        `default:"128" help:"The same of the data directory's disk."`
	MaxProcesses     int            `default:"2048" help:"Processes and threads inside one sandbox."`
	Warm             map[string]int `default:"base=1" placeholder:"TEMPLATE=N;…" help:"Guests started ahead, by template ID, so that a create takes milliseconds. More are kept of what is asked for often."`
	WarmMax          int            `default:"24" help:"Guests started ahead at most, of all templates together. 0 is none."`
	ArtifactDir      string         `placeholder:"DIR" help:"Where snapshots are kept for good, for example on a network file system. The data directory is then only a cache of it. Without it they are in the data directory alone."`
	ArtifactCache    int64          `default:"20480" placeholder:"MIB" help:"Bound of that cache, in MiB."`

	Volumes []string `placeholder:"NAME:PATH,…" help:"Where volumes lie: directories, or where file systems are mounted, by name; new volumes are in the first. Where the roles run apart, each path must lead to the same file system for all apis and orchestrators. The directory volumes in the data directory, by the name local, by default."`

	Shells         int    `default:"2" help:"Sandbox kernels started ahead without a guest, for each root image in use: they take most of the time out of a start or a resume. 0 is none."`
	GvisorPlatform string `default:"systrap" enum:"systrap,kvm" help:"How gVisor runs a guest's programs: systrap works everywhere. kvm needs a usable /dev/kvm, has not been measured, and restores only what was paused under it."`
	Runtimes       string `default:"auto" enum:"auto,gvisor,firecracker" help:"What isolates guests: gvisor; firecracker, which needs a usable /dev/kvm and what shoal firecracker and shoal kernel import; or auto, which is as firecracker where that can run, and gvisor elsewhere. A template may name either."`
	FirecrackerDir string `placeholder:"DIR" help:"Builds of Firecracker and kernels of microVMs. In the data directory by default."`

	FirecrackerNetworkRate int64 `placeholder:"MIB" help:"What each microVM may send a second, and receive, in MiB. 0, the default, is no bound."`
	FirecrackerDiskRate    int64 `placeholder:"MIB" help:"What each microVM may read from and write to its disk a second, together, in MiB. 0, the default, is no bound."`

	EnvdTimeout time.Duration `default:"20s" help:"How long a started guest's daemon may take to answer; for a microVM, its first program too, and a minute more to boot. A pause waits half of it."`
	RestTime    time.Duration `default:"60s" help:"How long a paused sandbox stays frozen in memory too, so that a resume soon after is instant. 0 is never."`
	SandboxDisk int64         `default:"10240" placeholder:"MIB" help:"Writable disk of a sandbox of the base template, in MiB."`

	BuildSlots      int               `default:"2" help:"Template builds that run at once; further ones wait their turn."`
	BuildEnv        map[string]string `placeholder:"NAME=VALUE;…" help:"Environment of every step of a template build, such as mirrors and proxies: PIP_INDEX_URL, npm_config_registry, https_proxy. A template's own ENV comes first."`
	RegistryMirrors map[string]string `placeholder:"REGISTRY=HOST;…" help:"Container registries to ask in place of others, such as docker.io=mirror.example:5000."`
	OutboundAllow   []string          `placeholder:"DEST,…" help:"Internal destinations that Shoal itself may reach for templates, such as a registry in a private network: a CIDR, IP or host name, the latter two also with a port. None by default."`
	WebhookAllow    []string          `placeholder:"DEST,…" help:"Internal destinations that teams may have events sent to by webhooks, in the form of outbound-allow. None by default."`
	OutboundProxy   string            `placeholder:"URL" help:"Proxy (http, https or socks5) for what Shoal itself reaches for templates and webhooks, such as registries. It gets names, so it must not reach internal ones for strangers. The word environment takes those of https_proxy, http_proxy and no_proxy. None by default."`
	PackageMirrors  map[string]string `placeholder:"URL=URL;…" help:"Package sources of images (apt, apk, dnf, pacman) to read elsewhere while templates are built, such as http://deb.debian.org=http://mirror.example. Templates keep their own."`
	LayerCache      int64             `default:"30720" placeholder:"MIB" help:"Bound of what is kept of builds for later ones, in MiB, beside what templates need. 0 is no bound."`
	UntaggedTime    time.Duration     `default:"72h" help:"How long an earlier build of a template is kept when no tag points to it and no sandbox uses it. 0 is forever."`
	ShippedOnUse    bool              `default:"true" negatable:"" help:"Build a template that Shoal ships when a sandbox of it is first asked for."`
	StandIns        []string          `placeholder:"NAME,…" help:"Images, such as ubuntu, that the base template stands in for when their registry cannot be reached. With --dev: ubuntu, debian, python and node. A build's log says so."`
	UploadLimit     int64             `default:"4096" placeholder:"MIB" help:"Size of the files of one COPY step of a template, in MiB."`

	TrustCA []string `placeholder:"FILE,…" help:"Certificate authorities (PEM) that every guest trusts, besides those that the host's operator added to the host's trust store; Shoal itself trusts them at registries, issuers and webhooks too."`
}

// AfterApply is called by kong when it has read the settings.
func (c *Config) AfterApply() error {
	if c.RunDir == "" {
		c.RunDir = defaultRunDir()
	}
	c.setDomain()
	return nil
}
