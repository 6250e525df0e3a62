package api

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/volume"
)

// Volumes is what volumes stand on.
type Volumes struct {
	Backends volume.Backends
	Tokens   *volume.Signer
	// Counters is the directory of files that count what is written to volumes on this machine.
	Counters string
	// Removed is called when a volume was removed; may be nil.
	Removed func()
}

// ListVolumes lists the team's volumes.
func (s *Server) ListVolumes(
	ctx context.Context, _ gen.ListVolumesRequestObject,
) (gen.ListVolumesResponseObject, error) {
	list, err := s.store.Volumes(ctx, callerOf(ctx).Team.ID)
	if err != nil {
		return nil, err
	}
	answer := make(gen.ListVolumes200JSONResponse, len(list))
	for i, v := range list {
		answer[i] = gen.Volume{VolumeID: v.ID, Name: v.Name}
	}
	return answer, nil
}

// CreateVolume makes a volume. Its directory is there before anybody can find it.
func (s *Server) CreateVolume(
	ctx context.Context, req gen.CreateVolumeRequestObject,
) (gen.CreateVolumeResponseObject, error) {
	name := req.Body.Name
	if err := shoal.CheckVolumeName(name); err != nil {
		return nil, err
	}
	team := callerOf(ctx).Team
	v := shoal.Volume{ID: shoal.NewVolumeID(), TeamID: team.ID, Name: name, Backend: s.volumes.Backends[0].Name,
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	err := s.store.AddVolume(ctx, v, team.Limits.Volumes)
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, shoal.ErrVolumeExists.New("Volume with name '%s' already exists", name)
	case errors.Is(err, store.ErrTooManyVolumes):
		return nil, shoal.ErrVolumeLimit.New("you have reached the maximum number of volumes (%d).", team.Limits.Volumes)
	case err != nil:
		return nil, err
	}
	if err := s.volumes.Backends.Make(v); err != nil {
		_ = s.store.RemoveVolume(context.WithoutCancel(ctx), v.TeamID, v.ID, time.Now()) // the remover forgets it
		return nil, shoal.ErrVolumeUnavailable.Wrap(err, "The volume could not be made")
	}
	aimed(ctx, "volume", v.ID)
	wire, err := s.wireVolume(ctx, v)
	return gen.CreateVolume201JSONResponse(wire), err
}

// GetVolume returns one volume with a new token.
func (s *Server) GetVolume(
	ctx context.Context, req gen.GetVolumeRequestObject,
) (gen.GetVolumeResponseObject, error) {
	v, err := s.volume(ctx, req.VolumeID)
	if err != nil {
		return nil, err
	}
	wire, err := s.wireVolume(ctx, v)
	return gen.GetVolume200JSONResponse(wire), err
}

// DeleteVolume removes a volume. Sandboxes that have it keep it until its content is gone.
func (s *Server) DeleteVolume(
	ctx context.Context, req gen.DeleteVolumeRequestObject,
) (gen.DeleteVolumeResponseObject, error) {
	v, err := s.volume(ctx, req.VolumeID)
	if err != nil {
		return nil, err
	}
	if err := s.store.RemoveVolume(ctx, v.TeamID, v.ID, time.Now()); err != nil {
		return nil, noVolume(err)
	}
	if s.volumes.Removed != nil {
		s.volumes.Removed()
	}
	return gen.DeleteVolume204Response{}, nil
}

// volume finds one of the team's.
func (s *Server) volume(ctx context.Context, id string) (shoal.Volume, error) {
	if uuid.Validate(id) != nil {
		return shoal.Volume{}, shoal.ErrVolumeID.New("Invalid volume ID")
	}
	v, err := s.store.Volume(ctx, callerOf(ctx).Team.ID, id)
	return v, noVolume(err)
}

// noVolume words that there is none of the ID.
func noVolume(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return shoal.ErrVolumeNotFound.New("Volume not found")
	}
	return err
}

// wireVolume adds a token, which lets nobody write who may not change sandboxes.
func (s *Server) wireVolume(ctx context.Context, v shoal.Volume) (gen.VolumeAndToken, error) {
	grant := volume.Grant{TeamID: v.TeamID, VolumeID: v.ID, Backend: v.Backend,
		ReadOnly: callerOf(ctx).Permit(shoal.WriteSandboxes) != nil}
	token, err := s.volumes.Tokens.Sign(grant, "https://api."+cmp.Or(s.domain, "localhost"), time.Now())
	wire := gen.VolumeAndToken{VolumeID: v.ID, Name: v.Name, Token: token}
	if s.domain != "" {
		wire.Domain = &s.domain
	}
	return wire, err
}

// parseMounts finds the volumes that a new sandbox is to have.
func (s *Server) parseMounts(ctx context.Context, body gen.NewSandbox, envdVersion string) ([]shoal.VolumeMount, error) {
	asked := deref(body.VolumeMounts)
	if len(asked) == 0 {
		return nil, nil
	}
	if err := s.allow(ctx, shoal.SwitchVolumes); shoal.ErrSwitchedOff.Matches(err) {
		return nil, shoal.ErrVolumeMountsOff.New("Volume mounts are not enabled.")
	} else if err != nil {
		return nil, err
	}
	switch {
	case envdVersion == "":
		return nil, shoal.ErrBadRequest.New("template must be rebuilt: envd version is not set")
	case !atLeast(envdVersion, 0, 5, 14):
		return nil, shoal.ErrBadRequest.New("volumes are not supported; template must be rebuilt. "+
			"Template envd version is %s, must be at least 0.5.14", envdVersion)
	case len(asked) > shoal.MaxVolumeMounts:
		return nil, shoal.ErrBadRequest.New("A sandbox can have %d volumes at most", shoal.MaxVolumeMounts)
	}
	list, err := s.store.Volumes(ctx, callerOf(ctx).Team.ID)
	if err != nil {
		return nil, err
	}
	known := make(map[string]shoal.Volume, len(list))
	for _, v := range list {
		known[v.Name] = v
	}
	mounts := make([]shoal.VolumeMount, len(asked))
	for i, m := range asked {
		mounts[i] = shoal.VolumeMount{Name: m.Name, Path: m.Path, ID: known[m.Name].ID, Backend: known[m.Name].Backend,
			SizeMB: callerOf(ctx).Team.Limits.VolumeMB}
	}
	return mounts, shoal.CheckMounts(mounts, func(name string) bool { return known[name].ID != "" })
}
