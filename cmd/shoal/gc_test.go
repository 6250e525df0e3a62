package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"shoal/internal/artifact"
	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/image"
	"shoal/internal/orchestrator"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
	"shoal/internal/store"
)

// keeper is a machine that has snapshots and images in real directories, and answers to
// `shoal gc` over RPC. No guest runs on it.
type keeper struct {
	t         *testing.T
	cfg       config.Config
	artifacts *artifact.Store
	images    *image.Store
}

const keeperSecret = "secret"

// newKeeper starts a machine. withDepot keeps its snapshots in a depot for good.
func newKeeper(t *testing.T, withDepot bool) *keeper {
	t.Helper()
	dir := t.TempDir()
	k := &keeper{t: t}
	var err error
	k.images, err = image.Open(dir)
	k.must(err)
	k.artifacts, err = artifact.Open(filepath.Join(dir, "artifacts"))
	k.must(err)
	log := slog.New(slog.DiscardHandler)
	if withDepot {
		depot, err := artifact.NewDepot(t.TempDir(), 1<<30, log)
		k.must(err)
		k.must(k.artifacts.WithDepot(depot))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- k.artifacts.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			k.must(<-done)
		})
	}
	k.artifacts.WithSpace(func(string) (free, total int64, err error) { return 1 << 40, 1 << 40, nil })
	machine := orchestrator.New(orchestrator.Config{NodeID: "n", DataDir: dir, RunDir: t.TempDir()},
		runtime.Set{}, nil, k.images, k.artifacts, log)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	k.must(err)
	server := rpc.NewServer(rpc.NewHandler(machine, keeperSecret, http.NotFoundHandler()))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		k.must(server.Close())
		<-served
	})
	k.cfg = config.Config{DataDir: dir, Database: filepath.Join(dir, "right.db"), NodeSecret: keeperSecret,
		TokenSeed: keeperSecret, Nodes: []string{listener.Addr().String()}}
	return k
}

func (k *keeper) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

// put makes a build's snapshot, an hour ago, with an image of its own.
func (k *keeper) put(buildID string) {
	k.t.Helper()
	tree := image.NewTree()
	k.must(tree.Put("file", image.NewFile(0o644, []byte(buildID))))
	digest, _, err := k.images.Put(tree)
	k.must(err)
	path, err := k.images.Path(digest)
	k.must(err)
	long := time.Now().Add(-time.Hour)
	k.must(os.Chtimes(path, long, long))
	draft, err := k.artifacts.Draft(snapshot.BuildName(buildID))
	k.must(err)
	manifest := filepath.Join(k.cfg.DataDir, "artifacts", snapshot.BuildName(buildID), "manifest.json")
	a, err := draft.Commit(snapshot.Capture{Root: runtime.NewRoot(path),
		Build: &shoal.Build{ID: buildID, TemplateID: "t", Status: shoal.BuildReady, ImageDigest: digest}})
	k.must(err)
	a.CreatedAt = long
	data, err := json.Marshal(a.Manifest)
	k.must(err)
	k.must(os.WriteFile(manifest, data, 0o600))
}

// register makes a database that knows the builds, or adds them to it.
func (k *keeper) register(database string, buildIDs ...string) {
	k.t.Helper()
	st := k.open(database)
	defer st.Close()
	ctx, at := k.t.Context(), time.Now().Add(-time.Hour)
	k.must(auth.NewKeys(st).EnsureDev(ctx))
	err := st.CreateTemplate(ctx, shoal.Template{ID: "t", TeamID: shoal.DevTeamID, CreatedAt: at, UpdatedAt: at})
	if !errors.Is(err, store.ErrExists) {
		k.must(err)
	}
	for _, id := range buildIDs {
		k.must(st.AddBuild(ctx, shoal.Build{ID: id, TemplateID: "t", Status: shoal.BuildReady,
			CreatedAt: at, UpdatedAt: at, FinishedAt: at}, id))
	}
}

func (k *keeper) open(database string) *store.Store {
	k.t.Helper()
	st, err := store.Open(k.t.Context(), filepath.Join(k.cfg.DataDir, database))
	k.must(err)
	return st
}

// gc runs `shoal gc` on a database, with these flags.
func (k *keeper) gc(database string, flags ...string) error {
	k.t.Helper()
	var c struct {
		GC gcCmd `cmd:"" name:"gc"`
	}
	_, err := kong.Must(&c, kong.Writers(io.Discard, io.Discard)).Parse(append([]string{"gc"}, flags...))
	k.must(err)
	cfg := k.cfg
	cfg.Database = filepath.Join(k.cfg.DataDir, database)
	return c.GC.Run(k.t.Context(), &cfg)
}

// want compares what the machine has, and what is in its trash. Each of both keeps its image.
func (k *keeper) want(builds string, inTrash ...string) {
	k.t.Helper()
	var have, trashed []string
	list, err := k.artifacts.ListAll()
	k.must(err)
	for _, m := range list {
		id, _ := snapshot.BuildOf(m.ID)
		have = append(have, id)
	}
	resting, err := k.artifacts.Trashed()
	k.must(err)
	for _, m := range resting {
		id, _ := snapshot.BuildOf(m.ID)
		trashed = append(trashed, id)
	}
	slices.Sort(have)
	slices.Sort(trashed)
	if strings.Join(have, " ") != builds || !slices.Equal(trashed, inTrash) {
		k.t.Errorf("the machine has %v, and %v in the trash; want %v and %v", have, trashed, builds, inTrash)
	}
	if digests, err := k.images.List(); err != nil || len(digests) != len(have)+len(trashed) {
		k.t.Errorf("%d images for %d builds, %v", len(digests), len(have)+len(trashed), err)
	}
}

