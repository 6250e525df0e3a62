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
}, {
	name: "Java", does: "compile, pack and run a jar with threads; a server", debian: []string{"default-jdk-headless"},
	session: `cat >Server.java <<-'END'
		import com.sun.net.httpserver.HttpServer;
		import java.net.InetSocketAddress;
		import java.util.concurrent.*;
		import java.util.concurrent.atomic.AtomicInteger;
		class Server {
		    public static void main(String[] args) throws Exception {
		        var ticks = new AtomicInteger();
		        Executors.newScheduledThreadPool(1).scheduleAtFixedRate(ticks::incrementAndGet, 0, 50, TimeUnit.MILLISECONDS);
		        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", 8084), 0);
		        server.createContext("/", x -> {
		            var said = (ticks.get() + "").getBytes();
		            x.sendResponseHeaders(200, said.length);
		            x.getResponseBody().write(said);
		            x.close();
		        });
		        server.start();
		    }
		}
		END
		exec java Server.java`,
	ready: `curl -sf 127.0.0.1:8084`,
	task: `n=$(curl -sf 127.0.0.1:8084); waits eval 'test $(curl -sf 127.0.0.1:8084) -gt $n'
		rm -rf j && mkdir j && cd j && cat >Main.java <<-'END'
		import java.util.stream.IntStream;
		class Main { public static void main(String[] a) { System.out.println("sum " + IntStream.range(0, 100).parallel().map(x -> x * x).sum()); } }
		END
		javac -d classes Main.java && jar -cfe m.jar Main -C classes . && java -jar m.jar`,
	prints: "sum 328350",
}, {
	name: "Maven", does: "a project with dependencies from Maven Central, its test", debian: []string{"default-jdk-headless", "maven"},
	task: `rm -rf m && mkdir -p m/src/main/java m/src/test/java && cd m && cat >pom.xml <<-'END'
		<project>
		  <modelVersion>4.0.0</modelVersion><groupId>m</groupId><artifactId>m</artifactId><version>1</version>
		  <properties><maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target></properties>
		  <dependencies>
		    <dependency><groupId>org.apache.commons</groupId><artifactId>commons-lang3</artifactId><version>3.17.0</version></dependency>
		    <dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.13.2</version><scope>test</scope></dependency>
		  </dependencies>
		</project>
		END
		cat >src/main/java/M.java <<-'END'
		public class M { public static void main(String[] a) { System.out.println(org.apache.commons.lang3.StringUtils.reverse("24 si ti")); } }
		END
		cat >src/test/java/MTest.java <<-'END'
		public class MTest { @org.junit.Test public void holds() { org.junit.Assert.assertEquals(42, 6 * 7); } }
		END
		mvn -q -B -ntp package; test -s target/surefire-reports/MTest.txt
		java -cp target/m-1.jar:$(find ~/.m2 -name commons-lang3-3.17.0.jar) M`,
	prints: "it is 42",
}}
