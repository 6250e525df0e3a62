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
