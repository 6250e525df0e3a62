package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"shoal/internal/envd/account"
)

// shell is executed in place of a command that the kernel refuses to execute.
const shell = "/bin/sh"

// isRoot says whether commands can be run as other users. It does not change.
var isRoot = os.Geteuid() == 0

// command is what a process is started from.
type command struct {
	name  string
	args  []string
	env   map[string]string
	dir   string
	user  account.User
	stdio stdio
	tty   bool // stdio is a terminal and shall control the new session
}

// fork starts the command and returns its process ID. There is no shell in between, because
// forking twice is slow in a guest; but a command that cannot be executed still ends as a
// shell would end it, with a line on stderr and exit code 127 or 126, and a script without
// an interpreter line runs. So the errors that remain concern the directory, the user or
// the machine.
func (c *command) fork() (int, error) {
	pid, err := c.exec(c.path(), append([]string{c.name}, c.args...))
	if err == nil || !refused(err) {
		return pid, err
	}
	return c.exec(shell, append([]string{shell, "-c", `exec "$@"`, shell, c.name}, c.args...))
}

// refused covers what execve says of the file. The working directory can cause the same
// errors; then the shell fails, too.
func refused(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ENOTDIR, syscall.ELOOP,
		syscall.ENAMETOOLONG, syscall.EISDIR, syscall.ELIBBAD, syscall.ETXTBSY, syscall.EPERM:
		return true
	}
	return false
}

// exec uses vfork and execve.
func (c *command) exec(path string, argv []string) (int, error) {
	p, err := newProgram(path, argv, c.environ(), c.dir)
	if err != nil {
		return 0, err
	}
	p.stdio, p.tty = c.stdio, c.tty
	if isRoot {
		p.credentials, p.uid, p.gid, p.groups = true, c.user.UID, c.user.GID, c.user.Groups
	}
	return p.start()
}

// maxString is the longest argument or variable that a kernel takes, in bytes, with the NUL
// at its end. Linux refuses more as E2BIG, gVisor as ENAMETOOLONG.
const maxString = 128 << 10

// explain says what was too long for the kernel, whose error does not.
func (c *command) explain(err error) error {
	if !errors.Is(err, syscall.E2BIG) && !errors.Is(err, syscall.ENAMETOOLONG) {
		return err
	}
	for _, arg := range c.args {
		if len(arg) >= maxString {
			return errors.New("the command line is longer than 128 KiB; write it to a file and run the file")
		}
	}
	for key, value := range c.env {
		if len(key)+len("=")+len(value) >= maxString {
			return fmt.Errorf("the environment variable %q is longer than 128 KiB; write it to a file", key)
		}
	}
	return err
}

func (c *command) environ() []string {
	env := make([]string, 0, len(c.env))
	for key, value := range c.env {
		env = append(env, key+"="+value)
	}
	return env
}

// path finds the command as execvp would: a name without a slash on the PATH
// of the new process. What is not found is left to the kernel to refuse.
func (c *command) path() string {
	if strings.Contains(c.name, "/") || c.name == "" {
		return c.name
	}
	for _, dir := range filepath.SplitList(c.env["PATH"]) {
		candidate := filepath.Join(dir, c.name)
		if dir == "" {
			candidate = "./" + c.name
		}
		seen := candidate
		if !filepath.IsAbs(seen) {
			seen = filepath.Join(c.dir, seen)
		}
		if info, err := os.Stat(seen); err == nil && executable(info, c.user) {
			return candidate
		}
	}
	return "/nonexistent/" + c.name // never a file of the working directory
}

// executable looks at the permission bits, to choose among several files of one name. The
// kernel has the last word.
func executable(info os.FileInfo, u account.User) bool {
	if !info.Mode().IsRegular() {
		return false
	}
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || u.UID == 0 {
		return mode&0o111 != 0
	}
	if stat.Uid == u.UID {
		return mode&0o100 != 0
	}
	if stat.Gid == u.GID {
		return mode&0o010 != 0
	}
	for _, gid := range u.Groups {
		if stat.Gid == gid {
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}

// checkStrings refuses what cannot be passed to any process.
func (c *command) checkStrings() error {
	for _, s := range append([]string{c.name, c.dir}, c.args...) {
		if strings.IndexByte(s, 0) >= 0 {
			return fmt.Errorf("command, arguments and directory must not contain NUL")
		}
	}
	for key, value := range c.env {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.IndexByte(value, 0) >= 0 {
			return fmt.Errorf("environment variable %q: a name must not be empty or contain = or NUL, nor a value NUL",
				key)
		}
	}
	return nil
}
