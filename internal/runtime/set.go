package runtime

import (
	"cmp"
	"fmt"

	"shoal/internal/shoal"
)

// Set is the runtimes of one machine, the preferred one first. It is never empty.
type Set []Runtime

// Preferred is the runtime of guests that ask for none.
func (s Set) Preferred() Runtime { return s[0] }

// Names lists the runtimes' names in the set's order.
func (s Set) Names() []string {
	names := make([]string, len(s))
	for i, r := range s {
		names[i] = r.Maker().Runtime
	}
	return names
}

// unnamed is the runtime of records that name none: they are of when there was no other.
const unnamed = "gvisor"

// Named finds a runtime, by the name in a record. An unknown one is ErrUnfit.
func (s Set) Named(name string) (Runtime, error) {
	name = cmp.Or(name, unnamed)
	for _, r := range s {
		if r.Maker().Runtime == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%w: it needs %s", ErrUnfit, name)
}

// Choose finds the runtime for guests of a template. One that the template needs and the
// machine lacks is ErrUnfit.
func (s Set) Choose(wish shoal.RuntimeWish) (Runtime, error) {
	if wish.Name == "" {
		return s.Preferred(), nil
	}
	r, err := s.Named(wish.Name)
	if err != nil && !wish.Required {
		return s.Preferred(), nil
	}
	return r, err
}

// ChooseVolumes is Choose for a guest that is to have volumes: another runtime than the template
// prefers, or the machine, if guests of theirs have none. Where that is the one that the template needs, it is
// ErrUnfit.
func (s Set) ChooseVolumes(wish shoal.RuntimeWish) (Runtime, error) {
	r, err := s.Choose(wish)
	if err != nil || r.Volumes() {
		return r, err
	}
	for _, other := range s {
		if other.Volumes() && !wish.Required {
			return other, nil
		}
	}
	return nil, fmt.Errorf("%w: guests under %s have no volumes", ErrUnfit, r.Maker().Runtime)
}

// Restorer finds the runtime that can restore a checkpoint. Errors are ErrUnfit.
func (s Set) Restorer(made Maker) (Runtime, error) {
	r, err := s.Named(made.Runtime)
	if err != nil {
		return nil, err
	}
	return r, r.Fits(made)
}
