package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// finding is what `shoal doctor --json` prints.
type finding struct{ Name, Level, Found, Fix string }

// doctor runs the command against an installation, with further settings of its own.
func doctor(t *testing.T, b *box, env []string, args ...string) (list map[string]finding, failed bool) {
	t.Helper()
	other := *b.Installation
	other.Env = append(append([]string{}, b.Env...), env...)
	out, err := other.Run(t.Context(), append([]string{"doctor", "--json"}, args...)...)
	var found []finding
	begin := strings.Index(out, "[")
	if begin < 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := json.NewDecoder(strings.NewReader(out[begin:])).Decode(&found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	list = map[string]finding{}
	for _, f := range found {
		list[f.Name] = f
	}
	return list, err != nil
}

// TestDoctorsSandbox: the whole way of a client, by both routes; and a way that leads nowhere is
// told, after which no sandbox is left.
func TestDoctorsSandbox(t *testing.T) {
	list, failed := doctor(t, server, nil, "--sandbox", "--contents")
	for _, step := range []string{"create", "run, by header", "run, by host", "pause", "resume", "run, resumed", "kill",
		"images", "kernels", "snapshots", "leftovers", "database", "database schema"} {
		if list[step].Level != "ok" {
			t.Errorf("%s: %+v", step, list[step])
		}
	}
	if list["ports"].Level != "note" || failed {
		t.Errorf("failed %v, ports: %+v", failed, list["ports"])
	}
	list, failed = doctor(t, server, []string{"E2B_SANDBOX_URL=http://127.0.0.1:1"}, "--sandbox")
	if !failed || list["run, by header"].Level != "fail" || list["kill"].Level != "ok" {
		t.Errorf("without the proxy: %+v", list)
	}
	list, failed = doctor(t, server, []string{"E2B_API_KEY=e2b_" + strings.Repeat("0", 32)}, "--sandbox")
	if !failed || !strings.Contains(list["create"].Found, "401") || list["create"].Fix == "" {
		t.Errorf("with a wrong key: %+v", list["create"])
	}
	eventually(t, 5*time.Second, "the end of the sandboxes", func() bool {
		_, body := server.call(t, "GET", "/v2/sandboxes?metadata=made-by%3Dshoal%2520doctor", "")
		return body == "[]\n" || body == "[]"
	})
}
