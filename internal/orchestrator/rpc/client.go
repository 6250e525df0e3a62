package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/orchestrator/rpc/gen/nodev1/nodev1connect"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Client is a node in another process.
type Client struct {
	address string
	service nodev1connect.NodeServiceClient
}

var _ shoal.Node = (*Client)(nil)

// ParseAddress takes HOST:PORT with or without a scheme and returns a base URL.
func ParseAddress(s string) (string, error) {
	text := s
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Port() == "" || u.Hostname() == "" ||
		(u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		return "", fmt.Errorf("%q is not HOST:PORT, optionally after http://", s)
	}
	return u.Scheme + "://" + u.Host, nil
}

// NewClient makes a client of the orchestrator at an address. It connects when it
// is first used.
func NewClient(address, secret string) (*Client, error) {
	base, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 20 * time.Second}).DialContext,
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 64,
	}
	c := &http.Client{Transport: &credentials{secret: secret, next: transport}}
	return &Client{address: address, service: nodev1connect.NewNodeServiceClient(c, base)}, nil
}

// NewClients is NewClient for each of a fleet's machines, of which there must be one.
func NewClients(addresses []string, secret string) ([]shoal.Node, error) {
	if len(addresses) == 0 {
		return nil, errors.New("--nodes must name at least one orchestrator, as HOST:PORT")
	}
	var nodes []shoal.Node
	for _, address := range addresses {
		c, err := NewClient(address, secret)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, c)
	}
	return nodes, nil
}

// credentials adds the secret, the request's ID and its trace to every call.
type credentials struct {
	secret string
	next   http.RoundTripper
}

func (c *credentials) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+c.secret)
	telemetry.Current(r.Context()).Set(telemetry.Procedure, r.URL.Path)
	telemetry.Inject(r.Context(), r.Header, telemetry.HopHeader)
	if id := shoal.RequestID(r.Context()); id != "" {
		r.Header.Set(shoal.RequestIDHeader, id)
	}
	return c.next.RoundTrip(r)
}

// call makes one RPC and translates its failure.
func call[In, Out any](
	ctx context.Context,
	c *Client,
	f func(context.Context, *connect.Request[In]) (*connect.Response[Out], error),
	in *In,
) (_ *Out, err error) {
	ctx, span := telemetry.Start(ctx, "rpc")
	defer func() { span.End(err) }()
	resp, err := f(ctx, connect.NewRequest(in))
	if err != nil {
		return nil, decodeError(c.address, err)
	}
	return resp.Msg, nil
}

// Create implements shoal.Node.
func (c *Client) Create(ctx context.Context, spec shoal.Spec) (shoal.Sandbox, error) {
	out, err := call(ctx, c, c.service.Create, &nodev1.CreateRequest{Spec: encodeSpec(spec)})
	return sandboxOr(out, err)
}

// Get implements shoal.Node.
func (c *Client) Get(ctx context.Context, sandboxID string) (shoal.Sandbox, error) {
	out, err := call(ctx, c, c.service.Get, &nodev1.GetRequest{SandboxId: sandboxID})
	return sandboxOr(out, err)
}

// List implements shoal.Node.
func (c *Client) List(ctx context.Context) ([]shoal.Sandbox, error) {
	out, err := call(ctx, c, c.service.List, &nodev1.ListRequest{})
	if err != nil {
		return nil, err
	}
	var list []shoal.Sandbox
	for _, sb := range out.Sandboxes {
		list = append(list, decodeSandbox(sb))
	}
	return list, nil
}

// Kill implements shoal.Node.
func (c *Client) Kill(ctx context.Context, sandboxID string, reason shoal.KillReason) error {
	_, err := call(ctx, c, c.service.Kill, &nodev1.KillRequest{SandboxId: sandboxID, Reason: string(reason)})
	return err
}

// SetDeadline implements shoal.Node.
func (c *Client) SetDeadline(
	ctx context.Context,
	sandboxID string,
	change shoal.DeadlineChange,
) (shoal.Sandbox, error) {
	out, err := call(ctx, c, c.service.SetDeadline, &nodev1.SetDeadlineRequest{SandboxId: sandboxID,
		Timeout: durationpb.New(change.Timeout), ExtendOnly: change.ExtendOnly, Wait: change.Wait})
	return sandboxOr(out, err)
}

// SetNetwork implements shoal.Node.
func (c *Client) SetNetwork(ctx context.Context, sandboxID string, network shoal.Network) error {
	_, err := call(
		ctx,
		c,
		c.service.SetNetwork,
		&nodev1.SetNetworkRequest{SandboxId: sandboxID, Network: encodeNetwork(network)},
	)
	return err
}

