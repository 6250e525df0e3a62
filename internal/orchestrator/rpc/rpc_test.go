package rpc

import (
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/orchestrator/rpc/gen/nodev1/nodev1connect"
	"shoal/internal/shoal"
)

// echo is a node whose answers are set and whose questions are kept.
type echo struct {
	sandbox  shoal.Sandbox
	info     shoal.NodeInfo
	samples  []shoal.Sample
	err      error
	asked    []any
	askedReq string
	wakes    func(context.Context, func(context.Context, shoal.Wake) error) error
	fills    func(context.Context, fillFunc) error
}

func (e *echo) ask(ctx context.Context, args ...any) {
	e.asked, e.askedReq = args, shoal.RequestID(ctx)
}

func (e *echo) Create(ctx context.Context, s shoal.Spec) (shoal.Sandbox, error) {
	e.ask(ctx, s)
	return e.sandbox, e.err
}
func (e *echo) Get(ctx context.Context, id string) (shoal.Sandbox, error) {
	e.ask(ctx, id)
	return e.sandbox, e.err
}
func (e *echo) List(ctx context.Context) ([]shoal.Sandbox, error) {
	e.ask(ctx)
	return []shoal.Sandbox{e.sandbox, e.sandbox}, e.err
}
func (e *echo) Kill(ctx context.Context, id string, r shoal.KillReason) error {
	e.ask(ctx, id, r)
	return e.err
}
func (e *echo) SetDeadline(ctx context.Context, id string, c shoal.DeadlineChange) (shoal.Sandbox, error) {
	e.ask(ctx, id, c)
	return e.sandbox, e.err
}
func (e *echo) SetNetwork(ctx context.Context, id string, n shoal.Network) error {
	e.ask(ctx, id, n)
	return e.err
}
func (e *echo) Switch(ctx context.Context, feature shoal.Switches, standing shoal.Standing) error {
	e.ask(ctx, feature, standing)
	return e.err
}
func (e *echo) Pause(ctx context.Context, id string, opts shoal.PauseOptions) (shoal.Sandbox, error) {
	e.ask(ctx, id, opts)
	return e.sandbox, e.err
}
func (e *echo) Resume(ctx context.Context, id string, opts shoal.ResumeOptions) (shoal.Sandbox, error) {
	e.ask(ctx, id, opts)
	return e.sandbox, e.err
}
func (e *echo) Snapshot(ctx context.Context, id string, into shoal.SnapshotTarget) (shoal.Build, error) {
	e.ask(ctx, id, into)
	return e.info.Builds[0], e.err
}
func (e *echo) Fork(ctx context.Context, id string, specs []shoal.Spec) ([]shoal.ForkResult, error) {
	e.ask(ctx, id, specs)
	return []shoal.ForkResult{{Sandbox: e.sandbox}, {Err: shoal.ErrCapacity.New("full")}}, e.err
}
func (e *echo) RemoveBuild(ctx context.Context, id string) error {
	e.ask(ctx, id)
	return e.err
}
func (e *echo) Collect(
	ctx context.Context, known shoal.Inventory, opts shoal.CollectOptions,
) (shoal.Collected, error) {
	e.ask(ctx, known, opts)
	return filled[shoal.Collected](), e.err
}
func (e *echo) Metrics(ctx context.Context, id string, q shoal.MetricsQuery) ([]shoal.Sample, error) {
	e.ask(ctx, id, q)
	return e.samples, e.err
}
func (e *echo) LatestMetrics(ctx context.Context, team string, ids []string) (map[string]shoal.Sample, error) {
	e.ask(ctx, team, ids)
	return map[string]shoal.Sample{"id": e.samples[0]}, e.err
}
func (e *echo) EgressRecords(ctx context.Context, id string, q shoal.EgressQuery) ([]shoal.EgressRecord, error) {
	e.ask(ctx, id, q)
	record := filled[shoal.EgressRecord]()
	record.SandboxID, record.TeamID = id, q.TeamID
	return []shoal.EgressRecord{record}, e.err
}
func (e *echo) Tallies(ctx context.Context, after time.Time) ([]shoal.Tally, error) {
	e.ask(ctx, after)
	return filled[[]shoal.Tally](), e.err
}
func (e *echo) Logs(ctx context.Context, id, team string, q shoal.LogQuery) ([]shoal.LogEntry, error) {
	e.ask(ctx, id, team, q)
	return filled[[]shoal.LogEntry](), e.err
}
func (e *echo) Info(ctx context.Context) (shoal.NodeInfo, error) {
	e.ask(ctx)
	return e.info, e.err
}

