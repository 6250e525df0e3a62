package main

// baseTemplate is what the base template has, so nothing is installed for it.
var baseTemplate = []program{{
	name: "Python", does: "processes that share the work; a server",
	session: `exec python3 -m http.server --bind 127.0.0.1 8000`,
	ready:   `curl -sf 127.0.0.1:8000`,
	task: `cat >squares.py <<-'END'
		from multiprocessing import Pool
		def square(x): return x * x
		if __name__ == "__main__":
		    with Pool(4) as pool: print("sum", sum(pool.map(square, range(100))))
		END
		python3 squares.py
		curl -sf 127.0.0.1:8000/squares.py | grep Pool >/dev/null`,
	prints: "sum 328350",
}, {
	name: "pip and venv", does: "install a package from PyPI into an environment, import it",
	task: `python3 -m venv --clear env
		env/bin/pip install -q --disable-pip-version-check six
		env/bin/python -c 'import six; print("six:", six.PY3)'`,
	prints: "six: True",
}, {
	name: "Node.js", does: "a server that counts, with worker threads",
	session: `exec node -e 'let n = 41
		require("http").createServer((q, a) => {
			if (q.url == "/add") new (require("worker_threads").Worker)("require(\"worker_threads\").parentPort.postMessage(1)", {eval: true})
				.on("message", one => a.end("counted " + (n += one)))
			else a.end("counted " + n)
		}).listen(3000, "127.0.0.1")'`,
	ready:  `curl -sf 127.0.0.1:3000`,
	task:   `curl -sf 127.0.0.1:3000/add`,
	again:  `curl -sf 127.0.0.1:3000`,
	prints: "counted 42",
}, {
	name: "npm", does: "install a package from the registry, require it, run a script",
	task: `rm -rf project && mkdir project && cd project
		npm init -y >/dev/null
		npm install --no-audit --no-fund --loglevel=error ms@2.1.3 >/dev/null
		npm pkg set scripts.say='node -p "require(\"ms\")(\"2 days\")"'
		npm run --silent say`,
	prints: "172800000",
}, {
	name: "yarn", does: "install a package from the registry, require it",
	task: `rm -rf project && mkdir project && cd project
		echo '{"name":"project","version":"1.0.0","license":"MIT"}' >package.json
		yarn add --silent --no-progress ms@2.1.3 >/dev/null
		node -p 'require("ms")("2 days")'`,
	prints: "172800000",
}, {
	name: "GCC and make", does: "build a program of C and C++ with threads, run it",
	task: `mkdir -p c && cd c && rm -f *
		cat >answer.c <<-'END'
		#include <pthread.h>
		static void *set(void *x) { *(int *)x = 42; return 0; }
		int answer(void) { int x = 0; pthread_t t; pthread_create(&t, 0, set, &x); pthread_join(t, 0); return x; }
		END
		cat >main.cc <<-'END'
		#include <iostream>
		extern "C" int answer(void);
		int main() { std::cout << "answer " << answer() << "\n"; }
		END
		printf 'main: main.o answer.o\n\t$(CXX) -pthread -o $@ $^\n' >Makefile
		make -s -j2 && ./main`,
	prints: "answer 42",
}, {
	name: "AddressSanitizer", does: "find a write beyond a buffer",
	task: `echo 'int main(int n, char **v) { char b[8]; b[7 + n] = 1; return b[n]; }' >over.c
		gcc -fsanitize=address -g over.c -o over
		if ./over 2>said; then false; fi
		grep -o -m1 stack-buffer-overflow said`,
	prints: "stack-buffer-overflow",
}, {
	name: "Git", does: "commit, serve with `git daemon`, clone",
	session: `mkdir served && cd served && git init -q && git config user.email me@example.com && git config user.name me
		echo 42 >answer && git add . && git commit -qm 'Add the answer'
		exec git daemon --reuseaddr --listen=127.0.0.1 --export-all --base-path="$HOME"`,
	ready:  `git ls-remote git://127.0.0.1/served`,
	task:   `rm -rf clone && git clone -q git://127.0.0.1/served clone && git -C clone log --oneline && cat clone/answer`,
	prints: "Add the answer",
}, {
	name: "SQLite", does: "a shell with an open transaction",
	session: `mkfifo lines; exec 3<>lines
		echo 'create table t (x); begin; insert into t values (42);' >&3
		exec sqlite3 data.db <&3`,
	ready: `sqlite3 data.db 'select * from t'`,
	task:  `sqlite3 data.db "select count(*) || ' rows' from t"; echo 'the transaction is open'`,
	again: `echo 'commit;' >lines
		waits sh -c 'sqlite3 data.db "select x from t" | grep 42'
		echo 'the transaction is open no more'`,
	prints: "the transaction is open",
}, {
	name: "Perl", does: "JSON, and a pipe to a child",
	task: `perl -MJSON::PP -e 'open my $p, "-|", "echo 42"; my $x = <$p>; chomp $x;
		print encode_json({answer => $x}), "\n"'`,
	prints: `{"answer":"42"}`,
}, {
	name: "GnuPG", does: "make a key, sign, verify; its agent keeps the key",
	task: `if ! gpg -q --list-secret-keys me@example.com >/dev/null 2>&1; then
			gpg -q --batch --passphrase '' --quick-gen-key me@example.com default default never
		fi
		echo 42 | gpg -q --batch --sign -o - | gpg --verify 2>&1 -o /dev/null`,
	prints: "Good signature",
}, {
	name: "jq and archivers", does: "`zip`, `tar`, `xz`, `rsync`: pack, copy, unpack, read",
	task: `rm -rf in out && mkdir -p in out && echo '{"answer": [6, 7]}' >in/a.json
		zip -qr in.zip in && unzip -q in.zip -d out && tar -cJf in.tar.xz in && tar -xJf in.tar.xz -C out
		rsync -a --checksum in/ out/in/ && jq '.answer | .[0] * .[1]' out/in/a.json`,
	prints: "42",
}}
