package templates

import (
	"os/exec"
	"testing"
)

// TestMCPGateway runs the tests of the gateway that need no packages.
func TestMCPGateway(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("Node.js is not installed")
	}
	if out, err := exec.Command(node, "--test", "mcp-gateway/test/gateway.test.mjs").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
