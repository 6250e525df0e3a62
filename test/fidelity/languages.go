package main

var compiled = []program{{
	name: "Go", does: "a module with a dependency from the proxy; a server", debian: []string{"golang-go"},
	session: `mkdir -p server && cd server && cat >main.go <<-'END'
		package main
		import ("fmt"; "net/http"; "time")
		var ticks = make(chan int)
		func main() {
			go func() { for n := 1; ; n++ { time.Sleep(50 * time.Millisecond); ticks <- n } }()
			http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { <-ticks; n := <-ticks; fmt.Fprintln(w, "ticks", n > 1) })
			http.ListenAndServe("127.0.0.1:8080", nil)
		}
		END
		exec go run main.go`,
	ready: `curl -sf 127.0.0.1:8080`,
	task: `rm -rf hello && mkdir hello && cd hello && go mod init example.com/hello 2>/dev/null
		printf 'package main\nimport ("fmt"; "rsc.io/quote")\nfunc main() { fmt.Println(quote.Hello()) }\n' >main.go
		go get rsc.io/quote@v1.5.2 2>/dev/null; go vet . && LANG=en_US go run . && curl -sf 127.0.0.1:8080`,
	prints: "Hello, world.\nticks true",
}, {
	name: "Delve", does: "stop at a breakpoint; go on after the pause", debian: []string{"tmux", "golang-go", "delve"},
	task: `mkdir -p dbg && cd dbg && printf 'package main\n\nfunc main() {\n\tx := 42\n\tprintln("it is", x)\n}\n' >main.go
		go mod init dbg 2>/dev/null
		terminal dlv debug; shows '(dlv)'; keys 'break main.go:5' Enter; shows 'Breakpoint 1'; keys continue Enter
		shows '=>'; keys 'print x' Enter; shows 42; echo it is 42`,
	again:  `keys 'print x + 1' Enter; shows 43; keys continue Enter; shows 'exited with status 0'; echo it is 42`,
	prints: "it is 42",
}, {
	name: "Rust and Cargo", does: "a crate with a dependency from crates.io, its tests", debian: []string{"rustc-web", "cargo-web"},
	task: `rm -rf hello && cargo -q new hello && cd hello && cargo -q add itoa@1
		cat >src/main.rs <<-'END'
		fn main() { let t = std::thread::spawn(|| 42); println!("it is {}", itoa::Buffer::new().format(t.join().unwrap())) }
		#[test] fn holds() { assert_eq!(6 * 7, 42) }
		END
		cargo -q test && cargo -q run`,
	prints: "it is 42",
}, {
	name: "Clang and CMake", does: "configure for Ninja, build, run the tests", debian: []string{"clang", "cmake", "ninja-build"},
	task: `rm -rf c && mkdir c && cd c && printf '#include <stdio.h>\nint main(void) { puts("it is 42"); }\n' >m.c
		printf 'cmake_minimum_required(VERSION 3.20)\nproject(m C)\nadd_executable(m m.c)\nenable_testing()\nadd_test(m m)\n' >CMakeLists.txt
		CC=clang cmake -G Ninja -B b >/dev/null && cmake --build b >/dev/null && ctest --test-dir b >/dev/null && b/m`,
	prints: "it is 42",
}}

