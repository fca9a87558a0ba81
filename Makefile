# Bare `make` lists the targets.
GO ?= go
FUZZTIME ?= 20s

.DEFAULT_GOAL := help
.PHONY: help run build test lint fuzz crash bench conformance

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start a hub in ./fairlead-data
	$(GO) run ./cmd/fairlead up

build: ## build bin/fairlead, without cgo
	CGO_ENABLED=0 $(GO) build -o bin/fairlead ./cmd/fairlead

test: ## everything that proves the project; installs what it needs
	@scripts/test.sh

lint: ## go vet and golangci-lint
	@scripts/lint.sh

fuzz: ## run every fuzz test for FUZZTIME (20s)
	@scripts/fuzz.sh $(FUZZTIME)

crash: build ## kill the hub a hundred times under load, and a device a thousand times; nothing may be missing
	@scripts/nested.sh crash

bench: build ## compare the hub with a mosquitto on this machine, and measure a device
	@scripts/nested.sh bench

conformance: build ## the official SDKs against bin/fairlead
	for suite in conformance/*/run; do $$suite || exit 1; done
