# make demo runs the main job on made-up data; make test passes the tests.
# Everything else that they need, Go fetches itself.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 10s
SEED ?= 1

.PHONY: demo test build race lint fuzz seeded seeded-storage trust trust-nightly trust-page trials bench check clean

build: bin/wend

bin/wend: $(shell find . -name '*.go' -not -name '*_test.go') go.mod go.sum Makefile
	CGO_ENABLED=0 go build -trimpath -o $@ ./cmd/wend

demo: bin/wend
	./bin/wend demo

# The suites say what they tried, from which seed, and what they found: a line a promise.
test:
	@rm -f .suites
	WEND_TRUST=$(CURDIR)/.suites go test -timeout 30m $(TESTFLAGS) ./...
	@test ! -f .suites || { echo; go run ./internal/trust/show -reports .suites; rm -f .suites; }

race:
	WEND_CASES=$${WEND_CASES:-2000} WEND_STATES=$${WEND_STATES:-300} go test -race -short -timeout 30m ./...

lint:
	@test -z "$$(gofmt -l .)" || { echo 'these files are not formatted as gofmt does:'; gofmt -l .; exit 1; }
	go vet ./...
	go mod tidy -diff
	go run $(STATICCHECK) ./...

# Every fuzz target for FUZZTIME each, from the kept corpus.
fuzz:
	@set -e; for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$target $(FUZZTIME)"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -parallel 2 $$pkg >.fuzz || { cat .fuzz; rm -f .fuzz; exit 1; }; \
	    execs=$$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' .fuzz | tail -1); rm -f .fuzz; \
	    echo "  executions: $$execs"; \
	    test -z "$$WEND_TRUST" || printf 'ok\t%s.%s\t2.4 fuzz %s executions=%s crashers=0\n' "$${pkg#wend/}" "$$target" "$$target" "$$execs" >>"$$WEND_TRUST"; \
	  done; \
	done

# Deliberate bugs, each of which the tests must notice: in the language and its
# operators, in storage, and wherever else there are hooks.
seeded:
	go test -tags seeded -count=1 ./internal/randtest -run Seeded

seeded-storage:
	go test -tags seeded -count=1 ./storage -run SeededStorage -v -timeout 30m | grep -v '^=== '

# All promises in the size of every change (tier C), a line each; KEEP=1 keeps the
# figures for docs/trust.md.
RESULTS = testdata/trust/results.txt
SHOW = go run ./internal/trust/show

trust:
	@rm -f .trust
	-WEND_TRUST=$(CURDIR)/.trust go test -count=1 -timeout 60m ./... >.trust.log || { grep -v '^ok\|no test files' .trust.log; }
	-WEND_TRUST=$(CURDIR)/.trust $(MAKE) -s seeded seeded-storage >.trust.log || cat .trust.log
	-WEND_TRUST=$(CURDIR)/.trust $(MAKE) -s fuzz >.trust.log || cat .trust.log
	@rm -f .trust.log
	@$(SHOW) -reports .trust -tier C $(if $(KEEP),-keep $(RESULTS))

# The longer sizes (tier N), in parts that can run one by one. Each keeps its figures.
trust-nightly: trust-nightly-sim trust-nightly-flips trust-nightly-faults trust-nightly-kills trust-nightly-cuts trust-nightly-conformance trust-nightly-inject trust-nightly-full trust-nightly-random trust-nightly-fuzz trust-page

NIGHTLY = @rm -f .nightly-$@; $(1); s=$$?; $(SHOW) -reports .nightly-$@ -tier N -keep $(RESULTS) >/dev/null || s=1; rm -f .nightly-$@; exit $$s
LONG = WEND_TRUST=$(CURDIR)/.nightly-$@ nice go test -count=1 -timeout 12h

trust-nightly-sim:
	$(call NIGHTLY,WEND_STATES=1000000 WEND_REPEATS=200 $(LONG) ./storage -run 'TestSim(Crashes|Repeats)')
trust-nightly-flips:
	$(call NIGHTLY,WEND_FLIPS=8 $(LONG) ./storage -run TestSimFlips)
trust-nightly-faults:
	$(call NIGHTLY,WEND_FAULT_STEP=1 $(LONG) ./storage -run TestSimFaults)
trust-nightly-kills:
	$(call NIGHTLY,WEND_KILLS=5000 $(LONG) ./internal/trials -run TestKill)
trust-nightly-cuts:
	$(call NIGHTLY,WEND_POWERCUT=1000 $(LONG) ./internal/trials -run TestPowerCut)
trust-nightly-conformance:
	$(call NIGHTLY,WEND_CONFORMANCE=10000 $(LONG) ./internal/trials -run TestConformance)
trust-nightly-inject:
	$(call NIGHTLY,WEND_INJECT=200 $(LONG) ./internal/trials -run TestInject)
trust-nightly-full:
	$(call NIGHTLY,WEND_FILLS=200 $(LONG) ./internal/trials -run TestFull)
trust-nightly-random:
	$(call NIGHTLY,WEND_CASES=1000000 $(LONG) ./internal/randtest)
trust-nightly-fuzz:
	$(call NIGHTLY,WEND_TRUST=$(CURDIR)/.nightly-$@ $(MAKE) -s fuzz FUZZTIME=10m)

# docs/trust.md, from the kept results.
trust-page:
	$(SHOW) -keep $(RESULTS) -page docs/trust.md

# The trials against the real program, real kills and real power cuts alone.
trials:
	WEND_KILLS=200 WEND_POWERCUT=50 go test -count=1 -v -timeout 60m ./internal/trials | grep -v '^=== '

# Whole statements over a store of the workload (made once, from ../shared),
# and the parts they are made of.
BENCH_EVENTS ?= 20000000
BENCH_USERS ?= 1000000
BENCH_DIR = $(CURDIR)/bin/bench-$(BENCH_EVENTS)

bench: $(BENCH_DIR)/store
	WEND_BENCH_DB=$(BENCH_DIR)/store go test -run '^$$' -bench . -benchtime 5x -benchmem ./bench
	go test -run '^$$' -bench . -benchmem ./tile ./storage ./ingest

$(BENCH_DIR)/store: | bin/wend
	mkdir -p $(BENCH_DIR)
	cd ../shared/workload && go run ./gen -n $(BENCH_EVENTS) -u $(BENCH_USERS) -o $(BENCH_DIR)/events
	./bin/wend import $@ $(BENCH_DIR)/events.csv
	./bin/wend compact $@

check: lint test race seeded fuzz

clean:
	rm -rf bin demo-shop
