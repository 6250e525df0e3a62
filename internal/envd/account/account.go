// Package account knows the guest's users and groups, and what a path means
// to one of them. It reads /etc/passwd and /etc/group itself, without cgo.
package account

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrUnknown says that no such user exists in the guest.
var ErrUnknown = errors.New("invalid username")

// User is one record of /etc/passwd with the groups of /etc/group.
type User struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary, without GID; do not modify
	Home   string
	Shell  string // "" in a record without one
}

// Database answers look-ups from the two files. A file is parsed again only
// when its size or modification time changed, so a look-up costs two stats.
type Database struct {
	passwdPath, groupPath string

	mu     sync.Mutex
	passwd cached[passwdTable]
	group  cached[groupTable]
}

type passwdTable struct {
	byName map[string]User
	names  map[uint32]string
}

type groupTable struct {
	members map[string][]uint32 // user name to group IDs
	names   map[uint32]string
	ids     map[string]uint32
}

type cached[T any] struct {
	loaded  bool
	size    int64
	modTime time.Time
	table   T
}

// NewDatabase reads from the given files; they need not exist.
func NewDatabase(passwdPath, groupPath string) *Database {
	return &Database{passwdPath: passwdPath, groupPath: groupPath}
}

// Lookup returns the user of that name. A number that is not a name is taken as a user ID,
// since images may name their user so. Root is known even without a record, because an
// image may come without /etc/passwd.
func (d *Database) Lookup(name string) (User, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	passwd, err := d.passwd.load(d.passwdPath, parsePasswd)
	if err != nil {
		return User{}, err
	}
	u, ok := passwd.byName[name]
	if !ok {
		if id, err := strconv.ParseUint(name, 10, 32); err == nil {
			u, ok = passwd.byName[passwd.names[uint32(id)]]
		}
	}
	if !ok && name == "root" {
		u, ok = User{Name: "root", Home: "/root"}, true
	}
	if !ok {
		return User{}, fmt.Errorf("%w: '%s'", ErrUnknown, name)
	}
	group, err := d.group.load(d.groupPath, parseGroup)
	if err != nil {
		return User{}, err
	}
	for _, gid := range group.members[u.Name] {
		if gid != u.GID {
			u.Groups = append(u.Groups, gid)
		}
	}
	return u, nil
}

// Group returns the ID of the group of that name. Root's is known as root itself is.
func (d *Database) Group(name string) (uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	groups, err := d.group.load(d.groupPath, parseGroup)
	if err != nil {
		return 0, err
	}
	gid, ok := groups.ids[name]
	if !ok && name != "root" {
		return 0, fmt.Errorf("there is no group '%s'", name)
	}
	return gid, nil
}

// Names are the names of users and groups at one moment. Many files are described by one
// such, because to look whether the database has changed takes longer than all else.
type Names struct{ users, groups map[uint32]string }

// Names returns the names of now.
func (d *Database) Names() Names {
	d.mu.Lock()
	defer d.mu.Unlock()
	var n Names
	if passwd, err := d.passwd.load(d.passwdPath, parsePasswd); err == nil {
		n.users = passwd.names
	}
	if groups, err := d.group.load(d.groupPath, parseGroup); err == nil {
		n.groups = groups.names
	}
	return n
}

// Of returns the names of a file's owner and group; an unknown ID is
// returned as its number (envd.md §2.6).
func (n Names) Of(uid, gid uint32) (owner, group string) {
	return nameOf(n.users, uid), nameOf(n.groups, gid)
}

func nameOf(names map[uint32]string, id uint32) string {
	if name, ok := names[id]; ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}

func (c *cached[T]) load(path string, parse func([]byte) T) (T, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		c.loaded = false
		return parse(nil), nil
	}
	if err != nil {
		return c.table, fmt.Errorf("look up accounts: %w", err)
	}
	if c.loaded && c.size == info.Size() && c.modTime.Equal(info.ModTime()) {
		return c.table, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c.table, fmt.Errorf("look up accounts: %w", err)
	}
	c.loaded, c.size, c.modTime, c.table = true, info.Size(), info.ModTime(), parse(data)
	return c.table, nil
}

func parsePasswd(data []byte) passwdTable {
	t := passwdTable{byName: map[string]User{}, names: map[uint32]string{}}
	for f := range records(data, 6) {
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		// The first record of a name or an ID counts, as in the C library.
		if _, taken := t.byName[f[0]]; !taken {
			u := User{Name: f[0], UID: uint32(uid), GID: uint32(gid), Home: f[5]}
			if len(f) > 6 {
				u.Shell = f[6]
			}
			t.byName[f[0]] = u
		}
		if _, taken := t.names[uint32(uid)]; !taken {
			t.names[uint32(uid)] = f[0]
		}
	}
	return t
}

func parseGroup(data []byte) groupTable {
	t := groupTable{members: map[string][]uint32{}, names: map[uint32]string{}, ids: map[string]uint32{}}
	for f := range records(data, 4) {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		if _, taken := t.names[uint32(gid)]; !taken {
			t.names[uint32(gid)] = f[0]
		}
		if _, taken := t.ids[f[0]]; !taken {
			t.ids[f[0]] = uint32(gid)
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if member = strings.TrimSpace(member); member != "" {
				t.members[member] = append(t.members[member], uint32(gid))
			}
		}
	}
	return t
}

// records yields the colon-separated lines that have at least n fields and a name; comments
// and damaged lines are skipped.
func records(data []byte, n int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, 1<<20) // a group may have very many members
		for lines.Scan() {
			line := lines.Text()
			fields := strings.Split(line, ":")
			if len(fields) < n || fields[0] == "" || line[0] == '#' {
				continue
			}
			if !yield(fields) {
				return
			}
		}
	}
}
