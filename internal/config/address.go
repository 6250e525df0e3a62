package config

import "net"

// Reachable converts a listen address to one that clients on this machine can connect to.
func Reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	switch host {
	case "", "0.0.0.0", "::", "127.0.0.1":
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// SandboxDomain is the public domain of sandboxes, with a port if needed. In development
// it is the proxy's address, because names below localhost resolve to this machine.
func (c *Config) SandboxDomain() string {
	if c.Domain == "" && c.Dev {
		return Reachable(c.ProxyListen)
	}
	return c.Domain
}

// MetricsAddresses is where roles without a health check serve their metrics: one address, or
// none.
func (c *Config) MetricsAddresses() []string {
	if c.MetricsListen == "" {
		return nil
	}
	return []string{c.MetricsListen}
}
