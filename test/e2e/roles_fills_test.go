package e2e

import (
	"strings"
	"testing"
)

// checkFills: a secret that the api keeps and a token that it signs reach a domain through the
// orchestrator's egress process, which asks the api for them.
func (i *box) checkFills(t *testing.T, k *keeper) {
	t.Helper()
	out := strings.Fields(i.python(t, `
from e2b import Sandbox, Secret
Secret.create("kept", "`+k.secret.first()+`")
s = Sandbox.create(timeout=300, iam={"tokens": {"me": Secret.iam_token(audience="keeper", token_type="JWT-SVID")}},
    network={"rules": {"allowed.test": [{"transform": {"headers": {
        "Authorization": "Bearer " + Secret.fill("kept"), "X-Identity": "${e2b.identity.tokens.me}"}}}]}})
print(s.sandbox_id)
print(s.commands.run("curl -sS --connect-timeout 5 -m 30 https://allowed.test 2>&1 || true").stdout)
s.kill()
`))
	if len(out) != 4 || strings.Join(out[1:], " ") != "first for "+out[0] {
		t.Errorf("the sandbox and what the server got: %q", out)
	}
}
