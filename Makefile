# `make` alone lists the targets. Variables: GO, FOR, PKG, RUN, TIMEOUT, PARALLEL, FUZZTIME, ARGS.

GO       ?= go
PKG      ?= ./...
RUN      ?= .
FOR      ?= 20s
FUZZTIME ?= 10s
ARGS     ?=
# A package's tests take three minutes at most on two cores; Go's own limit of
# ten would make a machine a third as fast fail.
TIMEOUT  ?= 40m
# Tests wait for servers more than they compute.
PARALLEL ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

VERSION := $(shell git describe --tags --match 'v*' --dirty 2>/dev/null | sed 's/^v//')
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w $(if $(VERSION),-X main.version=$(VERSION)) $(if $(COMMIT),-X main.commit=$(COMMIT))

# Tools live beside the code, named by version, so that two checkouts never
# share one and a new version is a new file.
TOOLS         := $(CURDIR)/.tools
GOLANGCI      := v2.15.0
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(GOLANGCI)
NATSCLI       := $(TOOLS)/nats-v0.3.0
PROMTOOL      := $(TOOLS)/promtool-v0.316.0
GORELEASER    := $(TOOLS)/goreleaser-v2.14.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: install-servers ## see it work: a small shop on temporary servers, checked at the end (FOR=20s, ARGS=--serve)
	$(GO) run ./cmd/freshet demo --for $(FOR) $(ARGS)

.PHONY: build
build: ## build bin/freshet, stamped with version and commit
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/freshet ./cmd/freshet

.PHONY: test
test: install-test ## run every test with the race detector, against real servers (PKG=./..., RUN=.)
	$(GO) test -race -timeout $(TIMEOUT) -parallel $(PARALLEL) -run '$(RUN)' $(ARGS) $(PKG)

.PHONY: test-postgres
test-postgres: install-test ## run the tests that use Postgres again, on each further version (17 and 18)
	./scripts/test-postgres.sh $(ARGS)

.PHONY: test-natscli
test-natscli: install-test $(NATSCLI) ## run the commands that docs/monitoring.md shows with the real nats command line
	NATS_COMMAND=$(NATSCLI) $(GO) test -tags natscli -timeout $(TIMEOUT) -run TestNATSCommandLine $(ARGS) ./cmd/freshet

.PHONY: test-brokers
test-brokers: install-test ## run all tests of deploy's NATS and Redis, the cluster of three NATS servers too
	$(GO) test -race -tags deploy -timeout $(TIMEOUT) -run 'TestDeployed(NATS|Redis)' $(ARGS) ./cmd/freshet

.PHONY: test-incidents
test-incidents: install-test ## play docs/runbook.md through; every view has three seconds to say what is wrong
	$(GO) test -timeout $(TIMEOUT) -count 1 -v -run TestIncidents $(ARGS) ./cmd/freshet -args -incident.within 3s

.PHONY: test-dashboard
test-dashboard: install-browser ## look at the dashboard with headless Chromium (RUN=.)
	cd internal/monitor/browsertest && $(GO) test -race -timeout $(TIMEOUT) -run '$(RUN)' $(ARGS) .

.PHONY: test-deploy
test-deploy: install-deploy $(PROMTOOL) $(GORELEASER) ## check what deploy/ ships (RUN=.)
	cd deploy/prometheus && $(PROMTOOL) check config prometheus.yml && $(PROMTOOL) test rules alerts_test.yml
	$(GORELEASER) check
	cd deploy/deploytest && GORELEASER=$(GORELEASER) $(GO) test -v -timeout $(TIMEOUT) -run '$(RUN)' $(ARGS) .
	$(GO) test -race -tags deploy -timeout $(TIMEOUT) -parallel $(PARALLEL) -run TestDeployedNATSCluster $(ARGS) ./cmd/freshet

.PHONY: screenshots
screenshots: install-browser ## take the pictures of docs/images: three minutes of a small shop, then without its Redis
	cd internal/monitor/browsertest && $(GO) test -timeout $(TIMEOUT) -count 1 -run TestScreenshots . -args -images $(CURDIR)/docs/images -trading 3m

