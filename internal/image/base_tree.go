package image

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"shoal/templates"
)

const userID = 1000

// leftOut are files of the packages that guests do not get: those over which the kernel or
// envd mounts, settings of the bootstrap, the identity of a single machine, and Debian's
// refusal of system-wide pip installs.
var leftOut = []string{
	"dev", "proc", "sys", "run", "tmp", "var/tmp", "boot", "media", "mnt", "srv",
	"etc/machine-id", "var/lib/dbus/machine-id",
	"etc/apt/apt.conf.d/99mmdebstrap", "var/lib/apt/lists",
	"usr/lib/python3.11/EXTERNALLY-MANAGED",
}

// emptyDirs are created in their place, with these permissions.
var emptyDirs = map[string]uint32{
	"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "run/e2b": 0o755, "run/lock": 0o1777,
	"run/sudo": 0o711, "run/user": 0o755, // as the packages' tmpfiles.d and a login would make them
	"tmp": 0o1777, "var/tmp": 0o1777, "mnt": 0o755, "media": 0o755, "srv": 0o755, "code": 0o777,
	"var/lib/apt/lists": 0o755, "var/lib/apt/lists/partial": 0o755,
	// Packages fail to install if they cannot link their manuals' alternatives here.
	"usr/share/man/man1": 0o755,
	// If /tmp were empty, gVisor would mount a file system in memory over it.
	"tmp/.X11-unix": 0o1777,
}

// baseTree lays the template's own files over the packages in root.
func baseTree(ctx context.Context, root string, envd []byte, authorities []authority) (*Tree, error) {
	t, err := FromDir(root, leftOut...)
	if err != nil {
		return nil, err
	}
	for name, perm := range emptyDirs {
		if err := t.Put(name, NewDir(perm)); err != nil {
			return nil, err
		}
	}
	if err := layFiles(t); err != nil {
		return nil, err
	}
	if err := addUser(t); err != nil {
		return nil, err
	}
	put := map[string]*Node{
		envdPath:         NewFile(0o755, envd),
		"usr/bin/python": NewLink("python3"),
		"etc/mtab":       NewLink("../proc/self/mounts"),
		".e2b":           NewFile(0o644, []byte("ENV_ID=base\nTEMPLATE_ID=base\n")),
	}
	for name, node := range put {
		if err := t.Put(name, node); err != nil {
			return nil, err
		}
	}
	t.Share(SharedDir)
	return t, trust(ctx, t, root, authorities)
}

// layFiles adds the embedded files. They belong to root and have mode 0644, except for
// sudo's.
func layFiles(t *Tree) error {
	return templates.BaseFiles(func(name string, data []byte) error {
		perm := uint32(0o644)
		if strings.HasPrefix(name, "etc/sudoers.d/") {
			perm = 0o440
		}
		return t.Put(name, NewFile(perm, data))
	})
}

// addUser adds the default user, which like root has no password and may use sudo.
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
		edit("etc/passwd", fmt.Sprintf("%s:x:%d:%d::%s:/bin/bash\n", DefaultUser, userID, userID,
			DefaultWorkdir), same),
		edit("etc/group", fmt.Sprintf("%s:x:%d:\n", DefaultUser, userID), func(s string) string {
			return strings.Replace(s, "sudo:x:27:\n", "sudo:x:27:"+DefaultUser+"\n", 1)
		}),
		edit("etc/shadow", DefaultUser+"::19000:0:99999:7:::\n", emptyRoot),
		edit("etc/gshadow", DefaultUser+":!::\n", func(s string) string {
			return strings.Replace(s, "sudo:*::\n", "sudo:*::"+DefaultUser+"\n", 1)
		}),
	)
	if err != nil {
		return err
	}
	// The IDs that its user namespaces may map, as useradd gives them: rootless podman needs them.
	for _, name := range []string{"etc/subuid", "etc/subgid"} {
		if err := t.Put(name, NewFile(0o644, []byte(DefaultUser+":100000:65536\n"))); err != nil {
			return err
		}
	}
	for name, perm := range map[string]uint32{DefaultWorkdir: 0o755, fmt.Sprintf("run/user/%d", userID): 0o700} {
		dir := NewDir(perm)
		dir.UID, dir.GID = userID, userID
		if err := t.Put(name, dir); err != nil {
			return err
		}
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

// SharedDir is where every user may install and replace files (templates.md §3.7).
const SharedDir = "usr/local"

// Share gives everybody all rights to a directory and everything below it. Doing the same
// in a guest would copy each file into the layer that is being made.
func (t *Tree) Share(dir string) {
	n, err := t.lookup(dir)
	if err != nil {
		return
	}
	n.share()
}

func (n *Node) share() {
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		n.Mode = n.Mode&unix.S_IFMT | 0o777
	}
	for _, kid := range n.children {
		kid.share()
	}
}
