package attack

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// What tenants name is fetched by the host, which stands where tenants must not reach.

// outcome is how a template build ended.
type outcome struct{ status, log string }

// build makes a template from an image and waits for the end of it. extra are further
// members of the request.
func build(ctx context.Context, name, image, extra string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	var made struct{ TemplateID, BuildID string }
	if err := fetch(ctx, "POST", "/v3/templates", fmt.Sprintf(`{"name":%q}`, name), &made); err != nil {
		return outcome{}, err
	}
	defer ask(context.WithoutCancel(ctx), "DELETE", "/templates/"+made.TemplateID, "")
	path := "/templates/" + made.TemplateID + "/builds/" + made.BuildID
	if a := ask(ctx, "POST", "/v2"+path, fmt.Sprintf(`{"fromImage":%q,"steps":[]%s}`, image, extra)); !a.ok() {
		return outcome{"refused", a.body}, nil
	}
	for {
		var said struct {
			Status     string
			Reason     struct{ Message string }
			LogEntries []struct{ Message string }
		}
		if err := fetch(ctx, "GET", path+"/status?logsOffset=0&limit=100", "", &said); err != nil {
			return outcome{}, err
		}
		if said.Status == "ready" || said.Status == "error" {
			o := outcome{said.Status, said.Reason.Message}
			for _, entry := range said.LogEntries {
				o.log += "\n" + entry.Message
			}
			return o, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// internalNames are ways to name an internal address.
func internalNames() []string {
	var names []string
	for _, address := range append(slices.Clone(ownAddresses), "10.1.2.3", "172.20.0.9", "192.168.1.1",
		"100.100.100.200", "169.254.169.254", "168.63.129.16", "192.0.0.192", "198.18.0.1", "fd00:ec2::254") {
		names = append(names, net.JoinHostPort(address, "80"))
		names = append(names, strings.TrimSuffix(nameOf(address), "."))
	}
	return append(names, "localhost:80", "localhost:5008", "[::ffff:10.1.2.3]:80", "0.0.0.0:80", "[::]:80",
		"0x0a010203:80", "167838211:80", "10.1.515:80", "registry.localhost:80",
		strings.TrimSuffix("swing-"+nameOf("10.1.2.3"), "."), strings.TrimSuffix("swing-"+nameOf("127.0.0.1"), "."))
}

// TestTenantImages names images at internal addresses. The host connects to none of them.
func TestTenantImages(t *testing.T) {
	neighbor := create(t, "")
	if err := neighbor.start(t.Context(), "root", "python3 -m http.server 80"); err != nil {
		t.Fatal(err)
	}
	guest, _, _ := strings.Cut(strings.TrimPrefix(neighbor.URL, "http://"), ":")
	nothingArrives(t)
	names := append(internalNames(), guest+":80", net.JoinHostPort(guest, "49983"))
	var wg sync.WaitGroup
	places := make(chan struct{}, 6)
	for n, name := range names {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			extra := ""
			if n%2 == 1 {
				extra = `,"fromImageRegistry":{"type":"registry","username":"u","password":"p"}`
			}
			o, err := build(t.Context(), fmt.Sprint("inward-", n), name+"/some/image:v1", extra)
			if err != nil || o.status == "ready" {
				t.Errorf("%s: %+v, error %v", name, o, err)
			}
			if strings.Contains(o.log, secret) || strings.Contains(o.log, "HTTP") {
				t.Errorf("%s: the log quotes what answered: %s", name, o.log)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if log, err := neighbor.run(ctx, "root", "cat /tmp/started.log"); err != nil || strings.Contains(log, "GET") {
		t.Errorf("the host has called the neighbor: %q, error %v", log, err)
	}
}
