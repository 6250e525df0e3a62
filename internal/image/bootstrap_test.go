package image

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBootstrap runs the real bootstrap; it needs root, the network and a minute.
func TestBootstrap(t *testing.T) {
	if os.Getenv("SHOAL_TEST_BOOTSTRAP") == "" || os.Geteuid() != 0 {
		t.Skip("set SHOAL_TEST_BOOTSTRAP=1, as root; the end-to-end tests build the base template too")
	}
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	begun, message := time.Now(), ""
	authority := testAuthority(t, "operator")
	options := Options{Envd: []byte("not envd"), CAFiles: []string{authority}, Progress: func(p Progress) {
		if p.Stage != "packages" || !strings.Contains(p.Message, " (") {
			t.Logf("%5.1f s  %s %d/%d %s", time.Since(begun).Seconds(), p.Stage, p.Done, p.Total, p.Message)
		}
		message = p.Message
	}}
	r := ensure(t, s, options)
	t.Logf("packages %s, image %s, %d MiB; %s", r.PackagesTook, r.ImageTook, r.Size>>20, message)
	if r.Size > 750<<20 {
		t.Errorf("the image has %d MiB", r.Size>>20)
	}
	start := time.Now()
	if again := ensure(t, s, options); again.Digest != r.Digest || time.Since(start) > time.Second {
		t.Errorf("the second time: %v after %s", again, time.Since(start))
	}
	path, err := s.Path(r.Digest)
	if err != nil {
		t.Fatal(err)
	}
	dir := mountImage(t, path)
	if err := unix.Mount("dev", dir+"/dev", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir+"/dev", unix.MNT_DETACH) })
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "urandom": 9} {
		if err := unix.Mknod(dir+"/dev/"+name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir+"/dev/"+name, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range map[string]string{
		"tools":    `for t in bash python3 python pip git curl wget ss ping node npm npx socat jq less nano vi tput findmnt ssh xz bzip2 unzip zip realpath sudo lsof gcc g++ make gh yarn; do command -v $t >/dev/null || { echo "no $t"; exit 1; }; done`,
		"versions": `python -c 'import sys, ssl, venv, ensurepip; assert sys.version_info >= (3, 11)' && node -e 'process.exit(+process.versions.node.split(".")[0] >= 18 ? 0 : 1)' && npm --version`,
		"identity": `[ "$(id)" = "uid=1000(user) gid=1000(user) groups=1000(user),27(sudo)" ] || id`,
		"sudo":     `sudo -n -l >/dev/null`,
		"profile":  `[ "$SHELL:$PS1:$LANG" = '/bin/bash:\w \$ :C.UTF-8' ]`,
		"locale":   `[ "$(localedef --list-archive)" = C.utf8 ] && [ "$(locale charmap)" = UTF-8 ]`,
		"shell":    `[ "$(readlink -f /bin/bash)" = /usr/bin/bash-static ] && [ "$(dpkg-divert --truename /bin/bash)" = /bin/bash.dynamic ] && [ "$(/bin/bash -c 'x=żółć; echo ${#x}')" = 4 ] && /bin/bash.dynamic -c true`,
		"trust":    `test -e /etc/ssl/certs/$(openssl x509 -noout -subject_hash -in /usr/local/share/ca-certificates/operator-*.crt).0 && openssl verify -no-CAfile -CApath /etc/ssl/certs /usr/local/share/ca-certificates/operator-*.crt`,
		"bundle":   `openssl verify -no-CApath -CAfile /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates/operator-*.crt`,
		"apt":      `apt-get --version >/dev/null && [ ! -e /usr/sbin/policy-rc.d ] && dpkg --audit && [ "$(grep -c deb.debian.org /etc/apt/sources.list)" = 3 ]`,
		"slim":     `[ -z "$(find /usr/share/man /usr/share/locale -type f | head -n 1)" ] && [ -e /usr/share/doc/bash/copyright ] && [ ! -e /usr/share/doc/bash/README ]`,
		"pip":      `pip --version && ! pip install --quiet --no-index nothing-of-this-name 2>&1 | grep -i externally`,
		"writable": `test -w /usr/local/lib/node_modules || stat -c %a /usr/local/lib/node_modules | grep -q 777`,
	} {
		cmd := exec.Command("chroot", dir, "su", "-l", "user", "-c", script)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
