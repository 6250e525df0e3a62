// Package rpc carries shoal.Node between processes, by Connect, which plain gRPC
// clients can speak too.
package rpc

import (
	"context"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	"shoal/internal/orchestrator/rpc/gen/nodev1"
	"shoal/internal/orchestrator/rpc/gen/nodev1/nodev1connect"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

//go:generate sh -c "cd ../../../spec/orchestrator && go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate"

// NewHandler serves a node. Every request must carry the secret, but for GET
// /health, and for gRPC's health and reflection from this very machine: they tell
// nothing of sandboxes and are what operators' tools ask first.
func NewHandler(node shoal.Node, secret string, health http.Handler) http.Handler {
	mux := http.NewServeMux()
	path, service := nodev1connect.NewNodeServiceHandler(&server{node: node})
	mux.Handle(path, requireSecret(secret, withRequestID(service)))
	names := []string{nodev1connect.NodeServiceName, grpchealth.HealthV1ServiceName}
	for _, open := range []func() (string, http.Handler){
		func() (string, http.Handler) {
			return grpchealth.NewHandler(checker{node})
		},
		func() (string, http.Handler) {
			return grpcreflect.NewHandlerV1(grpcreflect.NewStaticReflector(names...))
		},
		func() (string, http.Handler) {
			return grpcreflect.NewHandlerV1Alpha(grpcreflect.NewStaticReflector(names...))
		},
	} {
		path, h := open()
		mux.Handle(path, localOr(requireSecret(secret, h), h))
	}
	mux.Handle("GET /health", health)
	return mux
}

// NewServer serves HTTP/1.1 and cleartext HTTP/2, which gRPC needs.
func NewServer(h http.Handler) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		Protocols:         new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	closing, end := context.WithCancel(context.Background())
	s.RegisterOnShutdown(end)
	s.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.Background(), closingKey{}, closing)
	}
	return s
}