func (e *echo) Events(ctx context.Context, after shoal.EventMark) (shoal.EventBatch, error) {
	e.ask(ctx, after)
	return filled[shoal.EventBatch](), e.err
}

func (e *echo) Fills(ctx context.Context, fill fillFunc) error {
	if e.fills == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return e.fills(ctx, fill)
}

func (e *echo) Wakes(ctx context.Context, resume func(context.Context, shoal.Wake) error) error {
	if e.wakes == nil {
		return nil
	}
	return e.wakes(ctx, resume)
}

// fill sets every field below v to a value of its own.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(*n, *n).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.String:
		v.SetString(strings.Repeat("s", int(*n%7)+1))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*n) / 2)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		v.SetInt(*n)
	}
}

func filled[T any]() (value T) {
	var n int64
	fill(reflect.ValueOf(&value).Elem(), &n)
	return value
}

const secret = "shared"

func serve(t *testing.T, node shoal.Node) string {
	t.Helper()
	health := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("well")) })
	server := httptest.NewUnstartedServer(NewHandler(node, secret, health))
	server.Config = NewServer(server.Config.Handler)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func client(t *testing.T, address, secret string) *Client {
	t.Helper()
	c, err := NewClient(address, secret)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRoundTrip sends every field of every message through the wire.
func TestRoundTrip(t *testing.T) {
	node := &echo{sandbox: filled[shoal.Sandbox](), info: filled[shoal.NodeInfo](), samples: filled[[]shoal.Sample]()}
	c := client(t, serve(t, node), secret)
	ctx := shoal.WithRequestID(context.Background(), "the-request")
	same := func(name string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: error %v\n got  %+v\n want %+v", name, err, got, want)
		}
	}
	asked := func(name string, want ...any) {
		t.Helper()
		if !reflect.DeepEqual(node.asked, want) {
			t.Errorf("%s was asked\n      %+v\n want %+v", name, node.asked, want)
		}
		if node.askedReq != "the-request" {
			t.Errorf("%s: request ID %q", name, node.askedReq)
		}
	}
	spec := filled[shoal.Spec]()
	got, err := c.Create(ctx, spec)
	same("Create", got, node.sandbox, err)
	asked("Create", spec)
	got, err = c.Get(ctx, "id")
	same("Get", got, node.sandbox, err)
	asked("Get", "id")
	list, err := c.List(ctx)
	same("List", list, []shoal.Sandbox{node.sandbox, node.sandbox}, err)
	same("Kill", nil, nil, c.Kill(ctx, "id", shoal.KillAdmin))
	asked("Kill", "id", shoal.KillAdmin)
	change := shoal.DeadlineChange{Timeout: 1234 * time.Millisecond, ExtendOnly: true, Wait: true}
	got, err = c.SetDeadline(ctx, "id", change)
	same("SetDeadline", got, node.sandbox, err)
	asked("SetDeadline", "id", change)
	network := filled[shoal.Network]()
	same("SetNetwork", nil, nil, c.SetNetwork(ctx, "id", network))
	asked("SetNetwork", "id", network)
	network.DNSServers = []string{} // not the same as none
	same("SetNetwork", nil, nil, c.SetNetwork(ctx, "id", network))
	asked("SetNetwork", "id", network)
	standing := filled[shoal.Standing]()
	same("Switch", nil, nil, c.Switch(ctx, shoal.SwitchSignedURLs, standing))
	asked("Switch", shoal.SwitchSignedURLs, standing)
	paused, err := c.Pause(ctx, "id", filled[shoal.PauseOptions]())
	same("Pause", paused, node.sandbox, err)
	asked("Pause", "id", filled[shoal.PauseOptions]())
	options := filled[shoal.ResumeOptions]()
	got, err = c.Resume(ctx, "id", options)
	same("Resume", got, node.sandbox, err)
	asked("Resume", "id", options)
	target := filled[shoal.SnapshotTarget]()
	build, err := c.Snapshot(ctx, "id", target)
	same("Snapshot", build, node.info.Builds[0], err)
	asked("Snapshot", "id", target)
	forks, err := c.Fork(ctx, "id", []shoal.Spec{spec, spec})
	same("Fork", forks, []shoal.ForkResult{{Sandbox: node.sandbox}, {Err: shoal.ErrCapacity.New("full")}}, err)
	asked("Fork", "id", []shoal.Spec{spec, spec})
	same("RemoveBuild", nil, nil, c.RemoveBuild(ctx, "b"))
	asked("RemoveBuild", "b")
	known, opts := filled[shoal.Inventory](), filled[shoal.CollectOptions]()
	collected, err := c.Collect(ctx, known, opts)
	same("Collect", collected, filled[shoal.Collected](), err)
	asked("Collect", known, opts)
	part := filled[shoal.MetricsQuery]()
	samples, err := c.Metrics(ctx, "id", part)
	same("Metrics", samples, node.samples, err)
	asked("Metrics", "id", part)
	latest, err := c.LatestMetrics(ctx, "team", []string{"id", "other"})
	same("LatestMetrics", latest, map[string]shoal.Sample{"id": node.samples[0]}, err)
	asked("LatestMetrics", "team", []string{"id", "other"})
	wanted := filled[shoal.EgressQuery]()
	records, err := c.EgressRecords(ctx, "id", wanted)
	record := filled[shoal.EgressRecord]()
	record.SandboxID, record.TeamID = "id", wanted.TeamID
	same("EgressRecords", records, []shoal.EgressRecord{record}, err)
	asked("EgressRecords", "id", wanted)
	after := time.Unix(1, 2).UTC()
	tallies, err := c.Tallies(ctx, after)
	same("Tallies", tallies, filled[[]shoal.Tally](), err)
	asked("Tallies", after)
	query := filled[shoal.LogQuery]()
	lines, err := c.Logs(ctx, "id", "team", query)
	same("Logs", lines, filled[[]shoal.LogEntry](), err)
	asked("Logs", "id", "team", query)
	mark := filled[shoal.EventMark]()
	events, err := c.Events(ctx, mark)
	same("Events", events, filled[shoal.EventBatch](), err)
	asked("Events", mark)
	info, err := c.Info(ctx)
	same("Info", info, node.info, err)
}

