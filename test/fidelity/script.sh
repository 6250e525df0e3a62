set -eo pipefail
# What kinds install from PyPI is here.
PATH=$PATH:/opt/python/bin
# Programs with trust stores of their own use the system's. Where a sandbox has an authority, its
# daemon has said so already, and that is what is tried.
if [ -z "$JAVA_TOOL_OPTIONS" ]; then
	export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
	export REQUESTS_CA_BUNDLE=$SSL_CERT_FILE NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE DENO_TLS_CA_STORE=system
fi

# terminal COMMAND… runs a program on a terminal of 100 columns and 30 lines.
terminal() { tmux -f /dev/null new-session -d -x 100 -y 30 "$@"; }
# keys KEY… types on it; names such as Enter and C-x are keys. To tmux itself a semicolon at the
# end of a word would end a command.
keys() { tmux send-keys "${@/%;/\\;}"; }
# shows TEXT waits until the terminal shows it.
shows() {
	for _ in $(seq 150); do
		if tmux capture-pane -p | grep -F -- "$1" >/dev/null; then return 0; fi
		sleep 0.2
	done
	echo "the terminal does not show '$1':"
	tmux capture-pane -p | sed '/^~*$/d'
	return 1
}
# waits COMMAND… until it succeeds, for half a minute.
waits() {
	for _ in $(seq 150); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.2
	done
	"$@"
}
