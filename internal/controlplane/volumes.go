package controlplane

import (
	"cmp"

	"shoal/internal/api"
	"shoal/internal/config"
	"shoal/internal/volume"
)

// openVolumes prepares what volumes stand on. Their tokens are signed by a key from the seed that all
// apis of an installation have.
func (p *ControlPlane) openVolumes(cfg *config.Config, seed string) (api.Volumes, error) {
	backends, err := volume.ParseBackends(cfg.Volumes, cfg.DataDir)
	if err != nil {
		return api.Volumes{}, err
	}
	tokens, err := volume.NewSigner(seed, cmp.Or(cfg.SandboxDomain(), "shoal"))
	if err != nil {
		return api.Volumes{}, err
	}
	p.volumes = volume.NewRemover(backends, p.store, p.log)
	return api.Volumes{Backends: backends, Tokens: tokens, Counters: volume.CounterDir(cfg.RunDir),
		Removed: p.volumes.News}, nil
}
