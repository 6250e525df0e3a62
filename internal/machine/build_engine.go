package machine

import (
	"errors"

	"shoal/internal/build"
	"shoal/internal/build/engine"
	"shoal/internal/image"
	"shoal/internal/imagelibrary"
	"shoal/internal/registry"
	"shoal/internal/shoal"
)

// openEngine prepares template builds on this machine, on top of the base template.
func (m *Machine) openEngine(base shoal.Build) error {
	registries, err := registry.NewClient(registry.Config{Dir: m.cfg.PulledLayers(),
		Mirrors: m.cfg.RegistryMirrors, CAFiles: m.certificateAuthorities(),
		Outbound: m.cfg.Outbound(m.log)})
	if err != nil {
		return err
	}
	library, err := imagelibrary.Open(imagelibrary.Config{Images: m.images, Dir: m.cfg.ImageLibrary(),
		Registries: registries, StandIns: m.standIns(base)})
	if err != nil {
		return err
	}
	files, err := build.OpenFiles(m.cfg.Uploads())
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{Machine: workshop{m.orch.Workshop()}, Images: m.images,
		Library: library, Registries: registries, Files: files,
		Dir: m.cfg.Builds(), Base: base, Env: m.cfg.BuildEnv,
		Mirrors: m.cfg.PackageMirrors, CacheSize: m.cfg.LayerCache << 20,
		Provision: image.Provision{Envd: m.options.Envd, CAFiles: m.certificateAuthorities()}}, m.log)
	if err != nil {
		return err
	}
	m.library, m.engine = library, e
	return nil
}

// standIns maps the images that the base template replaces when their registry cannot be
// reached to the base template's image.
func (m *Machine) standIns(base shoal.Build) map[string]imagelibrary.Image {
	names, images := m.cfg.StandIns, map[string]imagelibrary.Image{}
	if len(names) == 0 && m.cfg.Dev {
		names = []string{"ubuntu", "debian", "python", "node"}
	}
	for _, name := range names {
		images[name] = imagelibrary.Image{Name: base.TemplateID, Digest: base.ImageDigest}
	}
	return images
}

// pinned returns the images that builds use or may start from.
func (m *Machine) pinned() ([]string, error) {
	if m.engine == nil {
		return nil, errors.New("it is not known yet which images builds need")
	}
	list, err := m.engine.Pinned()
	if err != nil {
		return nil, err
	}
	imported, err := m.library.List()
	for _, i := range imported {
		list = append(list, i.Digest)
	}
	return list, err
}
