package api

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/build"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// uploadLife is how long an upload link is good.
const uploadLife = 30 * time.Minute

// GetTemplateFiles answers with a link for the files of a COPY step, even if they are
// there already: a forced upload needs it (templates.md §1.7).
func (s *Server) GetTemplateFiles(
	ctx context.Context, req gen.GetTemplateFilesRequestObject,
) (gen.GetTemplateFilesResponseObject, error) {
	if !build.ValidHash(req.Hash) {
		return nil, shoal.ErrBadRequest.New("Invalid files hash")
	}
	team := callerOf(ctx).Team
	t, err := s.store.Template(ctx, req.TemplateID)
	if errors.Is(err, store.ErrNotFound) || (err == nil && t.TeamID != team.ID) {
		return nil, shoal.ErrTemplateNotFound.New("Template '%s' not found", req.TemplateID)
	}
	if err != nil {
		return nil, err
	}
	present, err := s.builds.Files.Has(team.ID, req.Hash)
	if err != nil {
		return nil, err
	}
	return gen.GetTemplateFiles201JSONResponse{Present: present, Url: s.uploadURL(ctx, team.ID, req.Hash)}, nil
}

// uploadURL is the link of one archive. It leads where the client has reached the
// API, or to the configured address.
func (s *Server) uploadURL(ctx context.Context, scope, hash string) string {
	base := s.publicURL
	if base == "" {
		base = clientOf(ctx).url
	}
	path, expires := uploadKey(scope, hash), time.Now().Add(uploadLife).Unix()
	query := url.Values{"path": {path}, "expires": {strconv.FormatInt(expires, 10)},
		"token": {s.tokens.Upload(path, expires)}}
	return base + uploadPath + "?" + query.Encode()
}

func uploadKey(scope, hash string) string { return scope + "/files/" + hash + ".tar" }
