package main

var interpreted = []program{{
	name: "Ruby", does: "build and install a gem with a C extension; a server", debian: []string{"ruby", "ruby-dev", "ruby-webrick"},
	session: `exec ruby -run -e httpd -- -b 127.0.0.1 -p 4567 .`,
	ready:   `curl -sf 127.0.0.1:4567`,
	task: `rm -rf gem && mkdir -p gem/ext && cd gem
		printf 'require "mkmf"\ncreate_makefile("seven")\n' >ext/extconf.rb
		cat >ext/seven.c <<-'END'
		#include <ruby.h>
		static VALUE seven(VALUE self) { return INT2FIX(7); }
		void Init_seven(void) { rb_define_global_function("seven", seven, 0); }
		END
		cat >seven.gemspec <<-'END'
		Gem::Specification.new { |s| s.name, s.version, s.summary, s.authors = "seven", "1.0.0", "7", ["me"]
		  s.files, s.extensions = Dir["ext/*"], ["ext/extconf.rb"] }
		END
		gem build -q seven.gemspec >/dev/null 2>&1; gem install -q --user-install --local --no-document seven-1.0.0.gem
		curl -sf 127.0.0.1:4567/gem/seven.gemspec | grep Specification >/dev/null
		ruby -e 'gem "seven"; require "seven"; puts "it is #{6 * Thread.new { seven }.value}"'`,
	prints: "it is 42",
}, {
	name: "PHP and Composer", does: "a project with a dependency, by its autoloader; a server", debian: []string{"php-cli", "composer"},
	session: `mkdir -p web && echo '<?php echo "php says ", 6 * 7;' >web/index.php; exec php -S 127.0.0.1:8083 -t web`,
	ready:   `curl -sf 127.0.0.1:8083`,
	task: `rm -rf p && mkdir -p p/lib/src p/app && cd p
		echo '{"name": "me/lib", "version": "1.0.0", "autoload": {"psr-4": {"Lib\\": "src/"}}}' >lib/composer.json
		echo '<?php namespace Lib; class Six { static function times(int $x): int { return 6 * $x; } }' >lib/src/Six.php
		cd app && cat >composer.json <<-'END'
		{"repositories": [{"type": "path", "url": "../lib"}, {"packagist.org": false}], "require": {"me/lib": "^1.0"}}
		END
		composer install -q --no-interaction
		curl -sf 127.0.0.1:8083 | grep 'php says 42' >/dev/null
		php -r 'require "vendor/autoload.php"; echo "it is ", Lib\Six::times(7), "\n";'`,
	prints: "it is 42",
}, {
	name: "Lua and LuaRocks", does: "a rock with a C module; the prompt's variables stay",
	debian: []string{"tmux", "lua5.4", "liblua5.4-dev", "luarocks"},
	task: `mkdir -p rock && cd rock
		cat >seven.c <<-'END'
		#include <lua.h>
		#include <lauxlib.h>
		int luaopen_seven(lua_State *l) { lua_pushinteger(l, 7); return 1; }
		END
		cat >seven-1.0-1.rockspec <<-'END'
		package = "seven"; version = "1.0-1"; source = {url = "."}
		build = {type = "builtin", modules = {seven = {"seven.c"}}}
		END
		luarocks --lua-version 5.4 --local make >/dev/null; eval "$(luarocks --lua-version 5.4 path)"
		terminal lua5.4; shows '>'; keys 'x = 6 * require("seven")' Enter; keys 'print("is " .. x)' Enter
		shows 'is 42'; echo it is 42`,
	again:  `keys 'print("again " .. x)' Enter; shows 'again 42'; echo it is 42`,
	prints: "it is 42",
}, {
	name: "R", does: "a model, a plot; the prompt's variables stay", debian: []string{"tmux", "r-base-core"},
	task: `Rscript -e 'm <- lm(dist ~ speed, cars); pdf("p.pdf"); plot(cars); abline(m); cat(round(coef(m)[2], 2), "\n")' >slope
		grep 3.93 slope; file p.pdf | grep 'PDF document'
		terminal R --quiet --no-save; shows '>'; keys 'x <- sum(1:6) * 2' Enter; keys 'cat("is", x, "\n")' Enter
		shows 'is 42'; echo it is 42`,
	again:  `keys 'cat("again", x, "\n")' Enter; shows 'again 42'; echo it is 42`,
	prints: "it is 42",
}, {
	name: "Elixir", does: "a Mix project's tests; a process counts over the pause", debian: []string{"elixir", "erlang-dev"},
	session: `cat >count.exs <<-'END'
		defmodule Count do
		  def up(n) do
		    File.write!("count", "#{n}")
		    receive do after 50 -> up(n + 1) end
		  end
		end
		spawn(fn -> Count.up(1) end); Process.sleep(:infinity)
		END
		exec elixir count.exs`,
	ready: `test -s count`,
	task: `n=$(cat count); waits eval 'test "$(cat count)" -gt $n'
		rm -rf p && mix new p >/dev/null && cd p && mix test && mix run -e 'IO.puts "it is #{6 * 7}"'`,
	prints: "it is 42",
}, {
	name: "TypeScript and Vitest", does: "check types, run tests, run what was compiled",
	setup: `mkdir -p ts && cd ts && npm init -y >/dev/null && npm pkg set type=module
		npm install --no-audit --no-fund --loglevel=error typescript vitest`,
	task: `cd ts && rm -rf out && echo 'export const times = (a: number, b: number): number => a * b;' >times.ts
		echo 'import { times } from "./times"; import { test, expect } from "vitest"; test("t", () => expect(times(6, 7)).toBe(42))' >times.test.ts
		npx vitest run; npx tsc --strict --target es2022 --module es2022 --outDir out times.ts
		node -e 'import("./out/times.js").then(m => console.log("it is", m.times(6, 7)))'
		echo 'export const wrong: number = "x";' >wrong.ts; if npx tsc --noEmit wrong.ts; then false; fi`,
	prints: "it is 42",
}}
