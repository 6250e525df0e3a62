package templates

import (
	"embed"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Template is a template that Shoal ships, in the terms of the SDKs: `shoal template build`
// builds it like a user's program would.
type Template struct {
	Name     string
	About    string // one line
	CPUCount int
	MemoryMB int
	Image    string
	Steps    []Step
	Start    string
	Ready    string
	Files    fs.FS // the files for COPY steps
}

// Step is one step in the form in which it is sent.
type Step struct {
	Type string
	Args []string
}

// Shipped are all shipped templates.
var Shipped = append([]Template{codeInterpreter, desktop, mcpGateway}, fragments...)

// notShipped are names of templates that E2B has and Shoal does not: clients that ask for
// one expect E2B's.
var notShipped = []string{"devcontainer", "claude", "anthropic-claude-code", "codex", "opencode", "amp"}

// Reserved are the names that no team but the installation's own may take for all teams:
// those of the shipped templates, of the base template, and of E2B's other templates.
func Reserved() []string { return slices.AppendSeq(slices.Clone(notShipped), maps.Keys(About())) }

// About says in a line each what the base template and the shipped ones are for.
func About() map[string]string {
	about := map[string]string{"base": "Debian with Python, Node.js, Git and compilers; sandboxes have it by default"}
	for _, t := range Shipped {
		about[t.Name] = t.About
	}
	return about
}

// baseImage is the name that SDKs use for the base template's image.
const baseImage = "e2bdev/base"

func user(name string) Step { return Step{"USER", []string{name}} }

func workdir(dir string) Step { return Step{"WORKDIR", []string{dir}} }

func env(pairs ...string) Step { return Step{"ENV", pairs} }

// run joins lines into one command of the step's user.
func run(lines ...string) Step { return Step{"RUN", []string{strings.Join(lines, " && ")}} }

func copyFiles(source, dest string) Step { return Step{"COPY", []string{source, dest, "", ""}} }

// aptInstall installs the packages that a file in the guest lists, one per line.
func aptInstall(list string) Step {
	return run("apt-get update -qq",
		"DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(grep -v \"^#\" "+list+")",
		"rm -rf /var/lib/apt/lists/*")
}

// waitForURL succeeds once a request is answered with 200.
func waitForURL(url string) string {
	return `curl -s -o /dev/null -w "%{http_code}" ` + url + ` | grep -q "200"`
}

//go:embed all:code-interpreter
var codeInterpreterFiles embed.FS

// codeInterpreter is the template that the code interpreter SDKs use: kernels for six
// languages behind an HTTP server on port 49999.
var codeInterpreter = Template{
	Name:     "code-interpreter-v1",
	About:    "Python, JavaScript, TypeScript, R, Java and bash for the code interpreter SDKs",
	CPUCount: 2, MemoryMB: 2048, Image: baseImage, Files: below(codeInterpreterFiles, "code-interpreter"),
	Steps: []Step{
		user("root"),
		copyFiles("packages", "/opt/code-interpreter/packages"),
		aptInstall("/opt/code-interpreter/packages"),
		run("npm install -g --no-fund --no-audit deno@2.9.6", "deno --version"),
		// Each kernel would reserve 80 MB twice, for results of benchmarks. Both texts are of
		// the same length, so the program stays as it is besides.
		run("deno=$(readlink -f $(which deno))",
			"grep -q 'const allMaxLength = 10_000_000;' $deno",
			"sed -i 's/const allMaxLength = 10_000_000;/const allMaxLength = 10_000    ;/' $deno"),
		copyFiles("requirements.txt", "/opt/code-interpreter/requirements.txt"),
		run("pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore -r /opt/code-interpreter/requirements.txt"),
		copyFiles(".", "/opt/code-interpreter/"),
		run("cd /opt/code-interpreter", "chmod 755 run", "python3 -m venv --without-pip venv",
			"pip --python venv/bin/python install --no-cache-dir --disable-pip-version-check -q -r server/requirements.txt",
			"venv/bin/python -m compileall -q server"),
		run("cd /opt/code-interpreter/server", "../venv/bin/python -m interpreter.archive"),
		user("user"),
		workdir("/home/user"),
	},
	Start: "sudo /opt/code-interpreter/run",
	Ready: waitForURL("http://localhost:49999/health"),
}

//go:embed all:desktop
var desktopFiles embed.FS

// desktop is the template that the desktop SDKs use: they start X, XFCE and VNC themselves.
var desktop = Template{
	Name: "desktop", About: "XFCE with Chromium and LibreOffice, screen, mouse, keyboard and VNC stream for the desktop SDKs",
	CPUCount: 4, MemoryMB: 4096, Image: baseImage, Files: below(desktopFiles, "desktop"),
	Steps: []Step{
		user("root"),
		copyFiles("packages", "/opt/desktop/packages"),
		aptInstall("/opt/desktop/packages"),
		// The SDKs look for noVNC where the archive from its authors would be unpacked.
		run("ln -s /usr/share/novnc /opt/noVNC", "ln -sf vnc.html /usr/share/novnc/index.html",
			"mkdir -p /opt/noVNC/utils/websockify",
			"ln -s /usr/bin/websockify /opt/noVNC/utils/websockify/run",
			"test -x /opt/noVNC/utils/novnc_proxy"),
		copyFiles("system", "/"),
		run("chmod 755 /usr/local/bin/pkill",
			"mkdir -p /usr/share/backgrounds/xfce",
			"ffmpeg -v error -f lavfi -i gradients=s=1920x1080:c0=0x16324f:c1=0x4f7cac:x0=0:y0=0:x1=1919:y1=1079 -frames:v 1 /usr/share/backgrounds/xfce/wallpaper.png",
			"update-alternatives --set x-terminal-emulator /usr/bin/xfce4-terminal.wrapper",
			"update-alternatives --set x-www-browser /usr/bin/chromium",
			"ln -s /usr/bin/chromium /usr/local/bin/google-chrome",
			"ln -s /usr/bin/chromium /usr/local/bin/google-chrome-stable"),
		user("user"),
		workdir("/home/user"),
		copyFiles("home", "/home/user"),
	},
}

//go:embed mcp-gateway/mcp-gateway mcp-gateway/*.json mcp-gateway/*.mjs
var mcpGatewayFiles embed.FS

// mcpGateway is the template that the SDKs take for `mcp`: in its sandboxes they run the
// command mcp-gateway, which installs and starts servers of the Model Context Protocol.
var mcpGateway = Template{
	Name: "mcp-gateway", About: "MCP servers from npm and PyPI behind one address, for the SDKs' option mcp",
	CPUCount: 2, MemoryMB: 1024, Image: baseImage, Files: below(mcpGatewayFiles, "mcp-gateway"),
	Steps: []Step{
		user("root"),
		copyFiles(".", "/opt/mcp-gateway/"),
		run("cd /opt/mcp-gateway", "npm ci --no-fund --no-audit --omit=dev",
			"chmod 755 mcp-gateway", "ln -s /opt/mcp-gateway/mcp-gateway /usr/local/bin/mcp-gateway"),
		// These need no settings of their own, and so are what people try first.
		run("mcp-gateway pull filesystem memory time fetch"),
		user("user"),
		workdir("/home/user"),
	},
}

func below(files embed.FS, dir string) fs.FS {
	sub, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // it is embedded, so this cannot fail
	}
	return sub
}
