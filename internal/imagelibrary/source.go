package imagelibrary

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"shoal/internal/registry"
)

// Source is an image that Find has found. Nothing large is downloaded yet.
type Source struct {
	// StandIn is the digest of the image that replaces one whose registry cannot be
	// reached. It is "" for the real image.
	StandIn string

	l      *Library
	ref    name.Reference
	known  *Image          // an imported image, or the stand-in
	remote *registry.Image // an image in a registry, if known is nil
}

// Find looks an image up in the library, then in its registry. It tells say if it uses a
// stand-in.
func (l *Library) Find(ctx context.Context, reference string, login *registry.Login,
	say func(string)) (*Source, error) {
	ref, err := registry.ParseName(reference)
	if err != nil {
		return nil, err
	}
	s := &Source{l: l, ref: ref}
	if i, err := l.find(ref); err == nil {
		s.known = &i
		return s, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	standIn, replaceable := l.standIns[path.Base(ref.Context().RepositoryStr())]
	if !replaceable || !l.away.lately(ref.Context().RegistryStr()) {
		if s.remote, err = l.registries.Find(ctx, ref, reference, login); err == nil {
			return s, nil
		}
		if !replaceable || !errors.As(err, new(*registry.Unreachable)) {
			return nil, err
		}
		l.away.note(ref.Context().RegistryStr())
	}
	say(fmt.Sprintf("The registry of %s cannot be reached; the image %s stands in for it. `shoal image import` provides the real one", reference, standIn.Name))
	s.known, s.StandIn = &standIn, standIn.Digest
	return s, nil
}

// Get returns the image as a root image, and pulls what is missing.
func (s *Source) Get(ctx context.Context, say func(string)) (Image, error) {
	if s.known != nil {
		return *s.known, nil
	}
	var i Image
	err := s.remote.Pull(ctx, say, func(pulled v1.Image) (err error) {
		i, err = s.l.unpack(ctx, pulled)
		return err
	})
	if err != nil {
		return Image{}, err
	}
	i.Name, i.From, i.At = s.ref.Name(), s.ref.Context().RegistryStr(), time.Now().UTC()
	return i, nil
}
