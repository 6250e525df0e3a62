package main

var packageManagers = []program{{
	name: "apt", does: "install a package of Debian, remove it",
	task: `sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq hello >/dev/null
		hello && sudo apt-get purge -y -qq hello >/dev/null`,
	prints: "Hello, world!",
}, {
	name: "uv", does: "a project with a dependency from PyPI, run in its environment", pypi: []string{"uv"},
	task: `rm -rf p && uv init -q p && cd p && uv add -q six
		uv run -q python -c 'import six; print("six:", six.PY3)'`,
	prints: "six: True",
}, {
	name: "Poetry", does: "a project with a dependency from PyPI, run in its environment", pypi: []string{"poetry"},
	task: `rm -rf p && poetry new -q p && cd p
		poetry source add -q simple https://pypi.org/simple/ # mirrors of PyPI often have no more than that
		poetry add -q six
		poetry run python -c 'import six; print("six:", six.PY3)'`,
	prints: "six: True",
}, {
	name: "pnpm", does: "install a package from the registry, require it", npm: []string{"pnpm@10"},
	task:   `rm -rf p && mkdir p && cd p && pnpm init >/dev/null && pnpm add --silent ms@2.1.3 && node -p 'require("ms")("2 days")'`,
	prints: "172800000",
}, {
	name: "Bun", does: "install a package from the registry, import it; a server", npm: []string{"bun"},
	session: `echo 'let n = 40; Bun.serve({hostname: "127.0.0.1", port: 3001, fetch: () => new Response("counted " + (n++ > 40))})' >s.ts; exec bun s.ts`,
	ready:   `curl -sf 127.0.0.1:3001`,
	task: `rm -rf p && mkdir p && cd p && bun init -y >/dev/null && bun add --silent ms@2.1.3 >/dev/null
		curl -sf 127.0.0.1:3001; echo 'import ms from "ms"; console.log(" " + ms("2 days"))' >i.ts; bun i.ts`,
	prints: "counted true 172800000",
}, {
	name: "Deno", does: "import a package of npm; a server", npm: []string{"deno"},
	session: `echo 'let n = 40; Deno.serve({hostname: "127.0.0.1", port: 3002}, () => new Response("counted " + (n++ > 40)))' >s.ts; exec deno run --allow-net s.ts`,
	ready:   `curl -sf 127.0.0.1:3002`,
	task:    `curl -sf 127.0.0.1:3002; echo 'import ms from "npm:ms@2.1.3"; console.log(" " + ms("2 days"))' >i.ts; deno run -q -A i.ts`,
	prints:  "counted true 172800000",
}}
