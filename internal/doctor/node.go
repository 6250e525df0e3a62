package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"shoal/internal/config"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// askNodes asks the machines that an api or a proxy sends to.
func askNodes(ctx context.Context, cfg *config.Config, role Role, version string) []Result {
	if len(cfg.Nodes) == 0 {
		return []Result{Fail.because("set nodes to the orchestrators' addresses, HOST:5008,…",
			"no machine is named").of("machines")}
	}
	secret, err := cfg.KnownNodeSecret()
	if err != nil {
		return []Result{Fail.because("set node-secret to that of the machines, which is in secrets/node-secret of their data-dir",
			"%v", err).of("machines")}
	}
	var results []Result
	for _, address := range cfg.Nodes {
		asking, cancel := context.WithTimeout(ctx, serverTime)
		for _, r := range askNode(asking, address, secret, version) {
			results = append(results, r.of("machine "+r.Name))
		}
		if role == Proxy {
			results = append(results, askNodeProxy(asking, address, cfg.NodeProxyListen).of("machine traffic"))
		}
		cancel()
	}
	return results
}

func askNode(ctx context.Context, address, secret, version string) []Result {
	base, err := rpc.ParseAddress(address)
	if err != nil {
		return []Result{Fail.because("correct the setting nodes", "%v", err).of("address")}
	}
	clock, err := askDate(ctx, http.DefaultTransport, base+"/health")
	if err != nil {
		return []Result{Fail.because("start the orchestrator there, have its node-listen name an address that is reached from here, and let firewalls pass it",
			"%s does not answer: %v", address, err).of("answer")}
	}
	node, err := rpc.NewClient(address, secret)
	if err != nil {
		return []Result{Fail.because("correct the setting nodes", "%v", err).of("address")}
	}
	info, err := node.Info(ctx)
	var known *shoal.Error
	switch {
	case errors.As(err, &known) && refused(known):
		return []Result{Fail.because("set node-secret to that of the machine, which is in secrets/node-secret of its data-dir",
			"%s refuses the secret", address).of("secret")}
	case err != nil:
		return []Result{Fail.because("see the orchestrator's log", "%s: %v", address, err).of("answer")}
	}
	results := []Result{judgeStatus(address, info), clock.judge()}
	if info.Version != version {
		results = append(results, Note.because("install the same version on all machines; the api last",
			"%s runs shoal %s, this is %s", info.ID, info.Version, version).of("version"))
	}
	return results
}

// refused reports whether a machine has refused the roles' secret.
func refused(err *shoal.Error) bool {
	var inner *shoal.Error
	return errors.As(err.Err, &inner) && shoal.ErrUnauthorized.Matches(inner)
}

func judgeStatus(address string, info shoal.NodeInfo) Result {
	if info.Status == shoal.NodeReady {
		return ok("%s at %s is ready, with %d sandbox(es)", info.ID, address, info.Sandboxes).of("answer")
	}
	return Warn.because("wait, or see the orchestrator's log",
		"%s at %s is %s and takes no new sandboxes", info.ID,
		address, info.Status).of("answer")
}

// askNodeProxy asks for a sandbox that does not exist: a machine says so itself.
func askNodeProxy(ctx context.Context, address, listen string) Result {
	const fix = "have node-proxy-listen of the orchestrator name an address that is reached from here, with the port of this proxy's node-proxy-listen"
	base, err := rpc.ParseAddress(address)
	if err != nil {
		return Fail.because("correct the setting nodes", "%v", err)
	}
	u, err := url.Parse(base)
	if err != nil {
		return Fail.because("correct the setting nodes", "%v", err)
	}
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return Fail.because("correct the setting node-proxy-listen", "%v", err)
	}
	at := net.JoinHostPort(u.Hostname(), port)
	is, err := proxy.IsMachine(ctx, at)
	switch {
	case err != nil:
		return Fail.because(fix, "%s does not answer: %v", at, err)
	case !is:
		return Fail.because(fix, "what answers at %s is no orchestrator's proxy", at)
	}
	return ok("%s takes sandboxes' traffic", at)
}

// askDate asks for a page and returns what the answer's date tells of the server's clock, by whole
// seconds.
func askDate(ctx context.Context, transport http.RoundTripper, address string) (exchange, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return exchange{}, err
	}
	e := exchange{sent: time.Now(), precision: time.Second}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return exchange{}, bare(err)
	}
	resp.Body.Close()
	e.received = time.Now()
	if e.told, err = http.ParseTime(resp.Header.Get("Date")); err != nil {
		return exchange{}, fmt.Errorf("the answer (%s) has no date", resp.Status)
	}
	return e, nil
}

// bare is an HTTP client's error without the address, which the finding names.
func bare(err error) error {
	var named *url.Error
	if errors.As(err, &named) {
		return named.Err
	}
	return err
}
