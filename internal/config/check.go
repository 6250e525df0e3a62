package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"shoal/internal/outbound"
	"shoal/internal/shoal"
	"shoal/internal/volume"
)

// Check returns all errors that can be found in the settings alone. Whether they fit the
// machine is checked by package doctor.
func (c *Config) Check() error {
	var errs []error
	bad := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	for name, dir := range map[string]string{"data-dir": c.DataDir, "run-dir": c.RunDir} {
		if !filepath.IsAbs(dir) {
			bad(name, "%q is not an absolute path", dir)
		}
	}
	for name, addr := range map[string]string{"api-listen": c.APIListen, "proxy-listen": c.ProxyListen,
		"health-listen": c.HealthListen, "node-listen": c.NodeListen, "node-proxy-listen": c.NodeProxyListen,
		"metrics-listen": c.MetricsListen} {
		if name == "metrics-listen" && addr == "" {
			continue
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			bad(name, "%q is not HOST:PORT", addr)
		} else if c.Dev && !isLoopback(host) {
			bad(name, "%q is not a loopback address, and --dev has a publicly known key", addr)
		}
	}
	for _, origin := range c.AllowedOrigins {
		u, err := url.Parse(origin)
		switch {
		case origin == "*" && c.Dev:
			bad("allowed-origins", "any web page could use the publicly known key of --dev")
		case origin == "*":
		case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" ||
			origin != u.Scheme+"://"+u.Host:
			bad("allowed-origins", "%q is not an origin such as https://console.example.com", origin)
		}
	}
	if _, err := volume.ParseBackends(c.Volumes, c.DataDir); err != nil {
		bad("volumes", "%v", err)
	}
	if _, err := shoal.ParseSwitches(c.SwitchOff); err != nil {
		bad("switch-off", "%v", err)
	}
	var ranges []netip.Prefix
	for name, cidr := range map[string]string{"host-cidr": c.HostCIDR, "veth-cidr": c.VethCIDR} {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil || !prefix.Addr().Is4() {
			bad(name, "%q is not an IPv4 CIDR", cidr)
			continue
		}
		ranges = append(ranges, prefix)
	}
	if len(ranges) == 2 && ranges[0].Overlaps(ranges[1]) {
		bad("host-cidr", "overlaps veth-cidr")
	}
	for _, cidr := range c.AllowInternal {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			bad("allow-internal", "%q is not a CIDR", cidr)
		}
	}
	if err := outbound.ParseAllow(c.OutboundAllow); err != nil {
		bad("outbound-allow", "%v", err)
	}
	if err := outbound.ParseAllow(c.WebhookAllow); err != nil {
		bad("webhook-allow", "%v", err)
	}
	if _, err := outbound.ParseProxy(c.OutboundProxy); err != nil {
		bad("outbound-proxy", "%v", err)
	}
	if _, err := c.Issuers(); err != nil {
		bad("jwt-issuers", "%v", err)
	}
	if _, err := c.ParseSignIn(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.Resolvers(); err != nil {
		bad("dns", "%v", err)
	}
	c.checkDomain(bad)
	c.checkSeal(bad)
	c.checkTelemetry(bad)
	c.checkRedis(bad)
	c.checkClickhouse(bad)
	if c.MaxSandboxes < 1 || c.MaxProcesses < 16 || c.SlotPool < 0 || c.SandboxDisk < 64 {
		bad("max-sandboxes, max-processes, slot-pool, sandbox-disk", "must be at least 1, 16, 0 and 64")
	}
	if min(c.OvercommitMemory, c.OvercommitCPU, c.OvercommitDisk) < 0 {
		bad("overcommit-memory, overcommit-cpu, overcommit-disk", "must not be negative")
	}
	if min(c.FirecrackerNetworkRate, c.FirecrackerDiskRate) < 0 || max(c.FirecrackerNetworkRate, c.FirecrackerDiskRate) > 1<<20 {
		bad("firecracker-network-rate, firecracker-disk-rate", "must be 0 to 1048576")
	}
	if u, err := url.Parse(c.PublicAPI); c.PublicAPI != "" && (err != nil ||
		(u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "") {
		bad("public-api", "%q must be http:// or https:// and a host", c.PublicAPI)
	}
	if c.BuildSlots < 1 || c.UploadLimit < 1 || c.UploadLimit > 1<<30 {
		bad("build-slots, upload-limit", "must be at least 1")
	}
	targets := map[string]bool{}
	for from, to := range c.PackageMirrors {
		for _, text := range []string{from, to} {
			if u, err := url.Parse(text); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
				bad("package-mirrors", "%q must be http:// or https:// and a host", text)
			}
		}
		if targets[to] {
			bad("package-mirrors", "%q stands for two others, and so could not be told back into them; give the two their paths", to)
		}
		targets[to] = true
	}
	if c.AuditDays < 1 || c.AuditDays > 36500 {
		bad("audit-days", "must be 1 to 36500")
	}
	if c.LayerCache < 0 {
		bad("layer-cache", "must not be negative")
	}
	return errors.Join(errs...)
}

