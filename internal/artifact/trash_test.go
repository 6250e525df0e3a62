package artifact

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// forms are the two forms of a store, each with its depot's directory, "" without one.
func forms(t *testing.T, test func(t *testing.T, reopen func() *Store)) {
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func() *Store { return open(t, dir) })
	})
	t.Run("depot", func(t *testing.T) {
		dir, depotDir := t.TempDir(), t.TempDir()
		test(t, func() *Store { return cached(t, dir, depotDir, 1<<20) })
	})
}

// copyToDepot does what Run does, once.
func copyToDepot(t *testing.T, s *Store) {
	t.Helper()
	if s.depot == nil {
		return
	}
	for _, id := range s.depot.waiting() {
		if err := s.upload(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
}

func names[M interface{ name() string }](list []M) (all []string) {
	for _, m := range list {
		all = append(all, m.name())
	}
	slices.Sort(all)
	return all
}

func (m Manifest) name() string { return m.ID }

func wantNames(t *testing.T, s *Store, here, inTrash string) {
	t.Helper()
	list, err := s.ListAll()
	if err != nil {
		t.Fatal(err)
	}
	trashed, err := s.Trashed()
	if err != nil {
		t.Fatal(err)
	}
	if h, r := strings.Join(names(list), " "), strings.Join(names(trashed), " "); h != here || r != inTrash {
		t.Errorf("there is %q, and %q in the trash; want %q and %q", h, r, here, inTrash)
	}
}

// TestTrash: what is in the trash is missing from lists, outlives the process, and comes
// back whole when it is asked for. What was removed never does.
func TestTrash(t *testing.T) {
	for _, when := range []string{"before it is copied", "after it is copied"} {
		t.Run(when, func(t *testing.T) {
			forms(t, func(t *testing.T, reopen func() *Store) {
				s := reopen()
				for _, id := range []string{"a-one", "two", "three"} {
					put(t, s, id, "content of "+id)
				}
				if when == "after it is copied" {
					copyToDepot(t, s)
				}
				must(t, s.Trash("a-one"))
				must(t, s.Trash("two"))
				must(t, s.Trash("two"))
				must(t, s.Trash("unknown"))
				wantNames(t, s, "three", "a-one two")
				s = reopen()
				wantNames(t, s, "three", "a-one two")
				trashed, err := s.Trashed()
				must(t, err)
				if trashed[0].Size() != int64(len("content of a-one")) || time.Since(trashed[0].Since) > time.Minute {
					t.Errorf("the trash has %+v", trashed[0])
				}

				a, err := s.Get("a-one")
				must(t, err)
				must(t, a.Verify())
				if data, err := os.ReadFile(filepath.Join(a.Dir, "data")); err != nil || string(data) != "content of a-one" {
					t.Errorf("came back as %q, %v", data, err)
				}
				wantNames(t, s, "a-one three", "two")
				if back, err := s.BringBack("two"); !back || err != nil {
					t.Errorf("two: %v %v", back, err)
				}
				if back, err := s.BringBack("two"); back || err != nil {
					t.Errorf("two, again: %v %v", back, err)
				}
				copyToDepot(t, s)
				wantNames(t, s, "a-one three two", "")

				must(t, s.Trash("three"))
				must(t, s.Remove("three"))
				if _, err := s.Get("three"); !errors.Is(err, ErrMissing) {
					t.Errorf("three was removed, but %v", err)
				}
			})
		})
	}
}

// TestTrashGivesWayToANewOne: who makes an artifact anew gets that one, not the one in the
// trash.
func TestTrashGivesWayToANewOne(t *testing.T) {
	forms(t, func(t *testing.T, reopen func() *Store) {
		s := reopen()
		put(t, s, "one", "old")
		copyToDepot(t, s)
		must(t, s.Trash("one"))
		put(t, s, "one", "new")
		copyToDepot(t, s)
		if back, err := s.BringBack("one"); back || err != nil {
			t.Errorf("brought back over a new one: %v %v", back, err)
		}
		must(t, s.Trash("one"))
		a, err := s.Get("one")
		must(t, err)
		if data, err := os.ReadFile(filepath.Join(a.Dir, "data")); err != nil || string(data) != "new" {
			t.Errorf("came back as %q, %v", data, err)
		}
		wantNames(t, s, "one", "")
	})
}

// TestEmptyTrash: only what has been there long enough goes, and leaves no files behind.
func TestEmptyTrash(t *testing.T) {
	forms(t, func(t *testing.T, reopen func() *Store) {
		s := reopen()
		for _, id := range []string{"one", "two"} {
			put(t, s, id, "12345")
		}
		copyToDepot(t, s)
		must(t, s.Trash("one"))
		must(t, s.Trash("two"))
		long := Trashed{Manifest: Manifest{ID: "one"}, Since: time.Now().Add(-2 * TrashTime)}
		age(t, s, long)
		gone, err := s.EmptyTrash(time.Now().Add(-TrashTime))
		must(t, err)
		if gone.Artifacts != 1 || gone.Bytes != 5 {
			t.Errorf("gone: %+v", gone)
		}
		wantNames(t, s, "", "two")
		_, err = s.EmptyTrash(time.Now().Add(time.Second))
		must(t, err)
		for _, dir := range s.dirs() {
			must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err == nil && path != dir && e.Name() != trashDir {
					t.Errorf("%s is left", path)
				}
				return err
			}))
		}
	})
}

