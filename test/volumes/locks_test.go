package volumes

import (
	"strings"
	"testing"
)

// lockProgram takes locks as told by lines on its standard input, and says what came of it.
const lockProgram = `
import fcntl, os, sys
f = open("/v/locked", "r+b", buffering=0)
kinds = {"sh": fcntl.LOCK_SH, "ex": fcntl.LOCK_EX, "un": fcntl.LOCK_UN}
how, kind, wait = sys.argv[1:4]
flags = kinds[kind] | (0 if wait == "wait" else fcntl.LOCK_NB)
try:
    if how == "flock":
        fcntl.flock(f, flags)
    else:
        fcntl.lockf(f, flags, int(sys.argv[5]), int(sys.argv[4]))
    print("locked", flush=True)
except BlockingIOError:
    print("refused", flush=True)
    sys.exit()
if "hold" in sys.argv:
    while not os.path.exists("/v/release"):
        import time; time.sleep(0.02)
`

// TestLocks: locks of one sandbox hold in the others, of both kinds, and end with their holder.
func TestLocks(t *testing.T) {
	v := newVolume(t)
	a, b := newBox(t, v), newBox(t, v)
	for _, box := range []*box{a, b} {
		box.run("cat > /root/lock.py << 'END'\n" + lockProgram + "END\n")
	}
	a.run("head -c 100 /dev/zero > /v/locked")
	lock := func(b *box, args string) string { return strings.TrimSpace(b.run("python3 /root/lock.py " + args)) }
	for _, how := range []struct{ held, inside, outside, shared string }{
		{"flock ex wait 0 0", "flock ex now 0 0", "", "flock sh now 0 0"},
		{"fcntl ex wait 10 20", "fcntl ex now 25 1", "fcntl ex now 30 5", "fcntl sh now 0 0"},
	} {
		a.run("rm -f /v/release /v/out; (python3 /root/lock.py " + how.held + " hold > /v/out 2>&1; echo over >> /v/out) > /dev/null 2>&1 & " +
			"while ! grep -q locked /v/out 2> /dev/null; do sleep 0.02; done")
		for _, box := range []*box{a, b} {
			if got := lock(box, how.inside); got != "refused" {
				t.Errorf("%s while it is held as %s: %s", how.inside, how.held, got)
			}
			if got := lock(box, how.shared); got != "refused" {
				t.Errorf("%s while it is held as %s: %s", how.shared, how.held, got)
			}
			if how.outside == "" {
				continue
			}
			if got := lock(box, how.outside); got != "locked" {
				t.Errorf("%s while %s is held: %s", how.outside, how.held, got)
			}
		}
		// Who waits in another sandbox gets it when the holder ends.
		b.run("(python3 /root/lock.py " + strings.Replace(how.inside, "now", "wait", 1) + " > /v/waited 2>&1) > /dev/null 2>&1 & sleep 0.3; ! grep -q locked /v/waited")
		a.run("pkill -9 -f '^python3 /root/lock.py'; while ! grep -q over /v/out; do sleep 0.02; done")
		b.run("for i in $(seq 200); do grep -q locked /v/waited && exit 0; sleep 0.05; done; exit 1")
		b.run("rm -f /v/waited")
	}
	// Readers share it.
	a.run("rm -f /v/release /v/out; (python3 /root/lock.py flock sh wait 0 0 hold > /v/out 2>&1) > /dev/null 2>&1 & " +
		"while ! grep -q locked /v/out 2> /dev/null; do sleep 0.02; done")
	if got := lock(b, "flock sh now 0 0"); got != "locked" {
		t.Errorf("a second reader: %s", got)
	}
	if got := lock(b, "flock ex now 0 0"); got != "refused" {
		t.Errorf("a writer beside a reader: %s", got)
	}
	a.run("touch /v/release")
}

// TestDatabase: two sandboxes write to one SQLite database at once, and nothing is lost.
func TestDatabase(t *testing.T) {
	v := newVolume(t)
	a, b := newBox(t, v), newBox(t, v)
	const program = `python3 -c '
import sqlite3
db = sqlite3.connect("/v/db", timeout=60, isolation_level=None)
db.execute("create table if not exists n (i integer)")
for i in range(100):
    db.execute("begin immediate"); db.execute("insert into n select coalesce(max(i), 0) + 1 from n"); db.execute("commit")
'`
	a.run("python3 -c 'import sqlite3; sqlite3.connect(\"/v/db\").execute(\"create table n (i integer)\")'")
	done := make(chan string, 1)
	go func() {
		out, err := b.try(program)
		if err != nil {
			out += err.Error()
		} else {
			out = ""
		}
		done <- out
	}()
	a.run(program)
	if failed := <-done; failed != "" {
		t.Fatal(failed)
	}
	if got := a.run(`python3 -c 'import sqlite3; print(*sqlite3.connect("/v/db").execute("select count(*), max(i), count(distinct i) from n").fetchone())'`); got != "200 200 200\n" {
		t.Errorf("the database has %q", got)
	}
}
