package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

type app struct {
	Config
	ConfigFile kong.ConfigFlag `name:"config"`
}

func parse(t *testing.T, args ...string) (*app, error) {
	t.Helper()
	var a app
	parser, err := kong.New(&a, kong.DefaultEnvars(EnvPrefix), kong.Configuration(LoadFile), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return &a, err
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shoal.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPrecedence: a flag wins over the environment, which wins over the file.
func TestPrecedence(t *testing.T) {
	path := file(t, "# comment\nnode-id = \"from file\"\nslot-pool=3\ndomain = file.example\n")
	t.Setenv("SHOAL_SLOT_POOL", "4")
	t.Setenv("SHOAL_DOMAIN", "env.example")
	a, err := parse(t, "--config", path, "--domain", "flag.example")
	if err != nil {
		t.Fatal(err)
	}
	if a.NodeID != "from file" || a.SlotPool != 4 || a.Domain != "flag.example" {
		t.Errorf("node-id %q, slot-pool %d, domain %q", a.NodeID, a.SlotPool, a.Domain)
	}
}

func TestBadFiles(t *testing.T) {
	for text, want := range map[string]string{
		"no equals sign":         "want name = value",
		"data-dir = ${HOME}/x":   "not expanded",
		"domain = a\ndomain = b": "set twice",
		"no-such-setting = 1":    "no setting is named",
	} {
		if _, err := parse(t, "--config", file(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string // "" = fine
	}{
		"defaults":           {nil, ""},
		"development":        {[]string{"--dev"}, ""},
		"development, open":  {[]string{"--dev", "--proxy-listen=0.0.0.0:1"}, "proxy-listen"},
		"relative directory": {[]string{"--data-dir=x"}, "data-dir"},
		"no port":            {[]string{"--api-listen=localhost"}, "api-listen"},
		"overlapping ranges": {[]string{"--host-cidr=10.0.0.0/8"}, "overlaps"},
		"IPv6 range":         {[]string{"--veth-cidr=fd00::/64"}, "veth-cidr"},
		"internal":           {[]string{"--allow-internal=10.0.0.0"}, "allow-internal"},
		"outbound allowed":   {[]string{"--outbound-allow=http://a"}, "outbound-allow"},
		"outbound proxy":     {[]string{"--outbound-proxy=proxy:3128"}, "outbound-proxy"},
		"log level":          {[]string{"--log-level=info,kitchen=debug"}, "log-level"},
		"log levels":         {[]string{"--log-level=info,network=debug"}, ""},
		"collector":          {[]string{"--otlp-endpoint=collector:4317"}, "otlp-endpoint"},
		"collector's header": {[]string{"--otlp-headers=just-a-token"}, "otlp-headers"},
		"signal":             {[]string{"--otlp-signals=traces,smoke"}, "otlp-signals"},
		"interval":           {[]string{"--otlp-interval=1ms"}, "otlp-interval"},
		"share":              {[]string{"--trace-ratio=NaN"}, "trace-ratio"},
		"ClickHouse":         {[]string{"--clickhouse=https://me@ch.example:8443/shoal", "--clickhouse-password=x"}, ""},
		"no database":        {[]string{"--clickhouse=http://me@127.0.0.1:8123"}, "no name of a database"},
		"a query":            {[]string{"--clickhouse=http://127.0.0.1:8123/a?b=c"}, "clickhouse"},
		"another protocol":   {[]string{"--clickhouse=tcp://127.0.0.1:9000/a"}, "clickhouse"},
		"a password in it":   {[]string{"--clickhouse=http://me:x@127.0.0.1:8123/a"}, "clickhouse-password"},
		"nobody's password":  {[]string{"--clickhouse=http://127.0.0.1:8123/a", "--clickhouse-password=x"}, "clickhouse-password"},
		"no days":            {[]string{"--clickhouse-log-days=0"}, "clickhouse-log-days"},
		"resolver":           {[]string{"--dns=name"}, "dns"},
		"resolvers":          {[]string{"--dns=1.1.1.1,[::1]:54"}, ""},
		"domain with scheme": {[]string{"--domain=https://x"}, "domain"},
		"nothing may run":    {[]string{"--max-sandboxes=0"}, "max-sandboxes"},
		"rates":              {[]string{"--firecracker-network-rate=100", "--firecracker-disk-rate=50"}, ""},
		"a rate below zero":  {[]string{"--firecracker-disk-rate=-1"}, "firecracker-disk-rate"},
		"no builds":          {[]string{"--build-slots=0"}, "build-slots"},
		"no uploads":         {[]string{"--upload-limit=0"}, "upload-limit"},
		"package mirrors":    {[]string{"--package-mirrors=http://a=http://m/a;http://b=http://m/b"}, ""},
		"one mirror for two": {[]string{"--package-mirrors=http://a=http://m;http://b=http://m"}, "package-mirrors"},
		"mirror without URL": {[]string{"--package-mirrors=a=http://m"}, "package-mirrors"},
		"public address":     {[]string{"--public-api=https://api.example/v0"}, ""},
		"public name":        {[]string{"--public-api=api.example"}, "public-api"},

		"local":                   {[]string{"--tls=local"}, ""},
		"local, development":      {[]string{"--tls=local", "--dev", "--tls-listen=localhost:8443"}, ""},
		"public, development":     {[]string{"--tls=local", "--dev", "--domain=box.example"}, "publicly known key"},
		"open, development":       {[]string{"--tls=local", "--dev", "--tls-listen=:443"}, "tls-listen"},
		"one label":               {[]string{"--tls=local", "--domain=localhost"}, "sandbox.localhost"},
		"an address":              {[]string{"--tls=local", "--domain=192.0.2.1"}, "not a host name"},
		"no host name":            {[]string{"--tls=local", "--domain=a_b.example"}, "not a host name"},
		"upper case":              {[]string{"--tls=local", "--domain=Box.Example:8443"}, ""},
		"files":                   {[]string{"--tls=files", "--domain=box.example", "--tls-cert=c", "--tls-key=k"}, ""},
		"files without a key":     {[]string{"--tls=files", "--domain=box.example", "--tls-cert=c"}, "tls-key"},
		"files without use":       {[]string{"--tls=local", "--tls-cert=c"}, "tls-cert"},
		"no domain":               {[]string{"--tls=acme"}, "domain"},
		"acme":                    {[]string{"--tls=acme", "--domain=box.example"}, ""},
		"acme below localhost":    {[]string{"--tls=acme", "--domain=box.localhost"}, "tls = local"},
		"acme in clear text":      {[]string{"--tls=acme", "--domain=box.example", "--acme-directory=http://x"}, "acme-directory"},
		"listener without use":    {[]string{"--tls-listen=:443"}, "tls-listen"},
		"balancer":                {[]string{"--tls=balancer", "--domain=box.example", "--trusted-proxies=10.0.0.1,fd00::/8"}, ""},
		"balancer that is nobody": {[]string{"--tls=balancer", "--domain=box.example"}, "trusted-proxies"},
		"trust without sense":     {[]string{"--trusted-proxies=lb.example"}, "trusted-proxies"},
	} {
		a, err := parse(t, c.args...)
		if err != nil {
			t.Fatal(err)
		}
		err = a.Check()
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestDomainDefaults: the domain that clients are told has the port that is listened on.
func TestDomainDefaults(t *testing.T) {
	for name, c := range map[string]struct {
		args           []string
		domain, listen string
	}{
		"nothing":        {nil, "", ""},
		"development":    {[]string{"--dev"}, "localhost:3002", ""},
		"local":          {[]string{"--dev", "--tls=local"}, "sandbox.localhost", "127.0.0.1:443"},
		"another port":   {[]string{"--tls=local", "--tls-listen=localhost:8443"}, "sandbox.localhost:8443", "127.0.0.1:8443"},
		"one address":    {[]string{"--tls=local", "--tls-listen=127.0.0.2:443"}, "sandbox.localhost", "127.0.0.2:443"},
		"public":         {[]string{"--tls=acme", "--domain=box.example"}, "box.example", ":443"},
		"not taken over": {[]string{"--tls=acme", "--domain=box.example", "--tls-listen=:8443"}, "box.example", ":8443"},
	} {
		a, err := parse(t, c.args...)
		if err != nil {
			t.Fatal(err)
		}
		listen := ""
		if all := a.DomainAddresses(); len(all) > 0 {
			listen = all[0]
		}
		if a.SandboxDomain() != c.domain || listen != c.listen {
			t.Errorf("%s: %q at %q, want %q at %q", name, a.SandboxDomain(), listen, c.domain, c.listen)
		}
	}
}

// TestLinesAreAFile: the output of `shoal check` is a valid configuration file without
// secrets.
func TestLinesAreAFile(t *testing.T) {
	a, err := parse(t, "--token-seed=hush", "--dns=1.1.1.1,9.9.9.9", "--api-listen=127.0.0.1:9",
		"--warm=base=3;other=1", "--build-env=A=b c;PIP_INDEX_URL=http://x/?y=z",
		"--registry-mirrors=docker.io=m:5000", "--no-shipped-on-use", "--outbound-proxy=http://me:hush@proxy.example:3128",
		"--redis=rediss://me:hush@redis.example:6380/2", "--database=postgres://me:hush@db.example/shoal",
		"--otlp-headers=token=hush", "--otlp-endpoint=http://me:hush@collector.example:4318",
		"--clickhouse=http://me:hush@ch.example:8123/shoal", "--clickhouse-password=hush")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(a.Lines(), "\n")
	if strings.Contains(text, "hush") {
		t.Error("a secret is shown")
	}
	again, err := parse(t, "--config", file(t, strings.NewReplacer("token-seed = (set)", "", "otlp-headers = (set)", "",
		"clickhouse-password = (set)", "").Replace(text)))
	if err != nil {
		t.Fatal(err)
	}
	if again.APIListen != a.APIListen || len(again.DNS) != 2 || again.Warm["base"] != 3 || again.Warm["other"] != 1 ||
		again.BuildEnv["A"] != "b c" || again.BuildEnv["PIP_INDEX_URL"] != "http://x/?y=z" ||
		again.RegistryMirrors["docker.io"] != "m:5000" || again.ShippedOnUse ||
		!strings.HasSuffix(again.OutboundProxy, "@proxy.example:3128") || !strings.HasSuffix(again.Redis, "@redis.example:6380/2") {
		t.Errorf("read back: %+v", again.Config)
	}
}

func TestSecretsAreKept(t *testing.T) {
	c := &Config{DataDir: t.TempDir()}
	first, err := c.LoadSecrets("dev")
	if err != nil || len(first.NodeSecret) < 32 || first.TokenSeed == "dev" {
		t.Fatalf("%+v %v", first, err)
	}
	second, err := c.LoadSecrets("dev")
	if err != nil || second != first {
		t.Errorf("the second time: %+v %v", second, err)
	}
	c.Dev = true
	if dev, err := c.LoadSecrets("dev"); err != nil || dev.TokenSeed != "dev" {
		t.Errorf("in development: %+v %v", dev, err)
	}
}
