// Package filesystem is the RPC service filesystem.Filesystem (envd.md §2.5
// and §2.6): entries, directories and watchers.
package filesystem

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"shoal/internal/envd/access"
	"shoal/internal/envd/account"
	"shoal/internal/envd/file"
	"shoal/internal/envd/settings"
	"shoal/internal/envd/watch"
	pb "shoal/internal/envdapi/gen/filesystem"
	"shoal/internal/envdapi/gen/filesystem/filesystemconnect"
)

// Service serves the RPCs. Use New.
type Service struct {
	callers  access.Callers
	accounts *account.Database
	settings *settings.Settings
	watchers *watch.Group
	polled   polled
}

var _ filesystemconnect.FilesystemHandler = (*Service)(nil)

// New returns a service whose watchers belong to the group.
func New(callers access.Callers, watchers *watch.Group) *Service {
	return &Service{callers: callers, accounts: callers.Accounts, settings: callers.Settings,
		watchers: watchers, polled: polled{idle: unpolledTime}}
}

// resolve returns the calling user and the absolute path. Errors are Connect errors.
func (s *Service) resolve(ctx context.Context, path string) (account.User, string, error) {
	u, err := s.callers.User(ctx)
	if err != nil {
		return u, "", err
	}
	resolved, err := u.Resolve(path, s.settings.DefaultWorkdir())
	if err != nil {
		return u, "", connect.NewError(connect.CodeInvalidArgument, err)
	}
	return u, resolved, nil
}

// refuse makes a Connect error of one of the file system. Only a missing name and a few
// conditions have a code of their own.
func refuse(err error) error {
	code := connect.CodeInternal
	switch {
	case errors.Is(err, file.ErrNotDirectory):
		code = connect.CodeInvalidArgument
	case errors.Is(err, file.ErrCycle), errors.Is(err, syscall.ELOOP):
		code = connect.CodeFailedPrecondition
	case file.BadName(err):
		code = connect.CodeInvalidArgument
	case errors.Is(err, os.ErrNotExist):
		code = connect.CodeNotFound
	}
	return connect.NewError(code, err)
}

// fail is refuse for calls that have no code of their own for what is missing or in the
// way: only a path that can never be used is the caller's fault.
func fail(err error) error {
	if file.BadName(err) {
		return refuse(err)
	}
	return connect.NewError(connect.CodeInternal, err)
}

// Stat describes a path without following a final link.
func (s *Service) Stat(ctx context.Context, req *connect.Request[pb.StatRequest],
) (*connect.Response[pb.StatResponse], error) {
	_, path, err := s.resolve(ctx, req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	entry, err := file.Stat(path, s.accounts)
	if err != nil {
		return nil, refuse(err)
	}
	return connect.NewResponse(&pb.StatResponse{Entry: message(entry)}), nil
}

// MakeDir creates a directory with its ancestors.
func (s *Service) MakeDir(ctx context.Context, req *connect.Request[pb.MakeDirRequest],
) (*connect.Response[pb.MakeDirResponse], error) {
	u, path, err := s.resolve(ctx, req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return nil, connect.NewError(connect.CodeAlreadyExists,
				errors.New("the directory exists already: "+path))
		}
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("a file is in the way: "+path))
	}
	if err := s.makeAll(path, u); err != nil {
		return nil, fail(err)
	}
	entry, err := file.Stat(path, s.accounts)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	return connect.NewResponse(&pb.MakeDirResponse{Entry: message(entry)}), nil
}

// makeAll creates a directory, and lets recursive watchers notice it before the caller can
// put anything there.
func (s *Service) makeAll(path string, u account.User) error {
	made, err := file.MakeAll(path, u)
	if made {
		s.watchers.Settle()
	}
	return err
}

// Move renames; an existing file at the destination is replaced.
func (s *Service) Move(ctx context.Context, req *connect.Request[pb.MoveRequest],
) (*connect.Response[pb.MoveResponse], error) {
	u, source, err := s.resolve(ctx, req.Msg.GetSource())
	if err != nil {
		return nil, err
	}
	_, destination, err := s.resolve(ctx, req.Msg.GetDestination())
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(source); err != nil {
		return nil, refuse(err) // before any directory is made
	}
	if err := s.makeAll(filepath.Dir(destination), u); err != nil {
		return nil, fail(err)
	}
	if err := os.Rename(source, destination); err != nil {
		return nil, refuse(err)
	}
	entry, err := file.Stat(destination, s.accounts)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	return connect.NewResponse(&pb.MoveResponse{Entry: message(entry)}), nil
}

// ListDir describes what is below a directory.
func (s *Service) ListDir(ctx context.Context, req *connect.Request[pb.ListDirRequest],
) (*connect.Response[pb.ListDirResponse], error) {
	_, path, err := s.resolve(ctx, req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	entries, err := file.List(path, req.Msg.GetDepth(), s.accounts)
	if err != nil {
		return nil, refuse(err)
	}
	resp := &pb.ListDirResponse{Entries: make([]*pb.EntryInfo, len(entries))}
	for i, entry := range entries {
		resp.Entries[i] = message(entry)
	}
	return connect.NewResponse(resp), nil
}

// Remove deletes a file or a tree. To remove what does not exist is no error.
func (s *Service) Remove(ctx context.Context, req *connect.Request[pb.RemoveRequest],
) (*connect.Response[pb.RemoveResponse], error) {
	_, path, err := s.resolve(ctx, req.Msg.GetPath())
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&pb.RemoveResponse{}), nil
}

var fileTypes = map[file.Type]pb.FileType{
	file.Other:     pb.FileType_FILE_TYPE_UNSPECIFIED,
	file.Regular:   pb.FileType_FILE_TYPE_FILE,
	file.Directory: pb.FileType_FILE_TYPE_DIRECTORY,
}

// message describes an entry. Messages can only carry UTF-8, which names of files need not
// be: other bytes appear as U+FFFD.
func message(e file.Entry) *pb.EntryInfo {
	info := &pb.EntryInfo{
		Name:         readable(e.Name),
		Type:         fileTypes[e.Type],
		Path:         readable(e.Path),
		Size:         e.Size,
		Mode:         e.Mode,
		Permissions:  e.Permissions,
		Owner:        readable(e.Owner),
		Group:        readable(e.Group),
		ModifiedTime: timestamppb.New(e.ModTime),
		Metadata:     e.Metadata,
		IsSymlink:    e.Target != "",
	}
	if e.Target != "" {
		info.SymlinkTarget = proto.String(readable(e.Target))
	}
	return info
}

func readable(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
