package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"shoal/internal/artifact"
	"shoal/internal/build"
	"shoal/internal/egress"
	"shoal/internal/endpoint"
	"shoal/internal/fleet"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/orchestrator"
	"shoal/internal/proxy"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/otlp"
)

const root = "../.."

func documented(t *testing.T) map[string]Metric {
	t.Helper()
	table, err := Documented(root)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestExported scrapes the parts that need neither root nor a database; test/e2e scrapes a whole
// installation.
func TestExported(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	artifacts, err := artifact.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	machine := orchestrator.New(orchestrator.Config{NodeID: "n", DataDir: t.TempDir(), RunDir: t.TempDir()},
		runtime.Set{}, nil, nil, artifacts, log)
	machines := fleet.New(fleet.Config{Nodes: []shoal.Node{fleettest.New("n")}}, log)
	steward := egress.NewSteward(egress.StewardConfig{RunDir: t.TempDir()}, log)
	exporter, err := otlp.New(otlp.Config{}, log)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := endpoint.NewRegistry("1.2.3", exporter.Meters(), machine.Meters(), steward.Meters(), machines.Meters(), proxy.New(nil, log).Meters(),
		build.New(build.QueueConfig{}, log).Meters())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(endpoint.NewHealthServer(endpoint.NewMetrics(registry, log), nil).Handler)
	defer server.Close()
	text := get(t, server.URL+"/metrics")
	families, err := Families(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range Differences(families, documented(t)) {
		t.Error(difference)
	}
	for _, name := range []string{"shoal_info", "shoal_sandboxes", "shoal_nodes", "shoal_proxy_requests_total",
		"shoal_builds_open", "go_goroutines", "process_open_fds"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "shoal_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if body := get(t, server.URL+"/"); string(body) != "healthy" {
		t.Errorf("the health check says %q", body)
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %v", resp.StatusCode, err)
	}
	return body
}

// TestDifferencesAreFound: the comparison can fail.
func TestDifferencesAreFound(t *testing.T) {
	table := documented(t)
	for text, want := range map[string]string{
		"# TYPE shoal_new gauge\nshoal_new 1\n":                             "not documented",
		"# TYPE shoal_info counter\nshoal_info{version=\"1\"} 1\n":          "is a counter",
		"# TYPE shoal_info gauge\nshoal_info{version=\"1\",team=\"x\"} 1\n": "has the labels",
	} {
		families, err := Families(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := Differences(families, table); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// queries returns the board's and the rules' queries by where they stand.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	read(t, "board.json", json.Unmarshal, &board)
	for _, p := range board.Panels {
		for i, target := range p.Targets {
			all[fmt.Sprintf("board: %s, %d", p.Title, i+1)] = target.Expr
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations struct{ Summary, Fix string }
			}
		}
	}
	read(t, "alerts.yml", yaml.Unmarshal, &rules)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all["alert: "+r.Alert] = r.Expr
			if r.Alert == "" || r.Annotations.Summary == "" || r.Annotations.Fix == "" {
				t.Errorf("a rule without a name, a summary or a fix: %+v", r)
			}
		}
	}
	return all
}

func read(t *testing.T, name string, decode func([]byte, any) error, into any) {
	t.Helper()
	data, err := os.ReadFile(root + "/deploy/grafana/" + name)
	if err == nil {
		err = decode(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestQueries: each query is one, and asks for metrics and labels that there are.
func TestQueries(t *testing.T) {
	table := documented(t)
	all := queries(t)
	if len(all) < 30 {
		t.Errorf("only %d queries were found", len(all))
	}
	for where, query := range all {
		for _, problem := range check(query, table) {
			t.Errorf("%s: %s", where, problem)
		}
	}
	for query, want := range map[string]string{
		"sum(": "parse error", "shoal_nothing": "no metric", `shoal_nodes{state="ready"}`: "no label",
		`shoal_nodes{status="asleep"}`: "no value", "sum by (team) (shoal_nodes)": "no label",
		"shoal_sandbox_sampling_seconds": "histogram", "rate(shoal_nodes_bucket[5m])": "no metric",
		"rate(shoal_nodes[5m])": "gauge", "sum(shoal_dns_queries_total)": "counter",
	} {
		if problems := strings.Join(check(query, table), "; "); !strings.Contains(problems, want) {
			t.Errorf("%s: %q, want %q", query, problems, want)
		}
	}
}

// nameLabel is how a query's matchers have the metric's name.
const nameLabel = "__name__"

// byPrometheus are labels that it adds to what it scrapes.
var byPrometheus = []string{"instance", "job"}

// check lists what is wrong with a query.
func check(query string, table map[string]Metric) (problems []string) {
	expr, err := parser.ParseExpr(query)
	if err != nil {
		return []string{"parse error: " + err.Error()}
	}
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	known := slices.Clone(byPrometheus) // labels of all metrics in it
	var groupings []string
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		switch n := node.(type) {
		case *parser.AggregateExpr:
			groupings = append(groupings, n.Grouping...)
		case *parser.VectorSelector:
			known = append(known, checkSelector(n, path, table, bad)...)
		}
		return nil
	})
	for _, label := range groupings {
		if !slices.Contains(known, label) {
			bad("no label %s to group by", label)
		}
	}
	return problems
}

// checkSelector returns the labels of what a query selects.
func checkSelector(
	s *parser.VectorSelector, path []parser.Node, table map[string]Metric, bad func(string, ...any),
) []string {
	if !strings.HasPrefix(s.Name, "shoal_") { // up, go_… and process_…
		return nil
	}
	row, ok := table[s.Name]
	own := slices.Clone(row.Labels)
	if base, isBucket := strings.CutSuffix(s.Name, "_bucket"); !ok && isBucket && table[base].Type == "histogram" {
		row, ok, own = table[base], true, append(slices.Clone(table[base].Labels), "le")
	} else if row.Type == "histogram" {
		bad("%s is a histogram", s.Name)
	}
	if !ok {
		bad("no metric %s", s.Name)
		return nil
	}
	isRange := false
	if len(path) > 0 {
		_, isRange = path[len(path)-1].(*parser.MatrixSelector)
	}
	if counts := row.Type != "gauge"; counts != isRange {
		bad("%s is a %s", s.Name, row.Type)
	}
	for _, m := range s.LabelMatchers {
		switch {
		case m.Name == nameLabel || slices.Contains(byPrometheus, m.Name):
		case !slices.Contains(own, m.Name):
			bad("%s has no label %s", s.Name, m.Name)
		case m.Name != "code":
			for _, value := range strings.Split(m.Value, "|") {
				if !strings.Contains(row.Text, "`"+value+"`") {
					bad("%s has no value %s of %s", s.Name, value, m.Name)
				}
			}
		}
	}
	return own
}
