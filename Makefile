# apisix-webhooks. `make` alone lists what there is; CONTRIBUTING.md says more.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# A checkout of another user's makes git refuse to answer, and with it the build.
BUILDVCS := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)
export GOTOOLCHAIN := $(shell scripts/toolchain.sh)
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=$(BUILDVCS)
BENCH ?= .
FUZZTIME ?= 10s

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

.PHONY: build
build: ## static binaries in ./bin
	$(GO_BUILD) -o bin/webhook-runner ./plugins
	$(GO_BUILD) -o bin/ ./subscription-service/cmd/... \
		./callback-service ./devgateway ./webhookctl ./e2e/cmd/...

.PHONY: up
up: ## start everything in the background; STACK=compose: on Docker, with the real APISIX
	@scripts/stack.sh up

.PHONY: down
down: ## stop what `make up` started
	@scripts/stack.sh down

.PHONY: status
status: ## what runs, and whether it is well
	@scripts/stack.sh status

.PHONY: demo
demo: ## the main job from start to end, on a stack of its own
	@dir="$${DEMO_RUN_DIR:-.run/demo}"; WEBHOOK_RETRY_SCHEDULE="$${WEBHOOK_RETRY_SCHEDULE-1s,2s,5s}" scripts/with-stack.sh up "$$dir" bin/demo -env "$$dir/env"

.PHONY: test
test: ## every test, with the race detector, on real Redis and RabbitMQ and end to end
	@scripts/test.sh

.PHONY: screenshots
screenshots: build ## pictures of the portal's pages for the documents, into docs/images
	@source scripts/lib/common.sh && source scripts/lib/packages.sh && need_chromium
	@scripts/with-stack.sh up "$${SCREENSHOTS_RUN_DIR:-.run/screenshots}" bin/screenshots -to "$(CURDIR)/docs/images"

.PHONY: chaos
chaos: build ## breaks everything in turn and accounts for every delivery; SEED=, EVENTS=, CHAOS=flags
	@env -u REDIS_URL -u AMQP_URL scripts/with-stack.sh infra "$${CHAOS_RUN_DIR:-.run/chaos}" \
		bin/chaos $(if $(SEED),-seed $(SEED)) $(if $(EVENTS),-events $(EVENTS)) $(CHAOS)

.PHONY: bench
bench: ## the figures of a whole stack, as ratios of one run; FIGURES=abc chooses, BENCH_JSON names the file
	@scripts/with-stack.sh up "$${BENCH_RUN_DIR:-.run/bench}" \
		bin/bench -figures "$${FIGURES:-abcdefghij}" -json "$${BENCH_JSON:-.run/bench.json}" $(BENCH_FLAGS)

.PHONY: microbench
microbench: ## Go's benchmarks of single parts; BENCH=regexp chooses
	@scripts/with-stack.sh infra "$${BENCH_RUN_DIR:-.run/bench}" \
		go test -run '^$$' -bench '$(BENCH)' -benchmem -p 1 $$(scripts/modules.sh ...)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: check
check: ## formatting, vet, linters, known vulnerabilities, shell scripts, compose file
	@scripts/check.sh

.PHONY: vet
vet: ## go vet
	@go vet $$(scripts/modules.sh ...)

.PHONY: fmt
fmt: ## gofmt
	@gofmt -w $$(scripts/modules.sh)

.PHONY: clean
clean: ## stop everything of this checkout, remove ./bin and ./.run with all data
	@for dir in .run/test/chaos .run/test .run/demo .run/bench .run/screenshots .run/chaos .run; do RUN_DIR="$$dir" scripts/stack.sh wipe; done
	@rm -rf bin .run
