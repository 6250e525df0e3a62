"""MCP by the Python SDK. The template mcp-gateway must be built."""

import asyncio
import json
import os
import unittest
import urllib.error
import urllib.request

from e2b import AsyncSandbox, Sandbox, SandboxException


def ask(sandbox_id, token, method, params, session=None):
    """Makes an MCP request through the proxy. Returns the result and the session's ID."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {
        "Authorization": f"Bearer {token}",
        "E2b-Sandbox-Id": sandbox_id,
        "E2b-Sandbox-Port": "50005",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    if session:
        headers["Mcp-Session-Id"] = session
    request = urllib.request.Request(os.environ["E2B_SANDBOX_URL"] + "/mcp", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        line = next(line for line in answer.read().decode().split("\n") if line.startswith("data: {"))
        return json.loads(line.removeprefix("data: "))["result"], answer.headers["Mcp-Session-Id"]


def begin(sandbox_id, token):
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    return ask(sandbox_id, token, "initialize", client)[1]


class MCP(unittest.TestCase):
    def test_sync(self):
        sandbox = Sandbox.create(mcp={"time": {}}, timeout=300)
        self.addCleanup(sandbox.kill)
        self.assertEqual(sandbox.get_mcp_url(), f"https://{sandbox.get_host(50005)}/mcp")
        token = Sandbox.connect(sandbox.sandbox_id).get_mcp_token()
        self.assertEqual(token, sandbox.get_mcp_token())
        session = begin(sandbox.sandbox_id, token)
        call = {"name": "get_current_time", "arguments": {"timezone": "Europe/Vienna"}}
        result, _ = ask(sandbox.sandbox_id, token, "tools/call", call, session)
        self.assertEqual(json.loads(result["content"][0]["text"])["timezone"], "Europe/Vienna")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            begin(sandbox.sandbox_id, "wrong")
        caught.exception.close()
        self.assertEqual(caught.exception.code, 401)

    def test_async(self):
        async def run():
            sandbox = await AsyncSandbox.create(mcp={"filesystem": {"paths": ["/home/user"]}}, timeout=300)
            try:
                token = await sandbox.get_mcp_token()
                session = await asyncio.to_thread(begin, sandbox.sandbox_id, token)
                listed, _ = await asyncio.to_thread(ask, sandbox.sandbox_id, token, "tools/list", {}, session)
                self.assertIn("read_text_file", [tool["name"] for tool in listed["tools"]])
            finally:
                await sandbox.kill()

        asyncio.run(run())

    def test_what_cannot_run(self):
        with self.assertRaisesRegex(SandboxException, "Failed to start MCP gateway: There is no MCP server 'no-such-server'"):
            Sandbox.create(mcp={"no-such-server": {}}, metadata={"case": "python"})


if __name__ == "__main__":
    unittest.main()
