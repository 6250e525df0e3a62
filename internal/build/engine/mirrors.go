package engine

import (
	"context"
	"sort"

	"connectrpc.com/connect"

	"shoal/internal/envdapi/client"
)

// While steps run, package sources of an image are replaced by the operator's mirrors. The
// image's own sources are restored before a layer is made, because sandboxes may be in
// another network.

func (r *run) useMirrors(ctx context.Context) error {
	if r.bench.mirrored || len(r.e.cfg.Mirrors) == 0 {
		return nil
	}
	if err := r.mirrors(ctx, "use"); err != nil {
		return err
	}
	r.bench.mirrored = true
	return nil
}

func (r *run) leaveMirrors(ctx context.Context) error {
	if !r.bench.mirrored {
		return nil
	}
	if err := r.mirrors(ctx, "leave"); err != nil {
		return err
	}
	r.bench.mirrored = false
	return nil
}

func (r *run) mirrors(ctx context.Context, what string) error {
	var from []string
	for url := range r.e.cfg.Mirrors {
		from = append(from, url)
	}
	sort.Slice(from, func(a, b int) bool { // the longest first, because one may be a prefix of another
		return len(from[a]) > len(from[b]) || len(from[a]) == len(from[b]) && from[a] < from[b]
	})
	args := []string{"/bin/sh", "-c", script("mirrors"), "mirrors", what}
	for _, url := range from {
		args = append(args, url, r.e.cfg.Mirrors[url])
	}
	_, err := r.bench.guest.Text(ctx, client.Command{User: "root", Dir: "/", Args: args})
	if connect.CodeOf(err) == connect.CodeInvalidArgument {
		return nil // there is no shell; the step will report that
	}
	if err != nil {
		return r.failed(ctx, "the package mirrors cannot be set in the image", err)
	}
	return nil
}