// Resolvers parses DNS. The default port is 53.
func (c *Config) Resolvers() ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for _, s := range c.DNS {
		if addr, err := netip.ParseAddr(s); err == nil {
			list = append(list, netip.AddrPortFrom(addr, 53))
			continue
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor IP:PORT", s)
		}
		list = append(list, ap)
	}
	return list, nil
}

// Prefixes parses HostCIDR, VethCIDR and AllowInternal, which Check has accepted.
func (c *Config) Prefixes() (host, veth netip.Prefix, internal []netip.Prefix) {
	host, veth = netip.MustParsePrefix(c.HostCIDR), netip.MustParsePrefix(c.VethCIDR)
	for _, cidr := range c.AllowInternal {
		internal = append(internal, netip.MustParsePrefix(cidr))
	}
	return host, veth, internal
}

// Outbound is how what the host opens on a tenant's word is bounded: by what builds may reach.
func (c *Config) Outbound(log *slog.Logger) outbound.Config {
	out := outbound.Config{Allow: c.OutboundAllow, Proxy: c.OutboundProxy, Log: log}
	if c.HostCIDR != "" { // a control plane without a machine of its own may have none
		host, veth, _ := c.Prefixes()
		out.Own = []netip.Prefix{host, veth}
	}
	return out
}

// IssuerTransport is the way to issuers, which are asked as registries are: an operator names them,
// but they name where their keys are.
func (c *Config) IssuerTransport(log *slog.Logger) (*outbound.Transport, error) {
	out := c.Outbound(log)
	var err error
	if out.TLS, err = outbound.Trusting(c.TrustCA); err != nil {
		return nil, fmt.Errorf("trust-ca: %w", err)
	}
	return outbound.NewTransport(out)
}

// NetworkName tells this installation's links and namespaces from those of others on the machine,
// in names of limited length. The default installation's is empty.
func (c *Config) NetworkName() string {
	if c.Instance == DefaultInstance {
		return ""
	}
	return c.Instance
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Lines renders the settings as a configuration file. Secrets are not shown.
func (c *Config) Lines() []string {
	var lines []string
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		name := flagName(v.Type().Field(i).Name)
		value := fmt.Sprint(v.Field(i).Interface())
		switch list := v.Field(i).Interface().(type) {
		case []string:
			value = strings.Join(list, ",")
		case map[string]int:
			value = pairs(list)
		case map[string]string:
			value = pairs(list)
		}
		if value != "" && (strings.HasSuffix(name, "secret") || strings.HasSuffix(name, "token") ||
			strings.HasSuffix(name, "seed") || strings.HasSuffix(name, "password") || name == "otlp-headers") {
			value = "(set)"
		}
		if u, err := url.Parse(value); err == nil && u.User != nil && (strings.HasSuffix(name, "proxy") ||
			name == "otlp-endpoint" || name == "redis" || name == "clickhouse" || name == "database") {
			value = u.Redacted()
		}
		lines = append(lines, name+" = "+value)
	}
	return lines
}

// pairs formats a map as its flag expects it.
func pairs[V any](m map[string]V) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s=%v", key, m[key]))
	}
	return strings.Join(list, ";")
}

// flagName converts a field's name to its flag's, as kong does: words are separated by
// dashes, and a run of capitals is one word.
func flagName(field string) string {
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		startsWord := unicode.IsUpper(r) && i > 0 &&
			(unicode.IsLower(runes[i-1]) || (i+1 < len(runes) && unicode.IsLower(runes[i+1])))
		if startsWord {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
