package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"shoal/internal/config"
	"shoal/internal/outbound"
	"shoal/internal/registry"
)

const (
	resolverFile = "/etc/resolv.conf"
	// answerTime is how long a resolver or a registry may take.
	answerTime = 4 * time.Second
	// publicRegistry is what templates mean by an image without a registry.
	publicRegistry = "docker.io"
)

// checkResolvers asks those that sandboxes' queries are forwarded to. Any answer will do.
func checkResolvers(ctx context.Context, cfg *config.Config) Result {
	list, err := cfg.Resolvers()
	fix := "correct the setting dns, or set it to resolvers that answer"
	if err == nil && len(list) == 0 {
		fix = "correct " + resolverFile + ", or set dns to resolvers that answer"
		list, err = hostResolvers(resolverFile)
	}
	if err != nil || len(list) == 0 {
		return Warn.because(fix, "sandboxes find no names: no resolver is known (%v)", err)
	}
	var silent []string
	for _, at := range list {
		if err := askResolver(ctx, at); err != nil {
			silent = append(silent, fmt.Sprintf("%s (%v)", at, err))
		}
	}
	switch {
	case len(silent) == len(list):
		return Warn.because(fix, "sandboxes find no names: %s", strings.Join(silent, ", "))
	case len(silent) > 0:
		return Note.because(fix,
			"some do not answer, which costs sandboxes time: %s", strings.Join(silent, ", "))
	}
	return ok("%d answer", len(list))
}

func hostResolvers(file string) ([]netip.AddrPort, error) {
	found, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, err
	}
	var list []netip.AddrPort
	for _, server := range found.Servers {
		if addr, err := netip.ParseAddr(server); err == nil {
			list = append(list, netip.AddrPortFrom(addr, 53))
		}
	}
	return list, nil
}

func askResolver(ctx context.Context, at netip.AddrPort) error {
	query := new(dns.Msg).SetQuestion(".", dns.TypeNS)
	_, _, err := (&dns.Client{Timeout: answerTime}).ExchangeContext(ctx, query, at.String())
	return err
}

// checkRegistries asks the registry that images without one are from, and all mirrors. Without the
// internet and without mirrors, templates stand on what was imported.
func checkRegistries(ctx context.Context, cfg *config.Config) Result {
	names := []string{publicRegistry}
	for _, name := range slices.Sorted(maps.Keys(cfg.RegistryMirrors)) {
		if name != publicRegistry {
			names = append(names, name)
		}
	}
	var good []string
	for _, name := range names {
		asking, cancel := context.WithTimeout(ctx, answerTime)
		at, err := registry.Ping(asking, registry.Config{Mirrors: cfg.RegistryMirrors, CAFiles: cfg.TrustCA,
			Outbound: cfg.Outbound(slog.New(slog.DiscardHandler))}, name)
		cancel()
		mirror, mirrored := cfg.RegistryMirrors[name]
		switch {
		case err == nil:
			good = append(good, at)
		case mirrored:
			return Warn.because("correct registry-mirrors, or the mirror; its authority belongs into trust-ca",
				"templates cannot pull images of %s by its mirror %s: %v", name, mirror, err)
		default:
			return Note.because("set registry-mirrors or outbound-proxy, or import images by `shoal image import`",
				"templates cannot pull images of %s: %v", name, err)
		}
	}
	return ok("%s", strings.Join(good, ", "))
}

// checkPackages asks the mirrors that packages of images are read from.
func checkPackages(ctx context.Context, cfg *config.Config) Result {
	if len(cfg.PackageMirrors) == 0 {
		return ok("no mirrors are set")
	}
	trusted, err := outbound.Trusting(cfg.TrustCA)
	if err != nil {
		return Warn.because("correct trust-ca", "%v", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusted, Proxy: http.ProxyFromEnvironment}}
	for _, from := range slices.Sorted(maps.Keys(cfg.PackageMirrors)) {
		at := cfg.PackageMirrors[from]
		asking, cancel := context.WithTimeout(ctx, answerTime)
		req, err := http.NewRequestWithContext(asking, http.MethodHead, at, nil)
		var resp *http.Response
		if err == nil {
			resp, err = client.Do(req)
		}
		cancel()
		if err != nil {
			return Warn.because("correct package-mirrors, or the mirror",
				"steps of templates find no packages at %s, which stands for %s: %v", at, from, bare(err))
		}
		resp.Body.Close()
		if resp.StatusCode >= http.StatusInternalServerError {
			return Warn.because("correct package-mirrors, or the mirror", "%s answers %s", at, resp.Status)
		}
	}
	return ok("%d mirror(s) answer", len(cfg.PackageMirrors))
}
