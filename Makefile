# Two commands matter: `make up` runs the product, `make test` tests all of it.
# Each sets up what it needs. `make help` lists the rest.

export CGO_ENABLED := 0
GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w

# Builds with our changes to gVisor, which scripts/gvisor prepares. All that is built
# here is built in the same way, so that nothing is compiled twice. Without the commit
# inside, envd and the kernel are the same while their source is, and so are the base
# image and the kernel that snapshots need.
export GOFLAGS := -modfile=$(CURDIR)/bin/go.mod -trimpath -buildvcs=false

# How `make up` serves.
DEV := --dev $(if $(TLS),--tls=local)

.PHONY: help gvisor packages sdk-versions up down build test lint vulncheck test-unit test-race fuzz test-root \
	test-e2e test-fragments test-openapi test-chaos test-attack test-cycles test-starts test-guest test-mcp test-lab test-microvm compat bench generate release \
	setup setup-test clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: setup ## set up, build, make the base template, serve on loopback with the development key; TLS=1 as https://api.sandbox.localhost
	@$(MAKE) --no-print-directory -j2 build packages
	@bin/shoal up $(DEV) || { status=$$?; [ $$status -gt 128 ] || bin/shoal doctor $(DEV); exit $$status; }

packages: gvisor ## install the base template's packages; `up` does it beside the build
	@$(GO) run ./cmd/base

down: ## end everything that `make up` left running
	@bin/shoal down --dev

build: bin/shoal ## build bin/shoal with envd inside

gvisor:
	@scripts/gvisor

bin/shoal: gvisor FORCE
	$(GO) build -ldflags '$(LDFLAGS)' -o cmd/shoal/assets/envd ./cmd/envd
	$(GO) build -ldflags '$(LDFLAGS)' -o cmd/shoal/assets/kernel ./cmd/kernel
	$(GO) build -ldflags '$(LDFLAGS)' -o cmd/shoal/assets/guestinit ./cmd/guestinit
	$(GO) build -ldflags '$(LDFLAGS)' -o cmd/shoal/assets/attendant ./cmd/attendant
	$(GO) build -ldflags '$(LDFLAGS) -X main.version=$(VERSION)' -o bin/shoal ./cmd/shoal
FORCE:

setup: ## install the Debian packages that `make up` needs
	@scripts/setup $(if $(TLS),tls,run)

setup-test: ## install what `make test` needs besides
	@scripts/setup test

test: setup-test ## everything; see the next ones for less
	@scripts/test all

lint: setup-test ## format, shell scripts, golangci-lint
	@scripts/test lint

vulncheck: ## known vulnerabilities in what is called, where their data can be had
	@scripts/test vulncheck

test-unit: ## tests that need no root: seconds to a few minutes
	@scripts/test unit

test-race: setup-test ## the same, watched by the race detector
	@scripts/test race

fuzz: ## each fuzz target for some seconds (FUZZTIME=4000x, or a time)
	@scripts/test fuzz

test-root: setup-test build ## tests of the runtime, the network and the image that need root
	@scripts/test root

test-e2e: setup-test build ## the real SDKs against the real binary; SHORT=1 leaves out whole templates, which take minutes
	@scripts/test e2e

test-fragments: setup-test build ## the templates of the Fragments app, which take minutes more (FRAGMENTS)
	@SHOAL_TEST_FRAGMENTS="$(or $(FRAGMENTS),nextjs-developer vue-developer streamlit-developer gradio-developer)" \
		scripts/test fragments

test-openapi: setup-test build ## requests generated from spec/openapi.yml, valid and not, against the real binary
	@scripts/test openapi

test-chaos: setup-test build ## kill Shoal 200 times (CHAOS_ROUNDS) at random moments, and look for what was lost
	@scripts/test chaos

test-attack: setup-test build ## attacks of guests, tenants and registries, with 500 (ATTACK_ROUNDS) saves; ATTACK=short is what `test` does
	@ATTACK=$(or $(ATTACK),long) scripts/test attack

test-cycles: setup-test build ## create and kill 2,000 sandboxes (CYCLES); nothing of them may stay in Shoal's process
	@scripts/test cycles

test-starts: setup-test build ## boot 5,000 sandboxes (STARTS) beside builds and a busy disk; none may fail, and those started twice are told
	@scripts/test starts

compat: setup-test build ## E2B's SDKs and command line, newest and older releases; renews docs/compatibility.md; COMPAT=pypi-e2b runs some
	@scripts/test compat

test-guest: setup-test build ## programs that people use in sandboxes, over a pause; renews docs/guest.md; GUEST=Vim,Redis or a kind runs some
	@GUEST='$(GUEST)' scripts/test guest

test-mcp: setup-test build ## start every MCP server of the catalogue and list its tools; renews docs/mcp.md; MCP=brave,git tries some
	@MCP='$(MCP)' scripts/test mcp

test-lab: ## microVMs, their disks and memory, on an emulated machine that has KVM, NBD and taps; FIRECRACKER_BIN=path
	@scripts/test lab

test-microvm: build ## a whole Shoal with microVMs, on that machine, by the Python SDK; FIRECRACKER_BIN=path; MICROVM=chaos kills it 50 times
	@scripts/test microvm

bench: setup-test build ## measure, as ratios within one run; ROW=loop,git-status or a group runs some; docs/performance.md
	@scripts/bench $(if $(ROW),-row '$(ROW)')

generate: gvisor ## regenerate what is generated
	$(GO) generate ./...

release: gvisor ## binaries with checksums and lists of what is inside, in bin/release; VERSION=v1.2.3
	@scripts/release '$(if $(filter command line,$(origin VERSION)),$(VERSION))'

sdk-versions: ## move the tests to the newest SDKs
	@scripts/sdk-versions

clean: ## remove what the build made
	rm -rf bin cmd/shoal/assets/envd cmd/shoal/assets/kernel cmd/shoal/assets/guestinit cmd/shoal/assets/attendant