func requireSecret(secret string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || secret == "" || subtle.ConstantTimeCompare([]byte(got), []byte(secret)) != 1 {
			writer := connect.NewErrorWriter()
			_ = writer.Write(
				w,
				r,
				encodeError(shoal.ErrUnauthorized.New("the shared secret is missing or wrong")),
			)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// localOr lets callers on loopback pass without the secret.
func localOr(guarded, open http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if addr, parseErr := netip.ParseAddr(host); err == nil && parseErr == nil && addr.IsLoopback() {
			open.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(shoal.RequestIDHeader)
		if id == "" {
			id = shoal.NewRequestID()
		}
		w.Header().Set(shoal.RequestIDHeader, id)
		span := telemetry.Current(r.Context())
		span.Set(telemetry.Procedure, r.URL.Path)
		span.Set(telemetry.Request, id)
		next.ServeHTTP(w, r.WithContext(shoal.WithRequestID(r.Context(), id)))
	})
}

// server adapts a node to the generated service.
type server struct {
	node  shoal.Node
	wakes awaited[error]
	fills awaited[fillAnswer]
}

var _ nodev1connect.NodeServiceHandler = (*server)(nil)

// reply wraps an answer or a failure.
func reply[T any](message *T, err error) (*connect.Response[T], error) {
	if err != nil {
		return nil, encodeError(err)
	}
	return connect.NewResponse(message), nil
}

func (s *server) Create(
	ctx context.Context,
	r *connect.Request[nodev1.CreateRequest],
) (*connect.Response[nodev1.Sandbox], error) {
	sb, err := s.node.Create(ctx, decodeSpec(r.Msg.Spec))
	return reply(encodeSandbox(sb), err)
}

func (s *server) Get(
	ctx context.Context,
	r *connect.Request[nodev1.GetRequest],
) (*connect.Response[nodev1.Sandbox], error) {
	sb, err := s.node.Get(ctx, r.Msg.SandboxId)
	return reply(encodeSandbox(sb), err)
}

func (s *server) List(
	ctx context.Context,
	r *connect.Request[nodev1.ListRequest],
) (*connect.Response[nodev1.ListResponse], error) {
	list, err := s.node.List(ctx)
	out := &nodev1.ListResponse{}
	for _, sb := range list {
		out.Sandboxes = append(out.Sandboxes, encodeSandbox(sb))
	}
	return reply(out, err)
}

func (s *server) Kill(
	ctx context.Context,
	r *connect.Request[nodev1.KillRequest],
) (*connect.Response[nodev1.KillResponse], error) {
	return reply(&nodev1.KillResponse{}, s.node.Kill(ctx, r.Msg.SandboxId, shoal.KillReason(r.Msg.Reason)))
}

func (s *server) SetDeadline(
	ctx context.Context,
	r *connect.Request[nodev1.SetDeadlineRequest],
) (*connect.Response[nodev1.Sandbox], error) {
	sb, err := s.node.SetDeadline(
		ctx,
		r.Msg.SandboxId,
		shoal.DeadlineChange{
			Timeout:    r.Msg.Timeout.AsDuration(),
			ExtendOnly: r.Msg.ExtendOnly,
			Wait:       r.Msg.Wait,
		},
	)
	return reply(encodeSandbox(sb), err)
}

func (s *server) SetNetwork(
	ctx context.Context,
	r *connect.Request[nodev1.SetNetworkRequest],
) (*connect.Response[nodev1.SetNetworkResponse], error) {
	return reply(
		&nodev1.SetNetworkResponse{},
		s.node.SetNetwork(ctx, r.Msg.SandboxId, decodeNetwork(r.Msg.Network)),
	)
}

func (s *server) Pause(
	ctx context.Context,
	r *connect.Request[nodev1.PauseRequest],
) (*connect.Response[nodev1.Sandbox], error) {
	opts := shoal.PauseOptions{Memory: r.Msg.Memory, RequireDaemon: r.Msg.RequireDaemon}
	sb, err := s.node.Pause(ctx, r.Msg.SandboxId, opts)
	return reply(encodeSandbox(sb), err)
}

func (s *server) Resume(
	ctx context.Context,
	r *connect.Request[nodev1.ResumeRequest],
) (*connect.Response[nodev1.Sandbox], error) {
	sb, err := s.node.Resume(
		ctx,
		r.Msg.SandboxId,
		shoal.ResumeOptions{Timeout: r.Msg.Timeout.AsDuration(), ColdBoot: r.Msg.ColdBoot},
	)
	return reply(encodeSandbox(sb), err)
}

func (s *server) Snapshot(
	ctx context.Context,
	r *connect.Request[nodev1.SnapshotRequest],
) (*connect.Response[nodev1.Build], error) {
	build, err := s.node.Snapshot(
		ctx,
		r.Msg.SandboxId,
		shoal.SnapshotTarget{TemplateID: r.Msg.TemplateId, BuildID: r.Msg.BuildId, DiskOnly: r.Msg.DiskOnly},
	)
	return reply(encodeBuild(build), err)
}

func (s *server) Fork(
	ctx context.Context,
	r *connect.Request[nodev1.ForkRequest],
) (*connect.Response[nodev1.ForkResponse], error) {
	specs := make([]shoal.Spec, len(r.Msg.Specs))
	for i, spec := range r.Msg.Specs {
		specs[i] = decodeSpec(spec)
	}
	results, err := s.node.Fork(ctx, r.Msg.SandboxId, specs)
	out := &nodev1.ForkResponse{}
	for _, result := range results {
		if result.Err != nil {
			out.Results = append(
				out.Results,
				&nodev1.ForkResult{Error: encodeKnown(shoal.AsError(result.Err))},
			)
			continue
		}
		out.Results = append(out.Results, &nodev1.ForkResult{Sandbox: encodeSandbox(result.Sandbox)})
	}
	return reply(out, err)
}

func (s *server) RemoveBuild(
	ctx context.Context,
	r *connect.Request[nodev1.RemoveBuildRequest],
) (*connect.Response[nodev1.RemoveBuildResponse], error) {
	return reply(&nodev1.RemoveBuildResponse{}, s.node.RemoveBuild(ctx, r.Msg.BuildId))
}

func (s *server) Collect(
	ctx context.Context,
	r *connect.Request[nodev1.CollectRequest],
) (*connect.Response[nodev1.CollectResponse], error) {
	c, err := s.node.Collect(ctx, shoal.Inventory{Installation: r.Msg.Installation,
		Builds: r.Msg.KnownBuildIds, Ended: r.Msg.EndedBuildIds},
		shoal.CollectOptions{Adopt: r.Msg.Adopt, EmptyTrash: r.Msg.EmptyTrash})
	return reply(
		&nodev1.CollectResponse{
			Builds:       int32(c.Builds),
			Snapshots:    int32(c.Snapshots),
			Trashed:      c.Trashed,
			Restored:     int32(c.Restored),
			Emptied:      int32(c.Emptied),
			Images:       int32(c.Images),
			Kernels:      int32(c.Kernels),
			Freed:        c.Freed,
			InTrash:      int32(c.InTrash),
			InTrashBytes: c.InTrashBytes,
		},
		err,
	)
}

func (s *server) Logs(
	ctx context.Context,
	r *connect.Request[nodev1.LogsRequest],
) (*connect.Response[nodev1.LogsResponse], error) {
	list, err := s.node.Logs(ctx, r.Msg.SandboxId, r.Msg.TeamId, decodeLogQuery(r.Msg))
	out := &nodev1.LogsResponse{}
	for _, e := range list {
		out.Entries = append(out.Entries, encodeLogEntry(e))
	}
	return reply(out, err)
}

func (s *server) Info(
	ctx context.Context,
	r *connect.Request[nodev1.InfoRequest],
) (*connect.Response[nodev1.NodeInfo], error) {
	info, err := s.node.Info(ctx)
	return reply(encodeInfo(info), err)
}

func (s *server) Switch(
	ctx context.Context, r *connect.Request[nodev1.SwitchRequest],
) (*connect.Response[nodev1.SwitchResponse], error) {
	feature, err := shoal.ParseSwitch(r.Msg.Name)
	if err == nil {
		err = s.node.Switch(ctx, feature, shoal.Standing{Off: r.Msg.Off, Others: r.Msg.Others})
	}
	return reply(&nodev1.SwitchResponse{}, err)
}