// Pause implements shoal.Node.
func (c *Client) Pause(
	ctx context.Context, sandboxID string, opts shoal.PauseOptions,
) (shoal.Sandbox, error) {
	out, err := call(ctx, c, c.service.Pause, &nodev1.PauseRequest{SandboxId: sandboxID, Memory: opts.Memory,
		RequireDaemon: opts.RequireDaemon})
	return sandboxOr(out, err)
}

// Resume implements shoal.Node.
func (c *Client) Resume(
	ctx context.Context,
	sandboxID string,
	opts shoal.ResumeOptions,
) (shoal.Sandbox, error) {
	out, err := call(ctx, c, c.service.Resume, &nodev1.ResumeRequest{SandboxId: sandboxID,
		Timeout: durationpb.New(opts.Timeout), ColdBoot: opts.ColdBoot})
	return sandboxOr(out, err)
}

// Snapshot implements shoal.Node.
func (c *Client) Snapshot(
	ctx context.Context,
	sandboxID string,
	into shoal.SnapshotTarget,
) (shoal.Build, error) {
	out, err := call(
		ctx,
		c,
		c.service.Snapshot,
		&nodev1.SnapshotRequest{SandboxId: sandboxID, TemplateId: into.TemplateID, BuildId: into.BuildID,
			DiskOnly: into.DiskOnly},
	)
	if err != nil {
		return shoal.Build{}, err
	}
	return decodeBuild(out), nil
}

// Fork implements shoal.Node.
func (c *Client) Fork(ctx context.Context, sandboxID string, specs []shoal.Spec) ([]shoal.ForkResult, error) {
	in := &nodev1.ForkRequest{SandboxId: sandboxID}
	for _, spec := range specs {
		in.Specs = append(in.Specs, encodeSpec(spec))
	}
	out, err := call(ctx, c, c.service.Fork, in)
	if err != nil {
		return nil, err
	}
	results := make([]shoal.ForkResult, len(out.Results))
	for i, r := range out.Results {
		if r.Error == nil {
			results[i].Sandbox = decodeSandbox(r.Sandbox)
		} else if results[i].Err = decodeKnown(r.Error); results[i].Err == nil {
			results[i].Err = errors.New(r.Error.Message)
		}
	}
	return results, nil
}

// RemoveBuild implements shoal.Node.
func (c *Client) RemoveBuild(ctx context.Context, buildID string) error {
	_, err := call(ctx, c, c.service.RemoveBuild, &nodev1.RemoveBuildRequest{BuildId: buildID})
	return err
}

// Collect implements shoal.Node.
func (c *Client) Collect(
	ctx context.Context, known shoal.Inventory, opts shoal.CollectOptions,
) (shoal.Collected, error) {
	out, err := call(ctx, c, c.service.Collect, &nodev1.CollectRequest{Installation: known.Installation,
		KnownBuildIds: known.Builds, EndedBuildIds: known.Ended, Adopt: opts.Adopt, EmptyTrash: opts.EmptyTrash})
	if err != nil {
		return shoal.Collected{}, err
	}
	return shoal.Collected{
		Builds:       int(out.Builds),
		Snapshots:    int(out.Snapshots),
		Trashed:      out.Trashed,
		Restored:     int(out.Restored),
		Emptied:      int(out.Emptied),
		Images:       int(out.Images),
		Kernels:      int(out.Kernels),
		Freed:        out.Freed,
		InTrash:      int(out.InTrash),
		InTrashBytes: out.InTrashBytes,
	}, nil
}

// Logs implements shoal.Node.
func (c *Client) Logs(
	ctx context.Context,
	sandboxID, teamID string,
	q shoal.LogQuery,
) ([]shoal.LogEntry, error) {
	in := encodeLogQuery(q)
	in.SandboxId, in.TeamId = sandboxID, teamID
	out, err := call(ctx, c, c.service.Logs, in)
	if err != nil {
		return nil, err
	}
	var list []shoal.LogEntry
	for _, e := range out.Entries {
		list = append(list, decodeLogEntry(e))
	}
	return list, nil
}

// Info implements shoal.Node.
func (c *Client) Info(ctx context.Context) (shoal.NodeInfo, error) {
	out, err := call(ctx, c, c.service.Info, &nodev1.InfoRequest{})
	if err != nil {
		return shoal.NodeInfo{}, err
	}
	return decodeInfo(out), nil
}

// Switch implements shoal.Node.
func (c *Client) Switch(ctx context.Context, feature shoal.Switches, standing shoal.Standing) error {
	_, err := call(ctx, c, c.service.Switch, &nodev1.SwitchRequest{Name: feature.String(), Off: standing.Off,
		Others: standing.Others})
	return err
}

func sandboxOr(sb *nodev1.Sandbox, err error) (shoal.Sandbox, error) {
	if err != nil {
		return shoal.Sandbox{}, err
	}
	return decodeSandbox(sb), nil
}
