package outbound

import (
	"fmt"
	"net/http"
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

// FromEnvironment is the setting that takes proxies from https_proxy, http_proxy and
// no_proxy. Otherwise the environment is ignored: a proxy may reach what the host must not.
const FromEnvironment = "environment"

// ParseProxy reads the operator's proxy: "" for none, FromEnvironment, or a URL with the
// scheme http, https or socks5. The function returns the proxy for a request, nil for none.
func ParseProxy(setting string) (func(*http.Request) (*url.URL, error), error) {
	switch setting {
	case "":
		return func(*http.Request) (*url.URL, error) { return nil, nil }, nil
	case FromEnvironment:
		choose := httpproxy.FromEnvironment().ProxyFunc()
		return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }, nil
	}
	proxy, err := url.Parse(setting)
	if err == nil && proxy.Host != "" {
		switch proxy.Scheme {
		case "http", "https", "socks5":
			return http.ProxyURL(proxy), nil
		}
	}
	// The setting may hold a password, so it is not quoted.
	return nil, fmt.Errorf("it is neither %q nor the URL of a proxy, such as http://proxy.example:3128",
		FromEnvironment)
}
