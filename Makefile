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

# What `porchlight version` prints: that of the tag, or one that names the commit.
VERSION ?= $(shell tools/version)

# Where tools are built. Their versions stand in tools/go.mod.
BIN  := bin
LINT := $(BIN)/golangci-lint
VULN := $(BIN)/govulncheck
SPEC := $(BIN)/h2spec
TRAEFIK := $(BIN)/traefik

# The packages that start goroutines or share state between them are tested once more under
# the race detector by `make test`. `make test-long` tests all others, of which some take minutes:
# those come first, so that the others run beside them.
RACE := ./client ./internal/auth ./internal/directory ./internal/hub ./internal/streamapi ./internal/watch ./internal/membership ./internal/overload ./internal/framer \
        ./internal/publish ./internal/tail ./internal/cache ./internal/egress ./internal/eventsocket ./internal/signin ./internal/provision \
        ./internal/backupjob ./internal/certificate ./internal/signage ./internal/telemetry
RACE_LONG = ./internal/store/... ./internal/server ./internal/webhook ./cluster \
        $$($(GO) list ./... | grep -vE '/(cmd/porchlight|e2e|cluster/netns|bench)$$' | grep -vxF "$$($(GO) list $(RACE))")

# Tests that the race stages skip: they repeat the same load or start, once for each fault.
RACE_SKIP := ^(TestBackupEveryByte|TestBackupRandomBytes|TestBegunOnABrokenDisk|TestCrash|TestCrashEverywhere|TestCrashWhileOpening|TestDiskErrors|TestEveryFailureAtStart|TestMigrateKilled|TestPrometheus|TestRestoreKilled|TestRotPages|TestWatermarkRelaxedUntilOpen)$$

# The end-to-end tests that `make test` runs on NATS as well: a client of each kind of
# API. `make test-long` runs all but the pictures of pages.
NATS_E2E := ^(TestNewman|TestRivetUsers|TestZoomapi|TestWebhookReceivers|TestZoomWebSocket|TestStreamInCurl|TestSignIn|TestBoard)$$

# The packages with tests that repeat more at full length.
REPEATED := ./internal/store/... ./internal/server ./internal/webhook ./internal/httpapi ./internal/membership ./internal/publish ./cmd/porchlight

# What is tested on either engine.
SURFACE := ./internal/auth ./internal/directory ./internal/erasure ./internal/view ./internal/watch ./internal/zoomapi ./internal/httpapi ./internal/webhook \
           ./internal/audit ./internal/signin ./internal/provision ./internal/oauthapi ./internal/scim ./internal/tenant

# How long each fuzz function, and the soak as a whole, runs.
FUZZTIME ?= 30s
SOAKTIME ?= 30m

# TEST_LEVEL is how often long tests repeat what they do: internal/leveltest reads it.
# The linter has made the checks of go vet.
GOTEST := $(GO) test -vet=off

.PHONY: help build cross release demo check format-check format lint generate-clean arch test test-long test-full quick test-tools test-unit test-unit-long \
        test-race test-race-long test-e2e test-e2e-long test-release-long test-nats-long cluster-test cluster-bench walk test-release test-nats left-out screenshots pictures bench fuzz soak vuln clean

help: ## list these targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

build: ## build ./porchlight, a static binary
	$(GO) build -ldflags '-X porchlight.dev/porchlight/internal/server.version=$(VERSION)' -o porchlight ./cmd/porchlight

cross: ## compile ./cmd/porchlight for macOS and Windows
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/porchlight
	GOOS=windows GOARCH=amd64 $(GO) build -o /dev/null ./cmd/porchlight

release: ## archives, packages, images, client libraries and their checksums for every platform, into dist/
	cd tools/release && $(GO) run . -version '$(VERSION)'

demo: ## start a server with twenty users to try
	$(GO) run ./cmd/porchlight demo

## ---- what CI runs first ----

check: format-check lint generate-clean arch ## format, vet and lint, generated files, the import rule

format-check: $(LINT)
	@$(LINT) fmt --diff || { echo 'not formatted: run `make format`' >&2; exit 1; }

format: $(LINT) ## format all Go files
	$(LINT) fmt

lint: $(LINT) ## every linter of .golangci.yml, go vet among them
	$(LINT) run --allow-parallel-runners
	cd tools/release && ../../$(LINT) run --allow-parallel-runners --config ../../.golangci.yml

generate-clean: ## generate, and fail if that changes a file
	tools/generate-clean

arch:
	$(GOTEST) -count=1 .

## ---- tests ----

test: ## install what tests need, and run every kind of test, two stages at a time, whatever became of the others
	tools/stages test-tools -- test-unit test-e2e test-nats test-race test-release -- left-out

test-long: export TEST_LEVEL := full
test-long: export STAGES_UNTIL := $(TEST_LONG_UNTIL)
test-long: ## what does not fit into the time of make test: more kills and faults, all other packages under the race detector, nodes in network namespaces, every end-to-end test on NATS
	tools/stages test-tools -- cluster-test test-race-long test-unit-long test-e2e-long test-nats-long test-release-long

test-full: ## every test: make test and make test-long
	tools/stages test test-long

quick: $(LINT) ## check and test what you changed, in under two minutes; BASE=REV for what changed since
	tools/quick $(BASE)