// TestZeroRoundTrip: what is absent stays absent.
func TestZeroRoundTrip(t *testing.T) {
	node := &echo{}
	c := client(t, serve(t, node), secret)
	got, err := c.Create(context.Background(), shoal.Spec{})
	if err != nil || !reflect.DeepEqual(got, shoal.Sandbox{}) || !reflect.DeepEqual(node.asked, []any{shoal.Spec{}}) {
		t.Errorf("%+v %v asked %+v", got, err, node.asked)
	}
}

// TestErrors sends every entry of the catalogue through the wire.
func TestErrors(t *testing.T) {
	node := &echo{}
	c := client(t, serve(t, node), secret)
	for _, kind := range shoal.Catalogue {
		node.err = kind.Wrap(context.DeadlineExceeded, "text of %s", kind.Code).Because("why")
		_, err := c.Get(context.Background(), "id")
		known := shoal.AsError(err)
		if kind == shoal.ErrUnauthorized {
			continue // see TestSecret
		}
		if known.Kind != kind || known.Message != "text of "+kind.Code || known.Detail != "why" || known.Err == nil {
			t.Errorf("%s arrived as %s: %v", kind.Code, known.Code, err)
		}
	}
}

func TestSecret(t *testing.T) {
	address := serve(t, &echo{})
	for _, wrong := range []string{"", "other", secret + "x"} {
		_, err := client(t, address, wrong).Info(context.Background())
		// Tenants must not take it for their own key.
		if !shoal.ErrNodeUnreachable.Matches(err) || !strings.Contains(err.Error(), "shared secret") {
			t.Errorf("secret %q: %v", wrong, err)
		}
	}
	resp, err := http.Get("http://" + address + "/health")
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("health without the secret: %v %v", resp, err)
	}
	resp.Body.Close()
}

func TestUnreachable(t *testing.T) {
	_, err := client(t, "127.0.0.1:1", secret).Info(context.Background())
	if !shoal.ErrNodeUnreachable.Matches(err) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

// TestGRPC speaks gRPC over cleartext HTTP/2, as other tools do.
func TestGRPC(t *testing.T) {
	node := &echo{info: filled[shoal.NodeInfo]()}
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	httpClient := &http.Client{Transport: &credentials{secret: secret, next: transport}}
	c := nodev1connect.NewNodeServiceClient(httpClient, "http://"+serve(t, node), connect.WithGRPC())
	out, err := c.Info(context.Background(), connect.NewRequest(&nodev1.InfoRequest{}))
	if err != nil || out.Msg.Id != node.info.ID {
		t.Errorf("%v %v", out, err)
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"localhost:5008": "http://localhost:5008", "http://n:1": "http://n:1", "https://n:1/": "https://n:1", "[::1]:5008": "http://[::1]:5008",
		"http://http//localhost:5008": "", "localhost": "", "": "", "ftp://n:1": "", "n:1/path": "", "http://n:1?x=1": "",
	} {
		got, err := ParseAddress(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
}
