package main

import (
	"cmp"
	"fmt"
)

// task is work inside a guest that is measured beside the same work on the host, by the same
// programs. Its parts are lines of bash, run in a directory of the task's own after those of
// prelude.
type task struct {
	row, name string
	setup     string // once in each guest
	// before comes before each sample and is not timed. It makes new directories and removes
	// none, see disk.
	before  string
	work    string // what is timed
	samples int    // in each round
	rounds  int    // at most
	wanted  []target
}

var tasks = []task{
	{row: "exec", name: "fork and exec of /bin/true × 100",
		work: `for ((i = 0; i < 100; i++)); do /bin/true; done`, samples: 1, wanted: []target{ratioAtMost(3.5)}},
	{row: "python", name: "python3 -c 1",
		work: `python3 -c 1`, samples: 5, wanted: []target{ratioAtMost(3)}},
	{row: "node", name: "node -v",
		work: `node -v`, samples: 5, wanted: []target{ratioAtMost(3)}},
	{row: "gcc", name: "gcc of a small program",
		setup: program, work: `gcc -O1 -o hello hello.c`, samples: 2},
	{row: "git-status", name: "git status, 3,000 files",
		// The pause makes the index younger than the files; else each status would read them.
		setup: `tree 3000
git init -q && git add . && git commit -q -m all && sleep 1.1 && git status`,
		work: `git status`, samples: 3, wanted: []target{ratioAtMost(3)}},
	{row: "git-commit", name: "git add and commit, 3,000 files",
		setup: `tree 3000`, before: `export GIT_DIR=$(mktemp -d) GIT_WORK_TREE=. && git init -q`,
		work: `git add . && git commit -q -m all`, samples: 1, rounds: 8, wanted: []target{ratioAtMost(3)}},
	{row: "tar", name: "tar and untar, 3,000 files",
		setup: `tree 3000`, before: `new=$(mktemp -d)`,
		work: `tar -cf $new/tar tree && tar -xf $new/tar -C $new`, samples: 1, rounds: 10,
		wanted: []target{ratioAtMost(2.5)}},
	{row: "find", name: "find and grep, 5,000 files",
		setup: `tree 5000`,
		work:  `find tree -type f -size +0 && grep -r 00042 tree`, samples: 2, wanted: []target{ratioAtMost(3)}},
	{row: "find-image", name: "find of the image's /usr/lib",
		work: `find /usr/lib -newer /etc/passwd -size +1M`, samples: 2},
	{row: "write", name: "writing 3,000 files",
		before: `rm -rf tree`,
		work:   `tree 3000`, samples: 1, rounds: 10},
	{row: "compute", name: "pure computing in Python",
		work: `python3 -c 'print(sum(i * i % 7 for i in range(2000000)))'`, samples: 1, rounds: 10},
}

const program = `cat > hello.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("%zu %s\n", strlen(argv[i]), argv[i]);
	return argc > 100 ? EXIT_FAILURE : EXIT_SUCCESS;
}
END`

// prelude is what tasks have in common. tree makes files of a kilobyte, 100 a directory.
const prelude = `set -euo pipefail
exec 3>&1
trap '[ $? = 0 ] || tail -n 5 ~/said >&3' EXIT
export GIT_AUTHOR_NAME=a GIT_COMMITTER_NAME=a EMAIL=a@b.example
tree() {
	local d f
	for ((d = 0; d < $1 / 100; d++)); do
		mkdir -p tree/$d
		for ((f = 0; f < 100; f++)); do printf '%01000d\n' $f > tree/$d/file-$f.txt; done
	done
}
`

// script is a program that times samples of a task, and prints one number a line: the
// microseconds of each.
func (t task) script(samples int) string {
	return prelude + fmt.Sprintf(`cd ~/task
before() {
%s
}
work() {
%s
}
for ((sample = 0; sample < %d; sample++)); do
	before > ~/said 2>&1
	begin=$EPOCHREALTIME
	work > ~/said 2>&1
	end=$EPOCHREALTIME
	echo $((${end/./} - ${begin/./}))
done
`, cmp.Or(t.before, ":"), t.work, samples)
}

// preparation is a program that sets a task up.
func (t task) preparation() string {
	return prelude + fmt.Sprintf(`rm -rf ~/task
mkdir ~/task
cd ~/task
setup() {
%s
}
setup > ~/said 2>&1
`, cmp.Or(t.setup, ":"))
}
