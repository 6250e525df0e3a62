package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"connectrpc.com/connect"

	"shoal/internal/build"
	"shoal/internal/envdapi/client"
	"shoal/internal/image"
	"shoal/internal/imagelibrary"
	"shoal/internal/registry"
	"shoal/internal/shoal"
	"shoal/templates"
)

// layoutVersion changes when the same steps are meant to result in different images.
const layoutVersion = "3"

// base finds the images that the steps build on, and creates the default user.
func (r *run) base(ctx context.Context) error {
	var err error
	switch {
	case r.job.FromTemplate != nil:
		err = r.fromTemplate(*r.job.FromTemplate)
	case isBase(r.job.FromImage):
		err = r.fromBase()
	default:
		err = r.fromImage(ctx)
	}
	if err != nil || r.job.RootBuild {
		return err
	}
	return r.phase(ctx, phase{step: build.StepBase, title: "[base] DEFAULT USER " + image.DefaultUser,
		disk: true, debug: true,
		parts: []string{"DEFAULT USER", image.DefaultUser, script("user")},
		do: func(ctx context.Context, _ *lines) error {
			if r.onBase() {
				r.context.User = image.DefaultUser // it exists
				return nil
			}
			return r.user(ctx, image.DefaultUser, true)
		}})
}

// onBase reports whether the images are those of the base template alone.
func (r *run) onBase() bool {
	return len(r.layers) == 1 && r.layers[0] == r.e.cfg.Base.ImageDigest
}

// isBase recognizes the names of the image that Shoal makes itself (templates.md §1.8).
func isBase(reference string) bool {
	name, _, _ := strings.Cut(reference, ":")
	switch strings.TrimPrefix(name, "docker.io/") {
	case "e2bdev/base", "base":
		return true
	}
	return false
}

func (r *run) fromBase() error {
	b := r.e.cfg.Base
	r.layers, r.context = b.Images(), shoal.BuildContext{User: "root"}
	r.key = key("").next(layoutVersion, "base", b.ID)
	r.log.Write(build.Info, build.StepBase, fmt.Sprintf("[base] FROM %s [%s]", r.job.FromImage, r.key[:16]))
	return nil
}

// fromTemplate continues from another build. The user is reset to the default.
func (r *run) fromTemplate(b shoal.Build) error {
	for _, digest := range b.Images() {
		if _, err := r.e.cfg.Images.Path(digest); err != nil {
			return &build.Failure{Message: fmt.Sprintf("the images of template '%s' are not on this machine; "+
				"build it again", r.job.FromReference)}
		}
	}
	if len(b.Images()) == 0 || b.Snapshot {
		return &build.Failure{Message: fmt.Sprintf("template '%s' is a snapshot of a sandbox, "+
			"which no template can be built from", r.job.FromReference)}
	}
	r.layers = b.Images()
	r.context = shoal.BuildContext{User: "root", Workdir: b.Context.Workdir, Env: maps.Clone(b.Context.Env)}
	r.key = key("").next(layoutVersion, "template", b.ID)
	r.log.Write(build.Info, build.StepBase, fmt.Sprintf("[base] FROM TEMPLATE %s [%s]", r.job.FromReference,
		r.key[:16]))
	return nil
}

