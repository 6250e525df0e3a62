package filesystem

import (
	"context"
	"fmt"
	"os"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envd/file"
	"shoal/internal/envd/stream"
	"shoal/internal/envd/watch"
	pb "shoal/internal/envdapi/gen/filesystem"
)

// watchRequest is what WatchDir and CreateWatcher have in common.
type watchRequest interface {
	GetPath() string
	GetRecursive() bool
	GetIncludeEntry() bool
	GetAllowNetworkMounts() bool
}

// watch checks a request and starts its watcher.
func (s *Service) watch(ctx context.Context, req watchRequest) (*watch.Watcher, error) {
	_, path, err := s.resolve(ctx, req.GetPath())
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: %w", path, file.ErrNotDirectory)
	}
	if err != nil {
		return nil, refuse(err)
	}
	kind, err := watch.NetworkMount(path)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	if kind != "" && !req.GetAllowNetworkMounts() {
		return nil, connect.NewError(connect.CodeInvalidArgument,
			fmt.Errorf("%s is on a network mount (%s), where changes made elsewhere are not seen; "+
				"allow network mounts to watch it nevertheless", path, kind))
	}
	opts := watch.Options{Recursive: req.GetRecursive()}
	if req.GetIncludeEntry() {
		opts.Describe = func(path string) (file.Entry, error) { return file.Stat(path, s.accounts) }
	}
	w, err := s.watchers.New(path, opts)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	return w, nil
}

// WatchDir streams events until the client leaves, the call's deadline or the
// watcher's failure.
func (s *Service) WatchDir(ctx context.Context, req *connect.Request[pb.WatchDirRequest],
	resp *connect.ServerStream[pb.WatchDirResponse]) error {
	if err := stream.Ended(ctx); err != nil {
		return err
	}
	w, err := s.watch(ctx, req.Msg)
	if err != nil {
		return err
	}
	defer w.Close()
	start := &pb.WatchDirResponse_Start{Start: &pb.WatchDirResponse_StartEvent{}}
	if err := resp.Send(&pb.WatchDirResponse{Event: start}); err != nil {
		return err
	}
	alive := &pb.WatchDirResponse_Keepalive{Keepalive: &pb.WatchDirResponse_KeepAlive{}}
	keepalive := stream.Keepalive(req.Header())
	idle := time.NewTimer(keepalive)
	defer idle.Stop()
	for {
		select {
		case <-w.Notify():
			err = sendEvents(w, resp)
		case <-idle.C:
			err = resp.Send(&pb.WatchDirResponse{Event: alive})
		case <-ctx.Done():
			return stream.Ended(ctx)
		}
		if err != nil {
			return err
		}
		idle.Reset(keepalive)
	}
}

func sendEvents(w *watch.Watcher, resp *connect.ServerStream[pb.WatchDirResponse]) error {
	events, err := w.Take()
	if err != nil {
		return connect.NewError(connect.CodeInternal, err)
	}
	for _, e := range events {
		change := &pb.WatchDirResponse_Filesystem{Filesystem: event(e)}
		if err := resp.Send(&pb.WatchDirResponse{Event: change}); err != nil {
			return err
		}
	}
	return nil
}

var eventTypes = map[watch.Op]pb.EventType{
	watch.Create: pb.EventType_EVENT_TYPE_CREATE,
	watch.Rename: pb.EventType_EVENT_TYPE_RENAME,
	watch.Chmod:  pb.EventType_EVENT_TYPE_CHMOD,
	watch.Write:  pb.EventType_EVENT_TYPE_WRITE,
	watch.Remove: pb.EventType_EVENT_TYPE_REMOVE,
}

func event(e watch.Event) *pb.FilesystemEvent {
	m := &pb.FilesystemEvent{Name: readable(e.Name), Type: eventTypes[e.Op]}
	if e.Entry != nil {
		m.Entry = message(*e.Entry)
	}
	return m
}