test-tools: ## h2spec, npm ci in e2e/, and from Debian what is missing of Chromium, curl, strace, pip, mypy, nginx, Caddy, Mono and a C compiler; for test-long, Firefox and Traefik too
	tools/test-tools

test-unit: ## the Go tests
	$(GOTEST) -timeout 30m ./internal/store/... $$($(GO) list ./... | grep -vE '/(e2e|cluster/netns)$$')

test-race: ## the packages with goroutines again, under the race detector
	CGO_ENABLED=1 $(GOTEST) -race -timeout 40m -skip '$(RACE_SKIP)' $(RACE)

test-race-long: export TEST_LEVEL :=
test-race-long: ## all other packages under the race detector
	CGO_ENABLED=1 $(GOTEST) -race -timeout 50m -skip '$(RACE_SKIP)' $(RACE_LONG)

test-unit-long: export TEST_LEVEL := full
test-unit-long: ## the Go tests that repeat more at full length
	$(GOTEST) -count=1 -timeout 40m $(REPEATED)

test-e2e: ## other people's clients and a browser, against the built binary
	$(GOTEST) -count=1 -timeout 30m -v ./e2e

test-e2e-long: export TEST_LEVEL := full
test-e2e-long: test-tools ## the same at full length, with Traefik, Firefox and compilers of generated clients
	$(GOTEST) -count=1 -timeout 40m -v ./e2e

walk: ## README, guides and the help of each command, from a fresh clone with an empty home directory
	$(GO) test -count=1 -v -run 'TestFreshClone|TestDocumentation|TestDemoOutput|TestHelp|TestEveryGuideIsTested' ./e2e

test-release: ## packages and the image: install, upgrade, run and remove them, in scratch directories
	cd tools/release && $(GOTEST) -count=1 -timeout 60m -v .

test-release-long: export TEST_LEVEL := full
test-release-long: ## build all platforms twice, from two directories, and compare the bytes
	cd tools/release && $(GOTEST) -count=1 -timeout 60m -v -run '^TestReproducible$$' .

test-nats: ## every test of the APIs, and some end-to-end tests, again on NATS JetStream
	TEST_STORE=nats $(GOTEST) -count=1 -timeout 15m $(SURFACE)
	TEST_STORE=nats $(GOTEST) -count=1 -run '^TestSessionsOnEngine$$' ./internal/publish
	TEST_STORE=nats $(GOTEST) -count=1 -timeout 30m -run '$(NATS_E2E)' -skip '^TestScreenshots$$' ./e2e

test-nats-long: export TEST_LEVEL :=
test-nats-long: ## every end-to-end test on NATS JetStream
	TEST_STORE=nats $(GOTEST) -count=1 -timeout 40m -skip '^TestScreenshots$$' ./e2e

cluster-test: ## three NATS servers and three nodes in network namespaces, which are killed, paused, cut off and upgraded; needs root and ip
	$(GOTEST) -count=1 -timeout 40m -parallel 3 -v ./cluster/netns

cluster-bench: ## what several nodes cost and how soon they notice faults: the figures of docs/benchmarks.md; needs root and ip
	$(GOTEST) -timeout 30m -run '^$$' -bench . -benchtime 1x ./cluster/netns

left-out:
	@tools/left-out 'cluster/netns: all tests, which need root' 'race detector: all packages but those of RACE in the Makefile' 'race detector, also in make test-long: the tests of RACE_SKIP in the Makefile (make test-full RACE_SKIP=)' 'e2e, on NATS: all tests but those of NATS_E2E in the Makefile' 'tools/release: whether two builds of all platforms are equal'

screenshots: ## pictures of every page and the wall, light and dark, wide and on a phone (390 pixels), into screenshots/
	rm -rf screenshots
	$(GO) test -count=1 -run '^TestScreenshots$$' -artifacts -outputdir . ./e2e
	mv _artifacts/* screenshots && rmdir _artifacts

pictures: ## the pictures of the README, docs/board.png and docs/board.gif, taken again from the demo
	rm -rf _artifacts
	$(GO) test -count=1 -run '^TestReadmePictures$$' -artifacts -outputdir . ./e2e
	cp _artifacts/*/board.* docs && rm -r _artifacts

## ---- longer runs ----

bench: ## the benchmarks, and the driver that measures the budgets
	$(GO) test -timeout 60m -run '^$$' -bench . -benchmem $$($(GO) list ./... | grep -v /cluster/netns)
	$(GO) run ./bench

fuzz: ## every fuzz function, each for FUZZTIME (30s)
	tools/fuzz $(FUZZTIME)

soak: ## the proofs of the store and the program at length, then the race and end-to-end tests over and over, for SOAKTIME (30m)
	tools/soak $(SOAKTIME) $(RACE_LONG) $(RACE)

vuln: $(VULN) ## known vulnerabilities in what is linked; needs vuln.go.dev
	tools/vuln $(VULN)

clean: ## remove what was built
	rm -rf $(BIN) dist porchlight screenshots e2e/node_modules

$(LINT): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(SPEC): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$@ github.com/summerwind/h2spec/cmd/h2spec
	@touch $@

$(TRAEFIK): tools/traefik/go.mod tools/traefik/go.sum tools/traefik/dns.go.txt
	GO=$(GO) tools/traefik/build $@
	@touch $@

$(VULN): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$@ golang.org/x/vuln/cmd/govulncheck
	@touch $@
