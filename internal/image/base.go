package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/shoal"
	"shoal/templates"
)

// The defaults of every sandbox of the base template.
const (
	DefaultUser    = "user"
	DefaultWorkdir = "/home/user"
)

// layoutVersion changes when the same packages and files are meant to result in another
// image.
const layoutVersion = "6"

// Options are the inputs of the base image in addition to its recipe.
type Options struct {
	Envd     []byte   // the guest daemon's program
	CAFiles  []string // PEM files whose authorities guests trust
	Progress func(Progress)
}

// Progress is a step of a build, for display.
type Progress struct {
	Stage   string // "packages" or "image"
	Done    int    // of Total; never decreases within a stage; both are 0 if unknown
	Total   int
	Message string
}

// Result is a finished base image.
type Result struct {
	Digest         string        `json:"digest"`
	Size           int64         `json:"size"` // bytes
	DefaultUser    string        `json:"defaultUser"`
	DefaultWorkdir string        `json:"defaultWorkdir"`
	BuiltAt        time.Time     `json:"builtAt"`
	PackagesTook   time.Duration `json:"packagesTook"` // 0 if they existed already
	ImageTook      time.Duration `json:"imageTook"`
}

// Builder makes base images.
type Builder struct {
	store *Store
	log   *slog.Logger
}

// NewBuilder returns a builder that keeps its work in store.
func NewBuilder(store *Store, log *slog.Logger) *Builder { return &Builder{store: store, log: log} }

// EnsureBase returns the base image for these inputs. If it does not exist, EnsureBase
// makes it in two stages, each complete or absent: the root directory with the packages,
// which takes a minute, and the image, which takes seconds. Its errors are ErrImageBuild.
func (b *Builder) EnsureBase(ctx context.Context, o Options) (Result, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	authorities, err := readAuthorities(o.CAFiles)
	if err != nil {
		return Result{}, shoal.ErrImageBuild.Wrap(err, "a certificate authority cannot be read")
	}
	key, err := b.inputs(o.Envd, authorities)
	if err != nil {
		return Result{}, shoal.ErrImageBuild.Wrap(err, "the base template's recipe cannot be read")
	}
	if r, ok := b.finished(key); ok {
		return r, nil
	}
	unlock, err := b.store.lock(ctx)
	if err != nil {
		return Result{}, shoal.ErrImageBuild.Wrap(err, "the image directory cannot be used")
	}
	defer unlock()
	if r, ok := b.finished(key); ok { // made by another process in the meantime
		return r, nil
	}
	if err := b.store.removeUnfinished(); err != nil {
		return Result{}, shoal.ErrImageBuild.Wrap(err, "the image directory cannot be cleaned")
	}
	r, err := b.build(ctx, key, o, authorities)
	if err != nil {
		return Result{}, shoal.ErrImageBuild.Wrap(err, "the base template cannot be built")
	}
	return r, nil
}

// EnsurePackages does only the first stage of EnsureBase. It needs none of the other
// inputs, so it can run while those are being made.
func (b *Builder) EnsurePackages(ctx context.Context, progress func(Progress)) error {
	if progress == nil {
		progress = func(Progress) {}
	}
	unlock, err := b.store.lock(ctx)
	if err != nil {
		return shoal.ErrImageBuild.Wrap(err, "the image directory cannot be used")
	}
	defer unlock()
	if err := b.store.removeUnfinished(); err != nil {
		return shoal.ErrImageBuild.Wrap(err, "the image directory cannot be cleaned")
	}
	if _, _, err := b.packages(ctx, progress); err != nil {
		return shoal.ErrImageBuild.Wrap(err, "the base template's packages cannot be installed")
	}
	return nil
}

func (b *Builder) build(ctx context.Context, key string, o Options, authorities []authority) (Result, error) {
	start := time.Now()
	root, fresh, err := b.packages(ctx, o.Progress)
	if err != nil {
		return Result{}, err
	}
	r := Result{DefaultUser: DefaultUser, DefaultWorkdir: DefaultWorkdir,
		BuiltAt: start.UTC().Truncate(time.Microsecond)}
	if fresh {
		r.PackagesTook = time.Since(start)
	}
	start = time.Now()
	o.Progress(Progress{Stage: "image", Message: "writing the root image"})
	tree, err := baseTree(ctx, root, o.Envd, authorities)
	if err != nil {
		return Result{}, err
	}
	if r.Digest, r.Size, err = b.store.Put(tree); err != nil {
		return Result{}, err
	}
	r.ImageTook = time.Since(start)
	o.Progress(Progress{Stage: "image", Message: fmt.Sprintf("%d MiB", r.Size>>20)})
	return r, b.remember(key, r)
}

// inputs returns a hash of everything that the image depends on.
func (b *Builder) inputs(envd []byte, authorities []authority) (string, error) {
	recipe, err := recipeKey()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s\n%x\n", layoutVersion, recipe, sha256.Sum256(envd))
	for _, a := range authorities {
		fmt.Fprintf(h, "%s %x\n", a.name, sha256.Sum256(a.pem))
	}
	err = templates.BaseFiles(func(name string, data []byte) error {
		fmt.Fprintf(h, "base/files/%s %x\n", name, sha256.Sum256(data))
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func (b *Builder) recordPath(key string) string {
	return filepath.Join(b.store.dir, imagesDir, "base-"+key[:32]+".json")
}

// finished finds an image that was made from the same inputs.
func (b *Builder) finished(key string) (Result, bool) {
	data, err := os.ReadFile(b.recordPath(key))
	if err != nil {
		return Result{}, false
	}
	var r Result
	if err := json.Unmarshal(data, &r); err != nil {
		return Result{}, false
	}
	if _, err := b.store.Path(r.Digest); err != nil {
		return Result{}, false
	}
	r.PackagesTook, r.ImageTook = 0, 0
	return r, true
}

func (b *Builder) remember(key string, r Result) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// If the record is damaged, the image is only made again.
	return atomicfile.WriteFile(b.recordPath(key), data, 0o644, atomicfile.Volatile)
}
