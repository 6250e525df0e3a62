package watch

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tree maps the kernel's watch descriptors to paths, follows directories as they are made,
// moved and removed, and turns raw events into Events. Its Watcher's lock guards it.
type tree struct {
	fd   int
	root string
	opts Options

	paths map[int32]string // watch descriptor to path relative to root; "." is root
	wds   map[string]int32

	moving map[uint32]string // cookie of a directory that left, to its old path
	moved  map[int32]bool    // directories renamed within, until their IN_MOVE_SELF

	// found holds names that a scan has reported as created. Their own event may still be
	// in the queue, and must not be reported again.
	found map[string]bool
}

func newTree(fd int, root string, opts Options) *tree {
	return &tree{fd: fd, root: root, opts: opts, paths: map[int32]string{}, wds: map[string]int32{},
		moving: map[uint32]string{}, moved: map[int32]bool{}, found: map[string]bool{}}
}

// start watches what exists, without reporting it.
func (t *tree) start() error {
	if err := t.watch("."); err != nil {
		return err
	}
	if !t.opts.Recursive {
		return nil
	}
	return t.scan(".", nil)
}

func (t *tree) watch(rel string) error {
	wd, err := addWatch(t.fd, t.path(rel))
	if err != nil {
		return err
	}
	t.forget(rel)
	if old, ok := t.paths[wd]; ok { // the same directory under its former name
		delete(t.wds, old)
	}
	t.paths[wd], t.wds[rel] = rel, wd
	return nil
}

func (t *tree) path(rel string) string {
	if rel == "." {
		return t.root
	}
	return filepath.Join(t.root, rel)
}

// scan watches the directories below rel and reports all it finds to add, unless that is
// nil. What vanishes meanwhile is skipped.
func (t *tree) scan(rel string, add func(Event)) error {
	children, err := os.ReadDir(t.path(rel))
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range children {
		name := filepath.Join(rel, child.Name())
		if add != nil {
			t.found[name] = true
			add(t.event(name, Create))
		}
		if !child.IsDir() {
			continue
		}
		if err := t.watch(name); gone(err) {
			continue
		} else if err != nil {
			return err
		}
		if err := t.scan(name, add); err != nil {
			return err
		}
	}
	return nil
}

func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// settled is called when the queue is empty: then all events that a scan anticipated have
// been seen.
func (t *tree) settled() { clear(t.found) }

// apply takes one raw event. An error breaks the watcher.
func (t *tree) apply(e rawEvent, add func(Event)) error {
	if e.has(unix.IN_Q_OVERFLOW) {
		return ErrOverflow
	}
	dir, known := t.paths[e.wd]
	if !known {
		return nil
	}
	if e.name == "" {
		t.applySelf(e, dir, add)
		return nil
	}
	name := filepath.Join(dir, e.name)
	for _, m := range opMasks {
		if e.has(m.mask) && !t.repeats(name, m.op) {
			add(t.event(name, m.op))
		}
	}
	if t.opts.Recursive && e.has(unix.IN_ISDIR) {
		return t.follow(e, name, add)
	}
	return nil
}

// repeats reports whether a scan has reported this creation already.
func (t *tree) repeats(name string, op Op) bool {
	if !t.found[name] || (op != Create && op != Remove && op != Rename) {
		return false
	}
	delete(t.found, name)
	return op == Create
}

// applySelf takes an event of a watched directory itself. The parent's watch
// reports those of subdirectories; only the root has no parent here.
func (t *tree) applySelf(e rawEvent, dir string, add func(Event)) {
	if dir == "." {
		for _, m := range opMasks {
			if e.has(m.mask) {
				add(t.event(".", m.op))
			}
		}
	}
	switch {
	case e.has(unix.IN_IGNORED):
		delete(t.paths, e.wd)
		if t.wds[dir] == e.wd {
			delete(t.wds, dir)
		}
	case e.has(unix.IN_MOVE_SELF) && dir != ".":
		if t.moved[e.wd] || t.inPlace(dir, e.wd) {
			delete(t.moved, e.wd)
			return
		}
		maps.DeleteFunc(t.moving, func(_ uint32, old string) bool { return old == dir })
		t.unwatch(dir) // it left the tree
	}
}

// inPlace asks the kernel whether the path still leads to the watched
// directory: watching a directory again returns its old descriptor.
func (t *tree) inPlace(rel string, wd int32) bool {
	now, err := addWatch(t.fd, t.path(rel))
	return err == nil && now == wd
}

// follow keeps the watches in step with what happens to subdirectories.
func (t *tree) follow(e rawEvent, name string, add func(Event)) error {
	switch {
	case e.has(unix.IN_MOVED_FROM):
		if _, watched := t.wds[name]; watched {
			t.moving[e.cookie] = name
		}
		return nil
	case e.has(unix.IN_MOVED_TO):
		old, within := t.moving[e.cookie]
		delete(t.moving, e.cookie)
		if wd, watched := t.wds[old]; within && watched {
			t.rename(old, name)
			t.moved[wd] = true
			return nil
		}
	case !e.has(unix.IN_CREATE):
		return nil
	}
	before, watched := t.wds[name]
	if err := t.watch(name); gone(err) {
		return nil
	} else if err != nil {
		return err
	}
	if watched && t.wds[name] == before {
		return nil // a scan was here already
	}
	return t.scan(name, add)
}

// rename gives a subtree its new paths.
func (t *tree) rename(old, name string) {
	t.unwatch(name) // a directory that was replaced
	for rel, wd := range t.below(old) {
		delete(t.wds, rel)
		renamed := name + strings.TrimPrefix(rel, old)
		t.paths[wd], t.wds[renamed] = renamed, wd
	}
}

// unwatch drops a subtree.
func (t *tree) unwatch(name string) {
	for rel, wd := range t.below(name) {
		removeWatch(t.fd, wd)
		t.forgetWatch(rel, wd)
	}
}

// forget drops what is recorded about a name that gets a new watch.
func (t *tree) forget(rel string) {
	if wd, ok := t.wds[rel]; ok {
		t.forgetWatch(rel, wd)
	}
}

func (t *tree) forgetWatch(rel string, wd int32) {
	delete(t.wds, rel)
	delete(t.paths, wd)
}

// below returns the watched directories at and under a path.
func (t *tree) below(name string) map[string]int32 {
	found := map[string]int32{}
	for rel, wd := range t.wds {
		if rel == name || strings.HasPrefix(rel, name+"/") {
			found[rel] = wd
		}
	}
	return found
}

func (t *tree) event(name string, op Op) Event {
	e := Event{Name: name, Op: op}
	if t.opts.Describe == nil || op == Remove || op == Rename {
		return e
	}
	if entry, err := t.opts.Describe(t.path(name)); err == nil {
		e.Entry = &entry
	}
	return e
}
