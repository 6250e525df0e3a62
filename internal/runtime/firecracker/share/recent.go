package share

import (
	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// A guest's kernel forgets files when it wants their memory, and each that it knows is a descriptor here. So it is
// asked to forget some when there are many: those whose names were looked up longest ago. Directories are not
// among them, because what is mounted there would go.

// name is where the guest's kernel has found a file.
type name struct {
	node, dir uint64
	entry     string
}

const (
	// maxKnown bounds from how many files on the kernel is asked to forget some, mostKnown times of which it may
	// know.
	maxKnown  = 50_000
	mostKnown = 4
	// askedFor is how many it is asked to forget at a time.
	askedFor = 2
)

// knownFiles suits the limit of descriptors.
func knownFiles() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 1000
	}
	return int(min(limit.Cur/(2*mostKnown), maxKnown)) + 1
}

// remember notes where a file was found, and asks the kernel to forget others if there are too many.
func (s *Server) remember(dir, n *node, entry string) {
	s.mu.Lock()
	if n.kind != unix.S_IFDIR && !n.named {
		n.named = true
		s.recent = append(s.recent, name{n.id, dir.id, entry})
	}
	var forget []name
	for len(s.nodes) > s.opts.Known && len(s.recent) > 0 && len(forget) < askedFor {
		oldest := s.recent[0]
		s.recent = s.recent[1:]
		old := s.nodes[oldest.node]
		if old == nil {
			continue
		}
		if old == n || old.uses > 0 {
			s.recent = append(s.recent, oldest)
			break
		}
		old.named = false // it is named again when it is looked up again
		forget = append(forget, oldest)
	}
	s.mu.Unlock()
	for _, f := range forget {
		s.write(fuse.ForgetEntry(f.dir, f.entry))
	}
}
