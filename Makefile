# make demo runs the main job on made-up data; make test passes the tests.
# Everything else that they need, Go fetches itself.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 10s
SEED ?= 1

.PHONY: demo test build race lint fuzz seeded seeded-storage bench check clean

build: bin/wend

bin/wend: $(shell find . -name '*.go' -not -name '*_test.go') go.mod go.sum Makefile
	CGO_ENABLED=0 go build -trimpath -o $@ ./cmd/wend

demo: bin/wend
	./bin/wend demo

# The suites that try random cases say how many and from which seed.
test:
	@rm -f .suites
	WEND_TRUST=$(CURDIR)/.suites go test -timeout 30m $(TESTFLAGS) ./...
	@test ! -f .suites || { echo; echo 'suites, their cases and seeds:'; cat .suites; rm -f .suites; }

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
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -parallel 2 $$pkg; \
	  done; \
	done

# Deliberate bugs in language and operators, each of which the random tests must notice.
seeded:
	go test -tags seeded ./internal/randtest -run Seeded

# The same for storage and its crash states; this takes a good part of an hour.
seeded-storage:
	go test -tags seeded ./storage -run SeededStorage -v -timeout 60m | grep -v '^=== '

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