// TestGCByAWrongDatabase: whatever database `shoal gc` is pointed at, nothing is lost.
func TestGCByAWrongDatabase(t *testing.T) {
	for name, withDepot := range map[string]bool{"directory": false, "depot": true} {
		t.Run(name, func(t *testing.T) {
			for name, c := range map[string]struct {
				marked bool     // by a collection of the right database
				knows  []string // what the wrong database knows
				error  *shoal.Kind
			}{
				"empty":                         {true, nil, shoal.ErrForeignStore},
				"another's":                     {true, []string{"x", "y"}, shoal.ErrForeignStore},
				"a new one of the same builds":  {true, []string{"a", "b", "c"}, shoal.ErrForeignStore},
				"empty, before a mark":          {false, nil, shoal.ErrSuspiciousStore},
				"another's, before a mark":      {false, []string{"x", "y"}, shoal.ErrSuspiciousStore},
				"one of another's that has one": {false, []string{"a", "x"}, shoal.ErrSuspiciousStore},
			} {
				t.Run(name, func(t *testing.T) {
					k := newKeeper(t, withDepot)
					for _, id := range []string{"a", "b", "c"} {
						k.put(id)
					}
					k.register("right.db", "a", "b", "c")
					if c.marked {
						k.must(k.gc("right.db"))
					}
					if len(c.knows) > 0 {
						k.register("wrong.db", c.knows...)
					}
					for range 2 {
						if err := k.gc("wrong.db"); !c.error.Matches(err) {
							t.Errorf("gc said %v", err)
						}
					}
					k.want("a b c")
					if refusal, _, err := artifact.Look(filepath.Join(k.cfg.DataDir, "artifacts")); err != nil || refusal == "" {
						t.Errorf("nothing is noted: %q %v", refusal, err)
					}
					k.must(k.gc("right.db"))
					k.want("a b c")
					if refusal, _, err := artifact.Look(filepath.Join(k.cfg.DataDir, "artifacts")); err != nil || refusal != "" {
						t.Errorf("still noted: %q %v", refusal, err)
					}
				})
			}
		})
	}
}

// TestGCRestsInTheTrash: what a database has lost goes to the trash with its image, comes back
// when a newer backup knows it, and goes for good when the trash is emptied.
func TestGCRestsInTheTrash(t *testing.T) {
	for name, withDepot := range map[string]bool{"directory": false, "depot": true} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper(t, withDepot)
			for _, id := range []string{"a", "b", "c"} {
				k.put(id)
			}
			k.register("right.db", "a", "b")
			k.must(k.gc("right.db"))
			k.want("a b", "c")
			k.register("right.db", "c")
			k.must(k.gc("right.db"))
			k.want("a b c")
			st := k.open("right.db")
			k.must(st.RetireBuild(t.Context(), "b", "", time.Now()))
			k.must(st.Close())
			k.must(k.gc("right.db"))
			k.must(k.gc("right.db"))
			k.want("a c", "b")
			k.must(k.gc("right.db", "--empty-trash"))
			k.want("a c")
		})
	}
}

// TestGCByAnOldBackup: a backup from before most builds were made is refused, one that lacks
// a few has them rest.
func TestGCByAnOldBackup(t *testing.T) {
	k := newKeeper(t, false)
	backup := func(name string) {
		data, err := os.ReadFile(k.cfg.Database)
		k.must(err)
		k.must(os.WriteFile(filepath.Join(k.cfg.DataDir, name), data, 0o600))
	}
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		k.put(id)
	}
	k.register("right.db", "a")
	k.must(k.gc("right.db", "--adopt"))
	k.want("a", "b", "c", "d", "e", "f")
	backup("old.db")
	k.register("right.db", "b", "c", "d", "e")
	k.must(k.gc("right.db"))
	k.want("a b c d e", "f")
	backup("recent.db")
	k.register("right.db", "f")
	k.must(k.gc("right.db"))
	k.want("a b c d e f")

	if err := k.gc("old.db"); !shoal.ErrSuspiciousStore.Matches(err) {
		t.Errorf("gc said %v", err)
	}
	k.want("a b c d e f")
	k.must(k.gc("recent.db"))
	k.want("a b c d e", "f")
	k.must(k.gc("right.db"))
	k.want("a b c d e f")
}

// TestGCAdopts: the operator may say that another database is the right one from now on.
func TestGCAdopts(t *testing.T) {
	k := newKeeper(t, true)
	k.put("a")
	k.register("right.db", "a")
	k.must(k.gc("right.db"))
	k.register("new.db", "x")
	k.must(k.gc("new.db", "--adopt"))
	k.want("", "a")
	k.must(k.gc("new.db"))
	if err := k.gc("right.db"); !shoal.ErrForeignStore.Matches(err) {
		t.Errorf("gc said %v", err)
	}
	k.want("", "a")
	k.must(k.gc("right.db", "--adopt"))
	k.want("a")
}

// TestGCKeepsStrays: builds that an api did not live to register do not stop the collection.
func TestGCKeepsStrays(t *testing.T) {
	k := newKeeper(t, false)
	k.put("a")
	k.register("right.db", "a")
	k.must(k.gc("right.db"))
	k.put("b")
	k.put("c")
	k.must(k.gc("right.db"))
	k.want("a", "b", "c")
}
