package runtime

import (
	"errors"
	"fmt"
	"testing"

	"shoal/internal/shoal"
)

// named is a runtime that restores what it has made at one version.
type named struct {
	Runtime
	maker Maker
	dry   bool // guests have no volumes
}

func (n named) Maker() Maker { return n.maker }

func (n named) Volumes() bool { return !n.dry }

func (n named) Fits(made Maker) error {
	if made != n.maker {
		return fmt.Errorf("%w: another version", ErrUnfit)
	}
	return nil
}

// TestSet: a machine with two runtimes starts a guest by the one that its template asks
// for, and restores it by the one that took the checkpoint or not at all.
func TestSet(t *testing.T) {
	first, second := named{maker: Maker{Runtime: "first", Version: "1"}}, named{maker: Maker{Runtime: "second", Version: "1"}}
	set := Set{first, second}
	for wish, want := range map[shoal.RuntimeWish]string{
		{}: "first", {Name: "second"}: "second", {Name: "second", Required: true}: "second",
		{Name: "third"}: "first", {Name: "third", Required: true}: "",
	} {
		got, err := set.Choose(wish)
		switch {
		case want == "" && !errors.Is(err, ErrUnfit):
			t.Errorf("%+v: %v", wish, err)
		case want != "" && (err != nil || got.Maker().Runtime != want):
			t.Errorf("%+v: %v %v, want %s", wish, got, err, want)
		}
	}
	for made, want := range map[Maker]bool{
		first.maker: true, second.maker: true,
		{Runtime: "second", Version: "2"}: false, {Runtime: "third", Version: "1"}: false,
	} {
		got, err := set.Restorer(made)
		if (err == nil) != want || (err != nil && !errors.Is(err, ErrUnfit)) || (want && got.Maker() != made) {
			t.Errorf("%+v: %v %v", made, got, err)
		}
	}
}

// TestUnnamed: a record that names no runtime is of gVisor, whatever the machine prefers now.
func TestUnnamed(t *testing.T) {
	set := Set{named{maker: Maker{Runtime: "first"}}, named{maker: Maker{Runtime: "gvisor"}}}
	if r, err := set.Named(""); err != nil || r.Maker().Runtime != "gvisor" {
		t.Errorf("%v %v", r, err)
	}
	if r, err := set.Choose(shoal.RuntimeWish{}); err != nil || r.Maker().Runtime != "first" {
		t.Errorf("who asks for none gets %v %v", r, err)
	}
}

// TestRuntimesWithVolumes: a guest with volumes gets a runtime that has them, if its template does not need
// another.
func TestRuntimesWithVolumes(t *testing.T) {
	dry, wet := named{maker: Maker{Runtime: "dry"}, dry: true}, named{maker: Maker{Runtime: "wet"}}
	for _, set := range []Set{{dry, wet}, {wet, dry}} {
		for wish, want := range map[shoal.RuntimeWish]string{
			{}: "wet", {Name: "dry"}: "wet", {Name: "wet"}: "wet", {Name: "wet", Required: true}: "wet", {Name: "third"}: "wet",
			{Name: "dry", Required: true}: "", {Name: "third", Required: true}: "",
		} {
			got, err := set.ChooseVolumes(wish)
			if want == "" && !errors.Is(err, ErrUnfit) || want != "" && (err != nil || got.Maker().Runtime != want) {
				t.Errorf("%+v of %v: %v %v, want %q", wish, set.Names(), got, err, want)
			}
		}
	}
	if _, err := (Set{dry}).ChooseVolumes(shoal.RuntimeWish{}); !errors.Is(err, ErrUnfit) {
		t.Errorf("without such a runtime: %v", err)
	}
}
