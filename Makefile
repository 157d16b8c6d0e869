# Porchlight. `make help` lists what can be done.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go

# Everything but the race detector's builds has these flags: what is tested is what
# is shipped, and each target finds compiled what another one has compiled. A
# binary depends on neither the checkout's path nor its state, so that two
# checkouts of a commit make the same bytes.
export CGO_ENABLED := 0
export GOFLAGS     := -trimpath -buildvcs=false

# The commit that `porchlight version` names.
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)

# Where tools are built. Their versions stand in tools/go.mod.
BIN  := bin
LINT := $(BIN)/golangci-lint
VULN := $(BIN)/govulncheck
SPEC := $(BIN)/h2spec

# The packages whose code runs on several goroutines, or is run by them: tested
# once more under the race detector. The longest come first, so that the others run beside them.
RACE := ./internal/store/... ./internal/server/... ./internal/webhook/... ./client/... ./internal/auth/... ./internal/directory/... ./internal/hub/... ./internal/streamapi/... ./internal/view/... ./internal/watch/... \
        ./internal/publish/... ./internal/tail/... ./internal/cache/... ./internal/wire/... ./internal/httpapi/... ./internal/zoomapi/... \
        ./internal/egress/... ./internal/eventsocket/... ./internal/erasure/... ./internal/audit/... ./internal/signin/... ./internal/provision/... ./internal/oauthapi/... ./internal/tenant/...

# What is tested on either engine.
SURFACE := ./internal/auth ./internal/directory ./internal/erasure ./internal/hub ./internal/view ./internal/watch ./internal/zoomapi ./internal/httpapi ./internal/webhook \
           ./internal/audit ./internal/signin ./internal/provision ./internal/oauthapi ./internal/scim ./internal/tenant

# How long each fuzz function, and the soak as a whole, runs.
FUZZTIME ?= 30s
SOAKTIME ?= 30m

.PHONY: help build demo check format-check format vet lint generate-clean arch test quick test-tools test-unit test-race \
        test-e2e walk test-nats screenshots bench fuzz soak vuln clean

help: ## list these targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

build: ## build ./porchlight, a static binary
	$(GO) build -ldflags '-X porchlight.dev/porchlight/internal/server.revision=$(REVISION)' -o porchlight ./cmd/porchlight

demo: ## start a server with twenty users to try
	$(GO) run ./cmd/porchlight demo

## ---- what CI runs first ----

check: format-check vet lint generate-clean arch ## format, vet, lint, generated files, the import rule

format-check: $(LINT)
	@$(LINT) fmt --diff || { echo 'not formatted: run `make format`' >&2; exit 1; }

format: $(LINT) ## format all Go files
	$(LINT) fmt

vet:
	$(GO) vet ./...

lint: $(LINT) ## every linter of .golangci.yml
	$(LINT) run

generate-clean: ## generate, and fail if that changes a file
	tools/generate-clean

arch:
	$(GO) test -count=1 .

## ---- tests ----

test: ## install what tests need, and run all of them, each stage whatever became of the one before
	tools/stages test-tools test-unit test-race test-e2e test-nats

quick: $(LINT) ## check and test what you changed, in under two minutes; BASE=REV for what changed since
	tools/quick $(BASE)

test-tools: ## h2spec, npm ci in e2e/, and from Debian what is missing of Chromium, curl, strace, Mono and a C compiler
	tools/test-tools

test-unit: ## the Go tests
	$(GO) test -timeout 30m ./internal/store/... $$($(GO) list ./... | grep -v '/e2e$$')

test-race: ## the packages with goroutines again, under the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 40m $(RACE)

test-e2e: ## other people's clients and a browser, against the built binary
	$(GO) test -count=1 -timeout 30m -v ./e2e

walk: ## README, guides and the help of each command, from a fresh clone with an empty home directory
	$(GO) test -count=1 -v -run 'TestFreshClone|TestDocumentation|TestDemoOutput|TestHelp|TestEveryGuideIsTested' ./e2e

test-nats: ## every test of the APIs, and the end-to-end tests but the pictures of pages, again on NATS JetStream
	TEST_STORE=nats $(GO) test -count=1 -timeout 30m -skip '^TestScreenshots$$' $(SURFACE) ./e2e

screenshots: ## pictures of every page, light and dark, wide and at 390 pixels, into screenshots/
	rm -rf screenshots
	$(GO) test -count=1 -run '^TestScreenshots$$' -artifacts -outputdir . ./e2e
	mv _artifacts/* screenshots && rmdir _artifacts

## ---- longer runs ----

bench: ## the benchmarks, and the driver that measures the budgets
	$(GO) test -timeout 60m -run '^$$' -bench . -benchmem ./...
	$(GO) run ./bench

fuzz: ## every fuzz function, each for FUZZTIME (30s)
	tools/fuzz $(FUZZTIME)

soak: ## the proofs of the store and the program at length, then the race and end-to-end tests over and over, for SOAKTIME (30m)
	tools/soak $(SOAKTIME) $(RACE)

vuln: $(VULN) ## known vulnerabilities in what is linked; needs vuln.go.dev
	tools/vuln $(VULN)

clean: ## remove what was built
	rm -rf $(BIN) porchlight screenshots e2e/node_modules

$(LINT): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(SPEC): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$@ github.com/summerwind/h2spec/cmd/h2spec
	@touch $@

$(VULN): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$@ golang.org/x/vuln/cmd/govulncheck
	@touch $@
