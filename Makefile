# The one entry. `make` alone prints the targets; each is a Go command that you
# can type yourself, and needs nothing but Go unless it says so.

GO     ?= go
TOOL    = $(GO) tool -modfile=tools/go.mod
SEEDS  ?= 2000
SEED   ?=
HOSTILE ?= 1000
TIME   ?= 20s
COUNT  ?= 10
MINUTES ?= 30
LOSS   ?= 0

# Packages whose tests are quick enough to run under the race detector each time.
FAST = ./ledger/... ./market/... ./proofs/... ./gpu/... ./p2p/... ./node/...

.DEFAULT_GOAL := help
.PHONY: help check fmt format tidy vet lint fences race test e2e sim fuzz bench ratios netns soak wasm

help: ## print this list
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

check: fmt tidy vet lint fences race ## everything about the code that a machine can check

fmt: ## print what gofmt would change, and fail if there is any
	@out=$$(gofmt -d .); test -z "$$out" || { echo "$$out"; exit 1; }

format: ## format everything (gofumpt)
	$(TOOL) golangci-lint fmt

tidy: ## fail if go.mod or go.sum is not tidy
	$(GO) mod tidy -diff

vet: ## go vet
	$(GO) vet ./...
	cd tools/bench && $(GO) vet .

lint: ## golangci-lint as pinned in tools/go.mod (the first build takes a minute and a half)
	$(TOOL) golangci-lint run ./...

fences: ## the rules in tidy_test.go: who may import whom, sizes, documents
	$(GO) test -count=1 .

race: ## the quick tests under the race detector (needs a C compiler, else skips)
	@if command -v "$$($(GO) env CC)" >/dev/null; then set -x; CGO_ENABLED=1 $(GO) test -race -short $(FAST); \
	else echo "race: skipped, the race detector needs a C compiler and $$($(GO) env CC) is not here"; fi

test: ## all tests: units, properties, fuzz seeds, 500 simulated storms, short scripts
	$(GO) test ./...

e2e: ## scripts with real processes over real libp2p, the long ones too
	PINFI_E2E=long $(GO) test -count=1 -timeout 15m ./cmd/... -run Script

sim: ## SEEDS=2000 storms and HOSTILE=1000 heists of each kind in virtual time; SEED=7 runs one storm, with its trace
	$(GO) test -count=1 -timeout 0 ./simulations/world -run TestSeeds $(if $(SEED),-v -args -seeds 1 -seed $(SEED),-args -seeds $(SEEDS))
	$(if $(SEED),,$(GO) test -count=1 -timeout 0 ./simulations -v -run 'Heist$$' -args -heists $(HOSTILE))

fuzz: ## every fuzz target for TIME=20s each
	@grep -rEo --include='*_test.go' '^func Fuzz\w+' . | sed 's/_test.go:func / /' | while read -r file target; do \
	echo "$$(dirname $$file) $$target"; $(GO) test $$(dirname $$file) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(TIME) || exit 1; done

bench: ## every benchmark COUNT=10 times, summed up by benchstat, against bench-old.txt if there is one
	$(GO) test ./... -run '^$$' -bench . -benchmem -count $(COUNT) > bench.txt || { cat bench.txt; exit 1; }
	$(TOOL) benchstat $(wildcard bench-old.txt) bench.txt

ratios: ## the ledger's speed against the limit of its signatures and against go-ds-crdt (tools/bench, a module of its own)
	cd tools/bench && $(GO) vet . && $(GO) test . && $(GO) run .

netns: ## the scripts inside an empty network namespace, LOSS=20 percent of packets dropped (root, Linux, else skips)
	@if ! unshare -n true 2>/dev/null; then echo "netns: skipped, making a network namespace needs root on Linux"; exit 0; fi; \
	set -ex; $(GO) test -c -o bin/script.test ./cmd/pinfi; \
	cd cmd/pinfi; PINFI_E2E=long LOSS=$(LOSS) unshare -n sh -ec 'ip link set lo up; if [ $$LOSS -gt 0 ]; then nft add table inet x; \
	nft "add chain inet x c { type filter hook input priority 0; }"; nft add rule inet x c numgen random mod 100 "<" $$LOSS drop; fi; \
	../../bin/script.test -test.run Script'

soak: ## demos and fresh storms, one after another, for MINUTES=30
	@end=$$(( $$(date +%s) + 60 * $(MINUTES) )); n=0; while [ $$(date +%s) -lt $$end ]; do n=$$(( n + 1 )); \
	$(GO) run ./cmd/pinfi demo --json || exit 1; \
	$(GO) test -count=1 ./simulations/world -run TestSeeds -args -seeds 200 -seed $$(( 1000000 * n )) || exit 1; done; echo "soak: $$n rounds"

wasm: ## rebuild the WebAssembly modules and fail if a bit differs (clang-14, lld-14, wasi-libc, else skips)
	@if ! command -v clang-14 >/dev/null; then echo "wasm: skipped, needs Debian's clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32"; \
	else set -ex; cd node/exec/jobs/render; ./build.sh; cd ../../testdata; ./build.sh; chmod -x *.wasm ../jobs/render/*.wasm; git diff --stat --exit-code -- . ../jobs/render; fi
