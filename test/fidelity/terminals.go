package main

// terminals are programs that somebody has on a terminal, which lives over the pause, and
// those that look into others.
var terminals = []program{{
	name: "tmux", does: "a shell keeps its variables", debian: []string{"tmux"},
	task:   `terminal bash; keys 'x=42' Enter; keys 'echo it is $x' Enter; shows 'it is 42'; echo it is 42`,
	again:  `keys 'clear; echo again it is $x' Enter; shows 'again it is 42'; echo it is 42`,
	prints: "it is 42",
}, {
	name: "screen", does: "a shell keeps its variables", debian: []string{"screen"},
	task: `screen -dmS s bash; waits screen -S s -Q windows
		screen -S s -p 0 -X stuff 'x=42; echo it is \$x >out'$'\n'; waits test -s out; cat out`,
	again:  `screen -S s -p 0 -X stuff 'echo again it is \$x >again'$'\n'; waits test -s again; cat again`,
	prints: "it is 42",
}, {
	name: "Vim", does: "write a line; save it after the pause", debian: []string{"tmux", "vim"},
	task:   `terminal vim -u NONE -n note; shows '[New File]'; keys i 'forty two' Escape; shows 'forty two'; echo forty two`,
	again:  `keys :wq Enter; waits test -s note; cat note`,
	prints: "forty two",
}, {
	name: "nano", does: "write a line; save it after the pause", debian: []string{"tmux"},
	task:   `terminal nano note; shows 'New File'; keys 'forty two'; shows 'forty two'; echo forty two`,
	again:  `keys C-o Enter; keys C-x; waits test -s note; cat note`,
	prints: "forty two",
}, {
	name: "Emacs", does: "write a line with `-nw`; save it after the pause", debian: []string{"tmux", "emacs-nox"},
	task:   `terminal emacs -nw -Q note; shows '(New file)'; keys 'forty two'; shows 'forty two'; echo forty two`,
	again:  `keys C-x C-s; waits test -s note; cat note`,
	prints: "forty two",
}, {
	name: "ed", does: "write a file, change it", debian: []string{"ed"},
	task:   `rm -f note; printf 'a\nforty one\n.\ns/one/two/\nw\nq\n' | ed -s note; cat note`,
	prints: "forty two",
}, {
	name: "htop", does: "show the processes", debian: []string{"tmux", "htop"},
	task:   `terminal htop; shows 'Mem['; shows 'envd'; echo shown`,
	again:  `tmux resize-window -x 90; shows 'Mem['; keys q; waits sh -c '! tmux ls'; echo shown`,
	prints: "shown",
}, {
	name: "Python's prompt", does: "variables stay", debian: []string{"tmux"},
	task:   `terminal python3; shows '>>>'; keys 'x = 6 * 7' Enter; keys 'print("is", x)' Enter; shows 'is 42'; echo is 42`,
	again:  `keys 'print("again", x)' Enter; shows 'again 42'; echo is 42`,
	prints: "is 42",
}, {
	name: "IPython", does: "variables stay", debian: []string{"tmux"}, pypi: []string{"ipython"},
	task:   `terminal ipython; shows 'In [1]'; keys 'x = 6 * 7' Enter; shows 'In [2]'; keys 'print("is", x)' Enter; shows 'is 42'; echo is 42`,
	again:  `keys 'print("again", x)' Enter; shows 'again 42'; echo is 42`,
	prints: "is 42",
}, {
	name: "Node's prompt", does: "variables stay", debian: []string{"tmux"},
	task:   `terminal node; shows '>'; keys 'x = 6 * 7' Enter; keys '"is " + x' Enter; shows 'is 42'; echo is 42`,
	again:  `keys '"again " + x' Enter; shows 'again 42'; echo is 42`,
	prints: "is 42",
}, {
	name: "GDB", does: "stop at a breakpoint; go on after the pause", debian: []string{"tmux", "gdb"},
	task: `printf 'int stop(int x) {\n return x + 1;\n}\nint main(void) {\n return stop(41) - 42;\n}\n' >a.c
		gcc -g -O0 a.c -o a
		terminal gdb -q -nx ./a; shows '(gdb)'; keys 'break stop' Enter; shows 'Breakpoint 1 at'
		keys run Enter; shows 'Breakpoint 1, '; keys 'print x + 1' Enter; shows '= 42'; echo stopped at 42`,
	again:  `keys 'print x + 2' Enter; shows '= 43'; keys continue Enter; shows 'exited normally'; echo stopped at 42`,
	prints: "stopped at 42",
}, {
	name: "gdb -p", does: "attach to a process of one's own", debian: []string{"gdb"},
	session: `exec sleep infinity`, ready: "true",
	task:   `gdb -p $(cat .session.pid) -batch -ex 'info inferiors' 2>&1`,
	prints: "process",
}, {
	name: "strace", does: "trace a process that runs", debian: []string{"strace"},
	session: `( while :; do date >stamp; sleep 0.2; done ) & exec strace -qq -f -o trace -p $!`,
	ready:   `test -s trace`,
	task:    `n=$(wc -l <trace); waits eval 'test $(wc -l <trace) -gt $n'; grep -o -m1 '"stamp"' trace`,
	prints:  `"stamp"`,
}, {
	name: "py-spy", does: "where a Python process is", pypi: []string{"py-spy"},
	session: `printf 'import time\ndef waits():\n    while True: time.sleep(0.1)\nwaits()\n' >loop.py; exec python3 loop.py`,
	ready:   `test -s loop.py`,
	task:    `py-spy dump --pid $(cat .session.pid)`,
	prints:  "waits (loop.py",
}, {
	name: "pdb", does: "stop at a breakpoint; go on after the pause", debian: []string{"tmux"},
	task: `printf 'x = 41\nx += 1\nprint("it is", x)\n' >p.py
		terminal sh -c 'python3 -m pdb p.py; sleep 60'; shows '(Pdb)'; keys 'until 3' Enter; shows 'p.py(3)'
		keys 'p ("x", x)' Enter; shows "('x', 42)"; echo it is 42`,
	again:  `keys continue Enter; shows 'it is 42'; echo it is 42`,
	prints: "it is 42",
}, {
	name: "Valgrind", does: "find what was not freed", debian: []string{"valgrind", "libc6-dbg"},
	task: `printf '#include <stdlib.h>\nint main(void) { char *volatile p = malloc(42); p = 0; return p != 0; }\n' >leak.c
		gcc -g leak.c -o leak; valgrind --leak-check=full ./leak 2>&1`,
	prints: "definitely lost: 42 bytes",
}}