.PHONY: generate
generate: ## write docs/configuration.md and docs/freshet.schema.json anew, from internal/config
	$(GO) test ./internal/config -run TestReference -count 1 -update

.PHONY: lint
lint: $(GOLANGCI_LINT) ## run golangci-lint as .golangci.yml argues
	$(GOLANGCI_LINT) run $(ARGS) $(PKG)
	cd cache/benchmarks && $(GOLANGCI_LINT) run $(ARGS)
	cd internal/monitor/browsertest && $(GOLANGCI_LINT) run $(ARGS)
	cd deploy/deploytest && $(GOLANGCI_LINT) run $(ARGS)

.PHONY: format
format: $(GOLANGCI_LINT) ## format every Go file (gofumpt, imports in three groups)
	$(GOLANGCI_LINT) fmt

.PHONY: bench
bench: install-servers ## measure the pipeline end to end; results go to bench/results
	$(GO) run -buildvcs=true ./cmd/freshet-bench drain $(ARGS)
	$(GO) run -buildvcs=true ./cmd/freshet-bench latency $(ARGS)
	$(GO) run -buildvcs=true ./cmd/freshet-bench warm $(ARGS)
	$(GO) run -buildvcs=true ./cmd/freshet-bench warm --updates 100 $(ARGS)
	$(GO) run -buildvcs=true ./cmd/freshet-bench memory

.PHONY: bench-go
bench-go: install-servers ## run the Go benchmarks beside the code (PKG=./..., RUN=.)
	$(GO) test -run '^$$' -bench '$(RUN)' -benchmem $(ARGS) $(PKG)

.PHONY: bench-cache
bench-cache: install-servers ## compare the library with others; results go to cache/benchmarks/results (ARGS=-only=near)
	cd cache/benchmarks && $(GO) run . -results results $(ARGS)

.PHONY: fuzz
fuzz: ## fuzz every fuzz target for FUZZTIME (10s) each
	./scripts/fuzz.sh $(FUZZTIME) $(PKG)

.PHONY: install-servers
install-servers: ## install the Postgres and Redis servers where they are missing
	@./scripts/install-servers.sh

.PHONY: install-test
install-test:
	@./scripts/install-servers.sh --test

.PHONY: install-deploy
install-deploy: install-test
	@./scripts/install-systemd.sh

.PHONY: install-browser
install-browser: install-test
	@./scripts/install-browser.sh

.PHONY: clean
clean: ## remove what make has built here, tools included
	rm -rf bin dist .tools coverage.out cache/interop/node_modules

$(GOLANGCI_LINT):
	@echo "building golangci-lint $(GOLANGCI) into .tools/, once; it takes a few minutes"
	@mkdir -p $(TOOLS)/build
	@GOBIN=$(TOOLS)/build GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	@mv $(TOOLS)/build/golangci-lint $@

$(NATSCLI):
	@echo "building the nats command line into .tools/, once"
	@mkdir -p $(TOOLS)/build
	@GOBIN=$(TOOLS)/build GOFLAGS= $(GO) install github.com/nats-io/natscli/nats@$(NATSCLI:$(TOOLS)/nats-%=%)
	@mv $(TOOLS)/build/nats $@

# Without service discovery of clouds, which is most of it and which no test needs.
$(PROMTOOL):
	@echo "building promtool into .tools/, once; it takes some minutes"
	@mkdir -p $(TOOLS)/build
	@GOBIN=$(TOOLS)/build GOFLAGS= $(GO) install -tags remove_all_sd github.com/prometheus/prometheus/cmd/promtool@$(PROMTOOL:$(TOOLS)/promtool-%=%)
	@mv $(TOOLS)/build/promtool $@

$(GORELEASER):
	@echo "building goreleaser into .tools/, once; it takes some minutes"
	@mkdir -p $(TOOLS)/build
	@GOBIN=$(TOOLS)/build GOFLAGS= $(GO) install github.com/goreleaser/goreleaser/v2@$(GORELEASER:$(TOOLS)/goreleaser-%=%)
	@mv $(TOOLS)/build/goreleaser $@
