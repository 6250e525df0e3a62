package orchestrator

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// TestJudge: an inventory is believed by whose it is and by how much it knows.
func TestJudge(t *testing.T) {
	foreign, suspicious := shoal.ErrForeignStore, shoal.ErrSuspiciousStore
	for name, c := range map[string]struct {
		owners       []string
		installation string
		counts       counts
		want         *shoal.Kind
	}{
		"ours":                          {[]string{"us"}, "us", counts{10, 0}, nil},
		"theirs":                        {[]string{"them"}, "us", counts{10, 0}, foreign},
		"theirs, and empty":             {[]string{"them"}, "us", counts{}, foreign},
		"of two":                        {[]string{"us", "them"}, "us", counts{10, 0}, foreign},
		"of an api that does not say":   {nil, "", counts{}, foreign},
		"nothing to lose":               {nil, "us", counts{}, nil},
		"unmarked, half known":          {nil, "us", counts{2, 1}, nil},
		"unmarked, less known":          {nil, "us", counts{1, 1}, suspicious},
		"marked, strays alone":          {[]string{"us"}, "us", counts{strays, strays}, nil},
		"marked, more than strays":      {[]string{"us"}, "us", counts{strays + 1, strays + 1}, suspicious},
		"marked, a backup, half known":  {[]string{"us"}, "us", counts{20, 10}, nil},
		"marked, a backup, fewer known": {[]string{"us"}, "us", counts{20, 11}, suspicious},
	} {
		err := c.counts.judge(c.owners, c.installation)
		if known := (*shoal.Error)(nil); (err == nil) != (c.want == nil) || errors.As(err, &known) && known.Kind != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCensus: builds of which the store has any record are known to it, and new ones may
// not have one yet. What is no build does not count.
func TestCensus(t *testing.T) {
	long := time.Now().Add(-time.Hour)
	list := []artifact.Manifest{
		{ID: snapshot.BuildName("known"), CreatedAt: long}, {ID: snapshot.BuildName("ended"), CreatedAt: long},
		{ID: snapshot.BuildName("unheard"), CreatedAt: long}, {ID: snapshot.BuildName("new"), CreatedAt: time.Now()},
		{ID: snapshot.PauseName("isandbox"), CreatedAt: long}, {ID: "something", CreatedAt: long},
	}
	got := census(list, shoal.Inventory{Builds: []string{"known", "elsewhere"}, Ended: []string{"ended"}})
	if got != (counts{all: 3, unknown: 1}) {
		t.Errorf("%+v", got)
	}
}

// TestRecoveryTrustsTheDepotLess: of the pauses that no record names, those on this machine are
// its own and go, and those that only the depot has may be others' and rest in the trash.
func TestRecoveryTrustsTheDepotLess(t *testing.T) {
	artifacts, err := artifact.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	depotDir := t.TempDir()
	put := func(dir *artifact.Store, name string) {
		t.Helper()
		draft, err := dir.Draft(name)
		if err == nil {
			_, err = draft.Commit(snapshot.Capture{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	there, err := artifact.Open(depotDir)
	if err != nil {
		t.Fatal(err)
	}
	put(artifacts, "pause-ihere-00000000")
	put(there, "pause-ithere-00000000")
	put(there, "pause-iused-00000000")
	depot, err := artifact.NewDepot(depotDir, 1<<20, slog.New(slog.DiscardHandler))
	if err == nil {
		err = artifacts.WithDepot(depot)
	}
	if err != nil {
		t.Fatal(err)
	}
	list, err := artifacts.ListAll()
	if err != nil {
		t.Fatal(err)
	}
	r := &recovery{o: &Orchestrator{snapshots: snapshot.NewStore(artifacts)},
		saved: map[string]bool{"pause-iused-00000000": true}}
	if err := r.removeUnused(list); err != nil {
		t.Fatal(err)
	}
	left, err := artifacts.ListAll()
	if err != nil || len(left) != 1 || left[0].ID != "pause-iused-00000000" {
		t.Errorf("left: %+v %v", left, err)
	}
	trashed, err := artifacts.Trashed()
	if err != nil || len(trashed) != 1 || trashed[0].ID != "pause-ithere-00000000" {
		t.Errorf("in the trash: %+v %v", trashed, err)
	}
}
