//go:build amd64

package usertrap

const (
	// patchAfter is how often a program makes a system call at one place before that is patched.
	// A patched page is a private copy, so it splits the mapping of the program's text, and
	// each part has a page fault of its own, here and in each fork. That takes longer than
	// short programs gain.
	patchAfter = 16
	// countedPlaces bounds the places that are counted.
	countedPlaces = 1024
)

// often counts a call, and tells whether its place is worth a patch.
//
// Preconditions: s.mu must be locked.
func (s *State) oftenLocked(place uintptr) bool {
	if s.calls == nil || len(s.calls) == countedPlaces {
		s.calls = map[uintptr]uint16{}
	}
	s.calls[place]++
	if s.calls[place] < patchAfter {
		return false
	}
	delete(s.calls, place)
	return true
}