// fromImage pulls an image, unless the library has it, and turns it into a guest's root.
func (r *run) fromImage(ctx context.Context) error {
	provision, err := r.e.cfg.Provision.Key()
	if err != nil {
		return err
	}
	keep, err := templates.Base.ReadFile(environmentFile)
	if err != nil {
		return err
	}
	say := func(text string) { r.log.Write(build.Info, build.StepBase, text) }
	p := phase{step: build.StepBase, title: "[base] FROM " + r.job.FromImage, disk: true, debug: true,
		parts: []string{layoutVersion, "image", r.job.FromImage, provision, script("provision"), string(keep),
			r.e.cfg.Library.Version(r.job.FromImage)}}
	if r.knows(p) {
		return r.phase(ctx, p)
	}
	var source *imagelibrary.Source
	err = within(ctx, lookupLimit, "looking up '"+r.job.FromImage+"'", pullAdvice,
		func(ctx context.Context) error {
			source, err = r.e.cfg.Library.Find(ctx, r.job.FromImage, login(r.job.Registry), say)
			return refusal(err)
		})
	if err != nil {
		return err
	}
	if source.StandIn != "" {
		// The outcome of a stand-in has a key of its own, shared by all images that it
		// replaces: the real image is asked for every time, and another stand-in is another
		// image.
		p.parts = []string{layoutVersion, "stand-in", source.StandIn, provision, script("provision"),
			string(keep)}
	}
	p.do = func(ctx context.Context, out *lines) error {
		say("Creating file system and pulling Docker image")
		var found imagelibrary.Image
		err := within(ctx, pullLimit, "pulling '"+r.job.FromImage+"'", pullAdvice,
			func(ctx context.Context) error {
				found, err = source.Get(ctx, say)
				return refusal(err)
			})
		if err != nil {
			return err
		}
		say(fmt.Sprintf("Base Docker image size: %d MiB", found.Size>>20))
		say("Provisioning sandbox template")
		err = within(ctx, provisionLimit, "provisioning the image",
			"its package mirrors may be slow: name nearer ones by --package-mirrors, "+
				"or import an image that has the packages",
			func(ctx context.Context) error { return r.provision(ctx, found, out) })
		if err != nil {
			return err
		}
		say("Provisioning was successful, cleaning up")
		say("Sandbox template provisioned")
		return nil
	}
	if err := r.phase(ctx, p); err != nil {
		return err
	}
	r.closeBench() // all builds on the image share this layer, so the next step begins a new one
	return nil
}

const pullAdvice = "what was downloaded is kept, and the next build continues from there; " +
	"or import the image by `shoal image import`"

// refusal turns errors that the image's name or its registry causes into failures of the
// template.
func refusal(err error) error {
	var refused *imagelibrary.Error
	if errors.As(err, &refused) {
		return &build.Failure{Message: refused.Message}
	}
	return err
}

// environmentFile tells sudo what to keep of the environment, in every image.
const environmentFile = "base/files/etc/sudoers.d/environment"

// provision lays what a guest needs over an image, and has the image's own package manager
// install the rest.
func (r *run) provision(ctx context.Context, found imagelibrary.Image, out *lines) error {
	tree, err := r.e.cfg.Provision.Tree()
	if err != nil {
		return err
	}
	digest, _, err := r.e.cfg.Images.Put(tree)
	if err != nil {
		return err
	}
	r.closeBench()
	r.layers = []string{found.Digest, digest}
	r.context = shoal.BuildContext{User: "root", Env: found.Env}
	keep, err := templates.Base.ReadFile(environmentFile)
	if err != nil {
		return err
	}
	err = r.runLogged(ctx, "provision", out, string(keep))
	var exit *client.ExitError
	switch {
	case errors.As(err, &exit):
		out.end()
		return &build.Failure{Message: fmt.Sprintf("provisioning failed with %s: %s",
			exit.Status, out.complaint())}
	case connect.IsWireError(err) && connect.CodeOf(err) != connect.CodeDeadlineExceeded:
		return &build.Failure{Message: fmt.Sprintf("provisioning failed: the image's /bin/sh "+
			"cannot be run (%v). Templates need an image of a Linux distribution for x86-64 with "+
			"a shell and a package manager", err)}
	case err != nil:
		return r.failed(ctx, "provisioning failed", err)
	}
	return nil
}

func login(r *build.Registry) *registry.Login {
	if r == nil {
		return nil
	}
	return &registry.Login{Type: r.Type, Username: r.Username, Password: r.Password,
		AWSAccessKeyID: r.AWSAccessKeyID, AWSSecretAccessKey: r.AWSSecretAccessKey,
		AWSRegion: r.AWSRegion, ServiceAccountJSON: r.ServiceAccountJSON}
}