// age makes an artifact in the trash as old as t says.
func age(t *testing.T, s *Store, to Trashed) {
	t.Helper()
	keeper := s
	if s.depot != nil {
		keeper = s.depot.remote
	}
	list, err := keeper.readTrash()
	must(t, err)
	at := slices.IndexFunc(list, func(have trashName) bool { return have.id == to.ID })
	must(t, os.Rename(keeper.trashPath(list[at]), keeper.trashPath(trashName{id: to.ID, since: to.Since})))
}

// TestTrashMakesRoom: when the file system is short, the oldest of the trash goes, no more
// than is missing, and nothing else.
func TestTrashMakesRoom(t *testing.T) {
	forms(t, func(t *testing.T, reopen func() *Store) {
		s := reopen()
		for _, id := range []string{"one", "two", "three", "stays"} {
			put(t, s, id, "12345")
		}
		copyToDepot(t, s)
		for i, id := range []string{"three", "one", "two"} {
			must(t, s.Trash(id))
			age(t, s, Trashed{Manifest: Manifest{ID: id}, Since: time.Now().Add(time.Duration(i-10) * time.Hour)})
		}
		keeper := s
		if s.depot != nil {
			keeper = s.depot.remote
		}
		for _, c := range []struct {
			free    int64
			inTrash string
		}{{50, "one three two"}, {44, "two"}, {50, "two"}, {0, ""}} {
			keeper.WithSpace(func(string) (free, total int64, err error) { return c.free, 50 * trashReserve, nil })
			_, err := s.MakeRoom()
			must(t, err)
			wantNames(t, s, "stays", c.inTrash)
		}
	})
}

// TestTrashRaces: of those who trash, bring back and empty at once, nobody fails, and the
// artifact is whole or gone.
func TestTrashRaces(t *testing.T) {
	s := open(t, t.TempDir())
	for range 50 {
		put(t, s, "one", "12345")
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if err := s.Trash("one"); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if a, err := s.Get("one"); err == nil {
					err = a.Verify()
					if err != nil && !errors.Is(err, os.ErrNotExist) { // it may be trashed meanwhile
						t.Error(err)
					}
				} else if corrupt := (*CorruptError)(nil); !errors.Is(err, ErrMissing) && !errors.As(err, &corrupt) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if _, err := s.EmptyTrash(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if a, err := s.Get("one"); err == nil {
			must(t, a.Verify())
		} else if !errors.Is(err, ErrMissing) {
			t.Error(err)
		}
	}
}

// TestOwners: a store knows whose it is, in its own directory and in its depot.
func TestOwners(t *testing.T) {
	forms(t, func(t *testing.T, reopen func() *Store) {
		s := reopen()
		want := func(want ...string) {
			t.Helper()
			if have, err := s.Owners(); err != nil || !slices.Equal(have, want) {
				t.Errorf("owners %v, %v; want %v", have, err, want)
			}
		}
		want()
		must(t, s.SetOwner("us"))
		s = reopen()
		want("us")
		if s.depot != nil {
			must(t, s.depot.remote.SetOwner("them"))
			want("us", "them")
		}
		must(t, s.SetOwner("her"))
		want("her")
		must(t, os.WriteFile(filepath.Join(s.dir, ownerFile), nil, 0o600))
		if _, err := s.Owners(); err == nil {
			t.Error("an empty mark counts as none")
		}
	})
}

// TestLook tells about a store that another process has.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	want := func(refusal string, inTrash int) {
		t.Helper()
		if have, trashed, err := Look(dir); err != nil || have != refusal || len(trashed) != inTrash {
			t.Errorf("%q %v %v", have, trashed, err)
		}
	}
	want("", 0)
	s := open(t, dir)
	put(t, s, "one", "12345")
	must(t, s.Trash("one"))
	must(t, s.NoteRefusal("because"))
	want("because", 1)
	must(t, s.NoteRefusal(""))
	must(t, s.NoteRefusal(""))
	want("", 1)
	if _, _, err := Look(filepath.Join(dir, "nowhere")); err != nil {
		t.Error(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
