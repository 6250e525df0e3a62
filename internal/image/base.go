package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
	"shoal/templates"
)

// The defaults of every sandbox of the base template.
const (
	DefaultUser    = "user"
	DefaultWorkdir = "/home/user"
	userID         = 1000
)

// recipeVersion changes when the same inputs shall give another image.
const recipeVersion = "1"

// Options are the inputs of the base image besides its recipe.
type Options struct {
	Envd     []byte   // the guest daemon's program
	CAFiles  []string // PEM files whose authorities guests trust
	Progress func(Progress)
}

// Progress is a step of a build, for people.
type Progress struct {
	Stage   string // "packages" or "image"
	Done    int    // of Total; both 0 when unknown
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
	PackagesTook   time.Duration `json:"packagesTook"` // 0 if they were there
	ImageTook      time.Duration `json:"imageTook"`
}

// Builder makes base images.
type Builder struct {
	store *Store
	log   *slog.Logger
}

// NewBuilder makes a builder that keeps its work in store.
func NewBuilder(store *Store, log *slog.Logger) *Builder { return &Builder{store: store, log: log} }

// EnsureBase returns the base image for these inputs, and makes it if need be in
// two stages, each complete or absent: the packages' root directory, which takes
// a minute, and the image, which takes seconds. Errors are ErrImageBuild.
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
	unlock, err := b.store.lock()
	if err != nil {
		return Result{}, shoal.ErrImageBuild.Wrap(err, "the image directory cannot be used")
	}
	defer unlock()
	if r, ok := b.finished(key); ok { // made while this waited
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

// EnsurePackages does the first stage of EnsureBase alone. It needs none of the
// other inputs, so it can run while they are being made.
func (b *Builder) EnsurePackages(ctx context.Context, progress func(Progress)) error {
	unlock, err := b.store.lock()
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
	r := Result{DefaultUser: DefaultUser, DefaultWorkdir: DefaultWorkdir, BuiltAt: start.UTC().Truncate(time.Microsecond)}
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

// inputs hashes everything that the image depends on.
func (b *Builder) inputs(envd []byte, authorities []authority) (string, error) {
	recipe, err := recipeKey()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%x\n", recipe, sha256.Sum256(envd))
	for _, a := range authorities {
		fmt.Fprintf(h, "%x\n", sha256.Sum256(a.pem))
	}
	err = fs.WalkDir(templates.Base, "base/files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := templates.Base.ReadFile(path)
		fmt.Fprintf(h, "%s %x\n", path, sha256.Sum256(data))
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func (b *Builder) recordPath(key string) string {
	return filepath.Join(b.store.dir, imagesDir, "base-"+key[:32]+".json")
}

// finished finds the image of earlier equal inputs.
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
	path := b.recordPath(key)
	tmp := filepath.Join(filepath.Dir(path), tempMark+filepath.Base(path))
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// baseTree lays the template's own files over the packages.
func baseTree(ctx context.Context, root string, envd []byte, authorities []authority) (*Tree, error) {
	t, err := FromDir(root)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp", "var/tmp", "boot", "media", "mnt", "srv", "etc/machine-id", "etc/apt/apt.conf.d/99mmdebstrap",
		"usr/lib/python3.11/EXTERNALLY-MANAGED", "var/lib/dbus/machine-id", "etc/ssh/ssh_host_rsa_key"} {
		t.Remove(name)
	}
	for name, perm := range map[string]uint32{"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "run/e2b": 0o755, "run/lock": 0o1777,
		"tmp": 0o1777, "var/tmp": 0o1777, "mnt": 0o755, "media": 0o755, "srv": 0o755, "code": 0o777} {
		if err := t.Put(name, NewDir(perm)); err != nil {
			return nil, err
		}
	}
	// Over an empty /tmp gVisor would mount a file system in memory.
	if err := t.Put("tmp/.X11-unix", NewDir(0o1777)); err != nil {
		return nil, err
	}
	if err := layFiles(t); err != nil {
		return nil, err
	}
	if err := addUser(t); err != nil {
		return nil, err
	}
	put := map[string]*Node{
		"usr/bin/envd":   NewFile(0o755, envd),
		"usr/bin/python": NewLink("python3"),
		".e2b":           NewFile(0o644, []byte("ENV_ID=base\nTEMPLATE_ID=base\n")),
	}
	for name, node := range put {
		if err := t.Put(name, node); err != nil {
			return nil, err
		}
	}
	if err := openLocal(t); err != nil {
		return nil, err
	}
	return t, trust(ctx, t, root, authorities)
}

// layFiles adds the embedded files: 0644 and root's, but for sudo's.
func layFiles(t *Tree) error {
	const top = "base/files"
	return fs.WalkDir(templates.Base, top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := templates.Base.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, top+"/")
		perm := uint32(0o644)
		if strings.HasPrefix(name, "etc/sudoers.d/") {
			perm = 0o440
		}
		return t.Put(name, NewFile(perm, data))
	})
}

// addUser adds the default user: passwordless like root, with sudo.
func addUser(t *Tree) error {
	edit := func(name, line string, change func(string) string) error {
		data, err := t.Read(name)
		if err != nil {
			return err
		}
		old, err := t.lookup(name)
		if err != nil {
			return err
		}
		node := NewFile(old.Mode&0o7777, []byte(change(string(data))+line))
		node.UID, node.GID = old.UID, old.GID
		return t.Put(name, node)
	}
	same := func(s string) string { return s }
	emptyRoot := func(s string) string {
		return strings.NewReplacer("root:*:", "root::", "root:!:", "root::", "root:x:", "root::").Replace(s)
	}
	err := errors.Join(
		edit("etc/passwd", fmt.Sprintf("%s:x:%d:%d::%s:/bin/bash\n", DefaultUser, userID, userID, DefaultWorkdir), same),
		edit("etc/group", fmt.Sprintf("%s:x:%d:\n", DefaultUser, userID), func(s string) string {
			return strings.Replace(s, "sudo:x:27:\n", "sudo:x:27:"+DefaultUser+"\n", 1)
		}),
		edit("etc/shadow", DefaultUser+"::19000:0:99999:7:::\n", emptyRoot),
		edit("etc/gshadow", DefaultUser+":!::\n", same),
	)
	if err != nil {
		return err
	}
	home := NewDir(0o755)
	home.UID, home.GID = userID, userID
	if err := t.Put(DefaultWorkdir, home); err != nil {
		return err
	}
	for _, name := range []string{".bashrc", ".profile"} {
		data, err := t.Read("etc/skel/" + name)
		if err != nil {
			return err
		}
		node := NewFile(0o644, data)
		node.UID, node.GID = userID, userID
		if err := t.Put(DefaultWorkdir+"/"+name, node); err != nil {
			return err
		}
	}
	return nil
}

// openLocal lets every user install below /usr/local.
func openLocal(t *Tree) error {
	local, err := t.lookup("usr/local")
	if err != nil {
		return err
	}
	var open func(n *Node)
	open = func(n *Node) {
		if n.children == nil {
			return
		}
		n.Mode = unix.S_IFDIR | 0o777
		for _, kid := range n.children {
			open(kid)
		}
	}
	open(local)
	return nil
}
