package main

import _ "embed"

// model stands for the language models that agents ask, so that they need no key: what it says
// is in the prompt.
//
//go:embed model.py
var model string

// answering is the session in which the model is, and replies how it is seen that it does.
var answering = "cat >model.py <<'END'\n" + model + "END\nexec python3 -u model.py"

const replies = "curl -sf 127.0.0.1:8123"

// agents are the command lines of agents. Each is asked for a command, by a definition of the
// function ask, and for another that lasts over the pause, with the agent waiting for it.
var agents = []program{
	agent(program{
		name: "Claude Code", npm: []string{"@anthropic-ai/claude-code"},
	}, `ask() {
		export ANTHROPIC_BASE_URL=http://127.0.0.1:8123 ANTHROPIC_API_KEY=none
		CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 claude -p "$1" --allowedTools Bash </dev/null
	}`),
	agent(program{
		name: "Codex", npm: []string{"@openai/codex"}, debian: []string{"bubblewrap"},
		setup: `mkdir -p ~/.codex && cat >~/.codex/config.toml <<-'END'
			model = "m"
			model_provider = "local"
			[model_providers.local]
			name = "local"
			base_url = "http://127.0.0.1:8123/v1"
			wire_api = "responses"
			END`,
	}, `ask() { codex exec --skip-git-repo-check --sandbox workspace-write "$1" </dev/null; }`),
	{
		name: "Codex's sandbox", does: "its bubblewrap and filter: no writes elsewhere, no network", npm: []string{"@openai/codex"},
		session: `exec python3 -m http.server --bind 127.0.0.1 8096`,
		ready:   `curl -sf 127.0.0.1:8096`,
		task: `mkdir -p p && cd p && rm -f ../other
			codex sandbox -c sandbox_mode=workspace-write -- bash -c 'touch ../other; echo 42 >answer; curl -sf 127.0.0.1:8096; true' 2>&1
			test ! -e ../other && echo "it is $(cat answer)"`,
		prints: "Read-only file system\nit is 42",
	},
	agent(program{
		name: "Gemini CLI", npm: []string{"@google/gemini-cli"},
		setup: `mkdir -p ~/.gemini && cat >~/.gemini/settings.json <<-'END'
			{"security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": false}}}
			END`,
	}, `ask() {
		export GEMINI_API_KEY=none GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8123
		gemini -m gemini-2.5-flash --yolo -p "$1" </dev/null
	}`),
	agent(program{
		name: "opencode", npm: []string{"opencode-ai"},
	}, `ask() {
		export OPENCODE_CONFIG_CONTENT='{"model": "local/m", "provider": {"local": {
			"npm": "@ai-sdk/openai-compatible", "models": {"m": {}},
			"options": {"baseURL": "http://127.0.0.1:8123/v1", "apiKey": "none"}}}}'
		opencode run "$1" </dev/null
	}`),
	{
		name: "Aider", does: "have a model write a file, commit it", pypi: []string{"aider-chat"},
		session: answering, ready: replies,
		task: `rm -rf p && git init -q p && cd p && git config user.email me@example.com && git config user.name me
			fence=$(printf '%.0s\x60' 1 2 3)
			aider --model openai/m --openai-api-base http://127.0.0.1:8123/v1 --openai-api-key none --edit-format whole \
				--yes-always --no-check-update --no-show-model-warnings --no-show-release-notes --no-pretty --analytics-disable \
				--message "Please <say>answer.py"$'\n'"$fence"$'\nprint("it is", 6 * 7)\n'"$fence</say>" answer.py </dev/null
			git log --oneline -- answer.py | grep . >/dev/null && python3 answer.py`,
		prints: "it is 42",
	},
}

// agent completes an agent, whose command line is the body of the function ask.
func agent(p program, ask string) program {
	p.does = "have a model run a command; another goes on over the pause"
	p.session, p.ready = answering, replies
	ask += `
		ask 'Please <run>printf it-is-%d 0x2a</run>'` // which no prompt and no log of it says
	p.task = ask + `
		export -f ask
		setsid bash -c "ask 'Please <run>touch begun; until test -e go; do sleep 0.1; done; printf it-is-%d 0x24</run>'" \
			>said 2>&1 </dev/null &
		waits test -e begun`
	p.again = "touch go; waits grep it-is-36 said\n" + ask
	p.prints = "it-is-42"
	return p
}
