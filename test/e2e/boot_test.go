package e2e

import (
	"strings"
	"testing"
)

// TestPreparedUserSpace: templates and sandboxes have what a boot by systemd would have made
// (docs/guest.md), also a sandbox that starts from its disk alone.
func TestPreparedUserSpace(t *testing.T) {
	out := server.python(t, `
from e2b import Sandbox, Template
certificate = "openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=own -days 2 -out "
verified = "openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt "
steps = (Template().from_template("base")
    .run_cmd("echo 'd /run/db 2775 user user - -' > /usr/lib/tmpfiles.d/db.conf; " + certificate + "/usr/local/share/ca-certificates/own.crt", user="root")
    .run_cmd("touch /run/db/of-a-step; sudo touch /run/other; " + verified + "/usr/local/share/ca-certificates/own.crt")
    .set_start_cmd("echo $$ > /run/db/server.pid; exec sleep 1000", "test -e /run/db/server.pid"))
Template.build(steps, "prepared", cpu_count=1, memory_mb=512)
a, b = Sandbox.create("prepared"), Sandbox.create("prepared")
def run(command): return a.commands.run(command).stdout.strip()
assert run("stat -c '%a %U' /run/db /run/user/1000") == "2775 user\n700 user"
assert run("ls /run/db; ls /run | grep other || true") == "server.pid"
run(verified + "/usr/local/share/ca-certificates/own.crt && ls -l /etc/ssl/certs/own.pem")
ids = [s.commands.run("cat /etc/machine-id").stdout for s in (a, b)]
assert len(ids[0]) == 33 and ids[0] != ids[1], ids
run(certificate + "/tmp/late.crt && sudo mv /tmp/late.crt /usr/local/share/ca-certificates/; sudo touch /run/mine /run/db/mine /tmp/mine")
a.pause(mode="filesystem")
a = Sandbox.connect(a.sandbox_id)
assert run("cat /etc/machine-id; ls /tmp/mine; ls /run").split() == [ids[0].strip(), "/tmp/mine", "db", "e2b", "lock", "sudo", "user"], run("ls /run")
assert run("stat -c '%a %U' /run/db; ls /run/db | grep mine || true") == "2775 user"
run(verified + "/usr/local/share/ca-certificates/late.crt")
for s in (a, b): s.kill()
print("done")
`)
	if strings.TrimSpace(out) != "done" {
		t.Errorf("%q", out)
	}
	if status, body := server.call(t, "DELETE", "/templates/prepared", ""); status != 204 {
		t.Errorf("delete: %d %s", status, body)
	}
}