var interpreted = []program{{
	name: "Ruby and gem", does: "build and install a gem, require it; a server with threads", debian: []string{"ruby"},
	session: `exec ruby -rsocket -e 's = TCPServer.new("127.0.0.1", 8081); n = 41
		loop { Thread.new(s.accept) { |c| c.puts "counted #{n += 1}"; c.close } }'`,
	ready: `exec 3<>/dev/tcp/127.0.0.1/8081`,
	task: `mkdir -p g/lib && cd g && echo 'ANSWER = 42' >lib/answer.rb
		echo 'Gem::Specification.new { |s| s.name = "answer"; s.version = "1.0"; s.summary = s.author = "me"; s.files = ["lib/answer.rb"] }' >answer.gemspec
		gem build -q answer.gemspec >/dev/null 2>&1; gem install -q --user-install --local answer-1.0.gem >/dev/null 2>&1
		exec 3<>/dev/tcp/127.0.0.1/8081; cat <&3; ruby -e 'require "answer"; puts "it is #{ANSWER}"'`,
	prints: "it is 42",
}, {
	name: "PHP", does: "a server with a session", debian: []string{"php-cli"},
	session: `mkdir -p www && echo '<?php session_start(); $_SESSION["n"] = ($_SESSION["n"] ?? 40) + 1; echo "counted ", $_SESSION["n"] > 40;' >www/index.php
		exec php -S 127.0.0.1:8082 -t www`,
	ready:  `curl -sf 127.0.0.1:8082`,
	task:   `curl -sf -b jar -c jar 127.0.0.1:8082; php -r 'echo json_encode(["it is" => 42]);'`,
	prints: `{"it is":42}`,
}, {
	name: "Composer", does: "install a package of a directory, autoload it", debian: []string{"composer"},
	task: `rm -rf lib app && mkdir -p lib/src app && echo '<?php namespace Me; class Answer { const IT = 42; }' >lib/src/Answer.php
		echo '{"name":"me/answer","version":"1.0.0","autoload":{"psr-4":{"Me\\":"src/"}}}' | sed 's/\\/\\\\/' >lib/composer.json
		cd app && echo '{"repositories":[{"type":"path","url":"../lib"},{"packagist.org":false}],"require":{"me/answer":"*"}}' >composer.json
		composer -q --no-interaction install && php -r 'require "vendor/autoload.php"; echo "it is ", Me\Answer::IT;'`,
	prints: "it is 42",
}, {
	name: "Lua", does: "coroutines", debian: []string{"lua5.4"},
	task: `lua5.4 -e 'local c = coroutine.wrap(function() for i = 1, 7 do coroutine.yield(i * 6) end end)
		local x; for _ = 1, 7 do x = c() end; print("it is " .. x)'`,
	prints: "it is 42",
}}

// javaAndR are apart because they take long to install.
var javaAndR = []program{{
	name: "Java", does: "a server with threads, from source", debian: []string{"default-jdk-headless"},
	session: `cat >Server.java <<-'END'
		import com.sun.net.httpserver.HttpServer; import java.net.InetSocketAddress; import java.util.concurrent.Executors;
		public class Server { static int n = 41; public static void main(String[] a) throws Exception {
			var s = HttpServer.create(new InetSocketAddress("127.0.0.1", 8083), 0); s.setExecutor(Executors.newFixedThreadPool(4));
			s.createContext("/add", x -> { n++; x.sendResponseHeaders(204, -1); x.close(); });
			s.createContext("/", x -> { var b = ("counted " + n).getBytes(); x.sendResponseHeaders(200, b.length); x.getResponseBody().write(b); x.close(); });
			s.start(); } }
		END
		exec java Server.java`,
	ready:  `curl -sf 127.0.0.1:8083`,
	task:   `curl -sf 127.0.0.1:8083/add; curl -sf 127.0.0.1:8083`,
	again:  `curl -sf 127.0.0.1:8083`,
	prints: "counted 42",
}, {
	name: "Maven", does: "build with a dependency and plugins from Maven Central, run", debian: []string{"default-jdk-headless", "maven"},
	task: `rm -rf m && mkdir -p m/src/main/java && cd m
		echo 'public class M { public static void main(String[] a) { System.out.println(org.apache.commons.lang3.StringUtils.reverse("24 si ti")); } }' >src/main/java/M.java
		cat >pom.xml <<-'END'
		<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>me</groupId><artifactId>m</artifactId><version>1</version>
		<properties><maven.compiler.release>17</maven.compiler.release></properties>
		<dependencies><dependency><groupId>org.apache.commons</groupId><artifactId>commons-lang3</artifactId><version>3.12.0</version></dependency></dependencies></project>
		END
		mvn -q -B compile && java -cp target/classes:$(find ~/.m2 -name 'commons-lang3-3.12.0.jar') M`,
	prints: "it is 42",
}, {
	name: "R", does: "a model; variables of the prompt stay", debian: []string{"tmux", "r-base-core"},
	task: `terminal R --quiet --no-save; shows '>'; keys 'x <- round(predict(lm(dist ~ speed, cars), data.frame(speed = 15)))' Enter
		keys 'cat("distance", x, "\n")' Enter; shows 'distance 41'; echo distance 41`,
	again:  `keys 'cat("again", x, "\n")' Enter; shows 'again 41'; echo distance 41`,
	prints: "distance 41",
}}
