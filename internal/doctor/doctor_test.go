package doctor

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"

	"shoal/internal/config"
)

func TestPortHolder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if holder := PortHolder(l.Addr().String()); !strings.Contains(holder, "doctor.test") {
		t.Errorf("holder of our own port: %s", holder)
	}
	// It does not take the same port on another address.
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if holder := PortHolder("127.0.0.2:" + port); strings.Contains(holder, "doctor.test") {
		t.Errorf("holder of another address: %s", holder)
	}
	if holder := PortHolder("nonsense"); holder != "an unknown process" {
		t.Errorf("holder of nonsense: %s", holder)
	}
}

func settings(t *testing.T) *config.Config {
	t.Helper()
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	return &config.Config{DataDir: t.TempDir(), RunDir: t.TempDir(), Instance: "none",
		HostCIDR: "10.91.0.0/16", VethCIDR: "10.92.0.0/16",
		APIListen: free(), ProxyListen: free(), HealthListen: free(), NodeListen: free()}
}

// TestEveryFailureHasAFix checks this machine, and then settings that cannot work.
func TestEveryFailureHasAFix(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	bad := settings(t)
	bad.APIListen, bad.HostCIDR = l.Addr().String(), "0.0.0.0/1"
	found := map[string]Result{}
	for _, cfg := range []*config.Config{settings(t), bad} {
		// No resolver and no registry is reached, on purpose.
		cfg.DNS, cfg.OutboundProxy, cfg.OTLPEndpoint = []string{"127.0.0.1:1"}, "http://127.0.0.1:1", "http://127.0.0.1:1"
		cfg.OTLPSignals = []string{"logs"}
		for _, r := range Run(context.Background(), cfg, All, "test") {
			if r.Found == "" || r.Name == "" {
				t.Errorf("%+v says nothing", r)
			}
			if r.Level == Fail && r.Fix == "" {
				t.Errorf("%s fails without a fix: %s", r.Name, r.Found)
			}
			found[r.Name] = r
		}
	}
	if r := found["ports"]; r.Level != Fail || !strings.Contains(r.Found, "doctor.test") {
		t.Errorf("a taken port: %+v", r)
	}
	if os.Geteuid() != 0 && found["root"].Level != Fail {
		t.Error("not being root is no failure")
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	Print(&b, []Result{{Name: "thing", Level: Fail, Found: "broken", Fix: "mend it"}})
	if !strings.Contains(b.String(), "FAIL") || !strings.Contains(b.String(), "fix: mend it") {
		t.Errorf("got %q", b.String())
	}
	if Worst([]Result{{Level: Note}, {Level: Fail}, {Level: OK}}) != Fail {
		t.Error("the worst of several")
	}
}

func TestDescriptors(t *testing.T) {
	for hard, want := range map[uint64]Level{256: Warn, 1024: Warn, 20000: Note, 100_000: OK, 1 << 20: OK} {
		r := judgeDescriptors(hard)
		if r.Level != want || (r.Level != OK) != strings.Contains(r.Fix, "LimitNOFILE") {
			t.Errorf("%d: %+v", hard, r)
		}
	}
}

// TestRoles: a role is not asked for what only others need.
func TestRoles(t *testing.T) {
	named := func(role Role) map[string]bool {
		cfg := settings(t)
		cfg.DNS, cfg.OutboundProxy = []string{"127.0.0.1:1"}, "http://127.0.0.1:1"
		names := map[string]bool{}
		for _, r := range Run(t.Context(), cfg, role, "test") {
			names[r.Name] = true
		}
		return names
	}
	for role, c := range map[Role]struct{ asked, not []string }{
		All:          {[]string{"root", "ports", "database", "memory"}, []string{"machines"}},
		Orchestrator: {[]string{"root", "resolvers", "memory"}, []string{"database", "machines", "ports"}},
		API:          {[]string{"database", "machines", "memory"}, []string{"root", "kvm", "resolvers"}},
		Proxy:        {[]string{"machines", "memory"}, []string{"root", "database"}},
	} {
		got := named(role)
		for _, name := range c.asked {
			if !got[name] {
				t.Errorf("%s: %s is not looked at", role, name)
			}
		}
		for _, name := range c.not {
			if got[name] {
				t.Errorf("%s: %s is looked at", role, name)
			}
		}
	}
}
