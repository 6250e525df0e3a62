package api

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// stringMap returns entries of the given sizes as JSON.
func stringMap(entries, key, value int) string {
	m := map[string]string{}
	for i := range entries {
		name := fmt.Sprintf("k%d", i)
		m[name+strings.Repeat("n", max(key-len(name), 0))] = strings.Repeat("v", value)
	}
	data, _ := json.Marshal(m) // cannot fail for strings
	return string(data)
}

// TestRequestsAreBounded: what is at a bound is taken, and what is beyond it is refused by
// an answer that names the bound.
func TestRequestsAreBounded(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		field, value string
		refusal      string // "" if it is taken
	}{
		"metadata":              {"metadata", stringMap(256, 16, 240), ""},
		"entries of metadata":   {"metadata", stringMap(257, 8, 1), "at most 256"},
		"a key of metadata":     {"metadata", stringMap(1, 257, 1), "at most 256"},
		"a longest key":         {"metadata", stringMap(1, 256, 1), ""},
		"bytes of metadata":     {"metadata", stringMap(1, 8, 64<<10-7), "at most 65536"},
		"metadata of megabytes": {"metadata", stringMap(1, 8, 900_000), "at most 65536"},

		"variables":            {"envVars", stringMap(1024, 12, 488), ""},
		"many variables":       {"envVars", stringMap(1025, 8, 1), "at most 1024"},
		"a long variable":      {"envVars", stringMap(1, 8, 128<<10), "at most 131070"},
		"a longest variable":   {"envVars", stringMap(1, 8, 128<<10-10), ""},
		"bytes of variables":   {"envVars", stringMap(6, 8, 100_000), "at most 524288"},
		"a name with =":        {"envVars", `{"A=B":"c"}`, "= or NUL"},
		"a name with NUL":      {"envVars", `{"A\u0000":"c"}`, "= or NUL"},
		"no name":              {"envVars", `{"":"c"}`, "without a name"},
		"a value with NUL":     {"envVars", `{"A":"c\u0000d"}`, "NUL"},
		"any other characters": {"envVars", `{"a.b-c é":"=\n\t=","_":""}`, ""},

		"ports":      {"network", `{"httpsPorts":[` + strings.Repeat("443,", 256) + `443]}`, "at most 256"},
		"a template": {"templateID", `"` + strings.Repeat("x", 129) + `"`, "at most 128"},
		"a tag":      {"templateID", `"base:` + strings.Repeat("x", 129) + `"`, "at most 128"},
		"a space":    {"templateID", `"` + strings.Repeat("x", 129) + `/base"`, "at most 128"},
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"templateID":"base",%q:%s}`, c.field, c.value)
			for _, path := range []string{"/sandboxes", "/v2/sandboxes"} {
				r := w.call("POST", path, body)
				if c.refusal == "" {
					r.wants(t, 201, "")
					continue
				}
				r.wants(t, 400, c.refusal)
				if len(r.body) > 2000 {
					t.Errorf("the answer has %d bytes", len(r.body))
				}
			}
		})
	}
}

// TestBodiesAreBounded: only a template's steps may be long.
func TestBodiesAreBounded(t *testing.T) {
	w := newWorld(t)
	long := `{"templateID":"` + strings.Repeat("x", maxPlainBody) + `"}`
	w.call("POST", "/v2/sandboxes", long).wants(t, 413, "larger than 1 MiB")
	reg := w.call("POST", "/v3/templates", `{"name":"long"}`)
	reg.wants(t, 202, "")
	start := fmt.Sprintf("/v2/templates/%s/builds/%s", reg.field(t, "templateID"), reg.field(t, "buildID"))
	w.call("POST", start, fmt.Sprintf(`{"fromImage":"debian","startCmd":%q}`, strings.Repeat("x", maxBody))).
		wants(t, 413, "larger than 16 MiB")
	steps := strings.Repeat(`{"type":"RUN","args":["true"]},`, maxSteps) + `{"type":"RUN","args":["true"]}`
	w.call("POST", start, `{"fromImage":"debian","steps":[`+steps+`]}`).wants(t, 400, "at most 1000 steps")
	reg = w.call("POST", "/v3/templates", `{"name":"long"}`)
	start = fmt.Sprintf("/v2/templates/%s/builds/%s", reg.field(t, "templateID"), reg.field(t, "buildID"))
	w.call("POST", start, fmt.Sprintf(`{"fromImage":"debian","steps":[{"type":"RUN","args":[%q]}]}`,
		strings.Repeat("x", 2*maxPlainBody))).wants(t, 202, "")
}

// largestWrite remembers how much an answer wrote at once.
type largestWrite struct {
	*httptest.ResponseRecorder
	bytes int
}

func (l *largestWrite) Write(p []byte) (int, error) {
	l.bytes = max(l.bytes, len(p))
	return l.ResponseRecorder.Write(p)
}

// TestListsAreWrittenRowByRow, so that metadata does not add up in memory.
func TestListsAreWrittenRowByRow(t *testing.T) {
	w := newWorld(t)
	const rows = 20
	for range rows {
		w.create(`{"templateID":"base","metadata":` + stringMap(1, 8, maxMetadata-8) + `}`)
	}
	for _, path := range []string{"/sandboxes", "/v2/sandboxes"} {
		answer := largestWrite{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		req.Header.Set("X-API-Key", shoal.DevAPIKey)
		w.server.ServeHTTP(&answer, req)
		var list []gen.ListedSandbox
		if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil || len(list) != rows {
			t.Fatalf("%s: %d rows, %v", path, len(list), err)
		}
		if answer.bytes > 2*maxMetadata {
			t.Errorf("%s: %d bytes at once", path, answer.bytes)
		}
	}
}
