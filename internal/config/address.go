package config

import "net"

// Reachable turns an address to listen on into one to connect to, on this machine.
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

// SandboxDomain is the public domain of sandboxes, with a port if need be. In development
// it is the proxy's own address: names below localhost lead to this machine.
func (c *Config) SandboxDomain() string {
	if c.Domain == "" && c.Dev {
		return Reachable(c.ProxyListen)
	}
	return c.Domain
}
