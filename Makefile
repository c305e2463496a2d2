# make demo runs the main job on made-up data; make test passes the tests.
# Everything else that they need, Go fetches itself.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 10s
SEED ?= 1

.PHONY: soak resend hostile demo test build race lint fuzz seeded seeded-storage random-paths trust trust-nightly trust-page trials bench bench-all bench-parts bench-statements bench-ratios bench-sizes bench-import bench-compare compare-base bench-growth bench-serve bench-peers peers-other check golden clean

build: bin/wend

bin/wend: $(shell find . -name '*.go' -not -name '*_test.go') go.mod go.sum Makefile
	CGO_ENABLED=0 go build -trimpath -o $@ ./cmd/wend

demo: bin/wend
	./bin/wend demo

# Packages whose tests take longest come first, so that no processor waits for them in the end.
LONGEST = ./storage ./internal/randtest ./engine ./cmd/wend

# The suites say what they tried, from which seed, and what they found: a line a promise.
test:
	@rm -f .suites
	WEND_TRUST=$${WEND_TRUST:-$(CURDIR)/.suites} go test -timeout 30m $(TESTFLAGS) $(LONGEST) ./...
	@test ! -f .suites || { echo; go run ./internal/trust/show -reports .suites; rm -f .suites; }

race:
	WEND_TRUST= WEND_CASES=$${WEND_CASES:-2000} WEND_STATES=$${WEND_STATES:-300} go test -race -short -timeout 30m $(LONGEST) ./...

lint:
	@test -z "$$(gofmt -l .)" || { echo 'these files are not formatted as gofmt does:'; gofmt -l .; exit 1; }
	go vet ./...
	cd bench/peers && CGO_ENABLED=0 go vet ./...
	go mod tidy -diff
	go run $(STATICCHECK) ./...

# Every fuzz target for FUZZTIME each, from the kept corpus. When the time is up in
# the middle of an execution go test may fail with "context deadline exceeded" and
# no failing input, which is no finding.
OVER = grep -q '^ *context deadline exceeded$$' .fuzz && ! grep -q 'Failing input' .fuzz
fuzz:
	@set -e; for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$target $(FUZZTIME)"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s -parallel 2 $$pkg >.fuzz || { $(OVER); } || { cat .fuzz; rm -f .fuzz; exit 1; }; \
	    execs=$$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' .fuzz | tail -1); rm -f .fuzz; \
	    echo "  executions: $$execs"; \
	    test -z "$$WEND_TRUST" || printf 'ok\t%s.%s\t2.4 fuzz %s executions=%s crashers=0\n' "$${pkg#wend/}" "$$target" "$$target" "$$execs" >>"$$WEND_TRUST"; \
	  done; \
	done

# Deliberate bugs, each of which the tests must notice: in the language and its
# operators, in storage, and wherever else there are hooks.
seeded:
	go test -tags seeded -count=1 -timeout 60m ./internal/randtest ./engine -run Seeded

seeded-storage:
	go test -tags seeded -count=1 ./storage -run 'SeededStorage' -v -timeout 30m | grep -v '^=== '

# Random statements on every path through the code, each path told with what came
# on it: pages as they are usually written and as they seldom are, with and without
# cache, one and eight workers, one segment and many, short cuts and general automaton.
CASES ?= 4000
random-paths:
	WEND_PATHS=all WEND_CASES=$(CASES) go test -count=1 -timeout 4h -v -run TestPaths ./internal/randtest
	WEND_PATHS=all WEND_CASES=$(CASES) go test -count=1 -timeout 4h -v -tags forced -run TestPaths ./internal/randtest

# All promises in the size of every change (tier C), a line each; KEEP=1 keeps the
# figures for docs/trust.md.
RESULTS = testdata/trust/results.tsv
SHOW = go run ./internal/trust/show

trust:
	@rm -f .trust
	-WEND_TRUST=$(CURDIR)/.trust go test -count=1 -timeout 60m ./... >.trust.log || { grep -v '^ok\|no test files' .trust.log; }
	-WEND_TRUST=$(CURDIR)/.trust $(MAKE) -s seeded seeded-storage >.trust.log || cat .trust.log
	-WEND_TRUST=$(CURDIR)/.trust $(MAKE) -s fuzz >.trust.log || cat .trust.log
	@rm -f .trust.log
	@$(SHOW) -reports .trust -tier C $(if $(KEEP),-keep $(RESULTS))

# The longer sizes (tier N), in parts that can run one by one. Each keeps its figures.
trust-nightly: trust-nightly-sim trust-nightly-flips trust-nightly-faults trust-nightly-kills trust-nightly-cuts trust-nightly-conformance trust-nightly-inject trust-nightly-full trust-nightly-random trust-nightly-erase trust-nightly-concurrent trust-nightly-backups trust-nightly-server trust-nightly-fuzz soak resend hostile trust-page

NIGHTLY = @rm -f .nightly-$@; $(1); s=$$?; $(SHOW) -reports .nightly-$@ -tier N -keep $(RESULTS) >/dev/null || s=1; rm -f .nightly-$@; exit $$s
LONG = WEND_TRUST=$(CURDIR)/.nightly-$@ nice go test -count=1 -timeout 12h

trust-nightly-sim:
	$(call NIGHTLY,WEND_STATES=1000000 WEND_SITE_CRASHES=100 WEND_REPEATS=200 WEND_CALLERS=20000 $(LONG) ./storage -run 'TestSim(Crashes|Repeats|Callers)')
trust-nightly-flips:
	$(call NIGHTLY,WEND_FLIPS=8 $(LONG) ./storage -run TestSimFlips)
trust-nightly-faults:
	$(call NIGHTLY,WEND_FAULT_STEP=1 $(LONG) ./storage -run 'TestSim(Faults|ErrorReturns)')
trust-nightly-kills:
	$(call NIGHTLY,WEND_KILLS=5000 WEND_BACKUP_KILLS=200 $(LONG) ./internal/trials -run TestKill)
trust-nightly-cuts:
	$(call NIGHTLY,WEND_POWERCUT=1000 $(LONG) ./internal/trials -run TestPowerCut)
trust-nightly-conformance:
	$(call NIGHTLY,WEND_CONFORMANCE=10000 $(LONG) ./internal/trials -run TestConformance)
trust-nightly-inject:
	$(call NIGHTLY,WEND_INJECT=200 $(LONG) ./internal/trials -run TestInject)
trust-nightly-full:
	$(call NIGHTLY,WEND_FILLS=200 $(LONG) ./internal/trials -run TestFull)
trust-nightly-random:
	$(call NIGHTLY,WEND_CASES=1000000 WEND_STREAMS=100000 WEND_LAYOUTS=200000 $(LONG) ./internal/randtest)
trust-nightly-erase:
	$(call NIGHTLY,WEND_ERASE_STORES=10000 $(LONG) ./storage -run TestErase)
trust-nightly-concurrent:
	$(call NIGHTLY,WEND_CONCURRENT=60m $(LONG) -race ./storage -run TestConcurrent)
trust-nightly-backups:
	$(call NIGHTLY,WEND_BACKUPS=300 $(LONG) ./storage -run TestSimBackups)
trust-nightly-server:
	$(call NIGHTLY,WEND_SLOW_CLIENTS=3000 WEND_SLOW_SECONDS=300 WEND_INJECTIONS=320 $(LONG) ./server -run 'SlowClients|PanicsInHandlers')
trust-nightly-fuzz:
	$(call NIGHTLY,WEND_TRUST=$(CURDIR)/.nightly-$@ $(MAKE) -s fuzz FUZZTIME=10m)

# The real server under load for so long: SOAK=30m.
SOAK ?= 30m
soak:
	$(call NIGHTLY,WEND_SOAK=$(SOAK) $(LONG) ./internal/soak -run TestSoak)

# So many batches through a network that fails, to a server that is started again and again.
RESEND ?= 20000
resend:
	$(call NIGHTLY,WEND_RESEND=$(RESEND) $(LONG) ./internal/soak -run TestResend)

# Hostile queries against a worst customer with so many events, so many at once.
HOSTILE ?= 5000000
hostile:
	$(call NIGHTLY,WEND_HOSTILE=$(HOSTILE) WEND_HOSTILE_TOGETHER=200 WEND_HOSTILE_MS=30000 $(LONG) ./internal/soak -run TestHostile)

# docs/trust.md, from the kept results.
trust-page:
	$(SHOW) -keep $(RESULTS) -page docs/trust.md

# The trials against the real program, real kills and real power cuts alone.
trials:
	WEND_KILLS=200 WEND_BACKUP_KILLS=200 WEND_POWERCUT=50 go test -count=1 -v -timeout 60m ./internal/trials | grep -v '^=== '

# Stores of the workload, which ../shared makes: made once, imported and compacted.
BENCH_EVENTS ?= 20000000
BENCH_DIR = $(CURDIR)/bin/bench-$(BENCH_EVENTS)
BENCH_SMALL = $(CURDIR)/bin/bench-2000000

bin/bench-%/store $(CURDIR)/bin/bench-%/store: | bin/wend
	mkdir -p $(@D)
	cd ../shared/workload && go run ./gen -n $* -u $$(($* / 20)) -o $(abspath $(@D))/events
	./bin/wend import $@ $(@D)/events.csv
	./bin/wend compact $@

# Everything that is measured of wend alone: the parts it is made of, whole
# statements, stores of two sizes, what serves over HTTP. See docs/measured.md.
bench-all: bench bench-serve

bench: bench-parts bench-statements bench-ratios bench-sizes bench-import

BENCH_RUN = go test -run '^$$' -timeout 2h -benchtime 5x ./bench

# Decoding, bitmaps, merging, the log, parsing; operators over tiles in memory.
bench-parts:
	go test -run '^$$' -bench . -benchmem ./tile ./storage ./ingest ./engine

# Every statement of the language; one customer's journey, why, and what is next for one.
bench-statements: $(BENCH_DIR)/store
	WEND_BENCH_DB=$(BENCH_DIR)/store $(BENCH_RUN) -bench Statements
	WEND_BENCH_DB=$(BENCH_DIR)/store $(BENCH_RUN) -benchtime 2000x -bench 'Journey|Why|NextFor/kept'

# Two threads against one, first against warm, nothing kept against all kept, forty segments against one.
bench-ratios: $(BENCH_DIR)/store $(BENCH_SMALL)/store
	WEND_BENCH_DB=$(BENCH_DIR)/store $(BENCH_RUN) -bench 'Threads|First|Beyond'
	WEND_BENCH_CSV=$(BENCH_SMALL)/events.csv $(BENCH_RUN) -bench Fresh

# Two sizes of store beside each other.
bench-sizes: $(BENCH_SMALL)/store $(BENCH_DIR)/store
	WEND_BENCH_DB=$(BENCH_SMALL)/store $(BENCH_RUN) -bench Growth
	WEND_BENCH_DB=$(BENCH_DIR)/store $(BENCH_RUN) -bench Growth

bench-import: $(BENCH_DIR)/store
	WEND_BENCH_CSV=$(BENCH_DIR)/events.csv $(BENCH_RUN) -benchtime 1x -bench Import

# A store of 200 million events, made, measured and removed again; needs 16 GB of memory and 10 of disk.
GROWTH_EVENTS ?= 200000000
bench-growth: $(BENCH_SMALL)/store bin/wend
	SMALL=$(BENCH_SMALL)/events.csv ./bench/growth.sh $(GROWTH_EVENTS) $(CURDIR)/bin/growth

# wend serve as dashboards and senders of events see it: SERVE='-time 30s -only journey' …
bench-serve: $(BENCH_DIR)/store bin/wend
	go build -o bin/serve ./bench/serve
	./bin/serve -wend bin/wend -store $(BENCH_DIR)/store $(SERVE)

# Two revisions in turn, on this machine and the same store: BASE=revision and
# the working tree, BENCH=regexp, COUNT=rounds. benchstat gives the verdict.
bench-compare: compare-base $(BENCH_DIR)/store
	WEND_BENCH_DB=$(BENCH_DIR)/store WEND_BENCH_CSV=$(BENCH_DIR)/events.csv ./bench/compare.sh "$(BASE)"

compare-base:
	@git rev-parse --verify --quiet '$(BASE)^{commit}' >/dev/null || { echo 'make bench-compare BASE=revision: there is no revision "$(BASE)"'; exit 1; }

# The same questions to ClickHouse and DuckDB, side by side in one run, on the
# workload and on two other logs repeated to five million events. The table
# goes to bench/RESULTS.md. The peers come as npm packages; without them wend
# is measured alone and the table says so.
PEERS = $(CURDIR)/bin/peers
PEERS_EVENTS ?= 5000000
PEERS_RUN = $(PEERS)/peers -modules $(PEERS) -commit "$$(./bench/revision.sh)" -out bench/RESULTS.md

bench-peers: $(BENCH_DIR)/store
	mkdir -p $(PEERS)
	npm install --silent --no-audit --no-fund --prefix $(PEERS) @chdb/lib-linux-x64-gnu@26.5.3 @duckdb/node-api@1.5.6-r.1 || echo 'the peers cannot be had'
	cd bench/peers && CGO_ENABLED=0 go build -o $(PEERS)/peers .
	cd ../shared/workload && go build -o $(PEERS)/limit ./limit
	printf '# Side by side\n\nMade by `make bench-peers` on %s, %s.\n\n' "$$(date -u +%F)" "$$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $$(nproc) cores" > bench/RESULTS.md
	$(PEERS_RUN) -csv $(BENCH_DIR)/events.csv -store $(BENCH_DIR)/store -work $(PEERS)/$(BENCH_EVENTS) -limit "$(PEERS)/limit $(BENCH_DIR)/events.bin" -title "The workload, $(BENCH_EVENTS) events"
	$(MAKE) peers-other NAME=road-traffic-fines CUSTOMER=case_id CHANNEL=vehicleclass
	$(MAKE) peers-other NAME=bpi2012 CUSTOMER=case CHANNEL=resource

peers-other:
	$(PEERS)/peers prepare -from ../shared/data/$(NAME).csv.zst -customer $(CUSTOMER) -event activity -time timestamp -channel $(CHANNEL) -events $(PEERS_EVENTS) -o $(PEERS)/$(NAME).csv
	rm -rf $(PEERS)/$(NAME)
	./bin/wend import $(PEERS)/$(NAME) $(PEERS)/$(NAME).csv
	./bin/wend compact $(PEERS)/$(NAME)
	$(PEERS_RUN) -data $(NAME) -csv $(PEERS)/$(NAME).csv -store $(PEERS)/$(NAME) -work $(PEERS)/work-$(NAME) -title "$(NAME), repeated to $(PEERS_EVENTS) events"

check: lint test race seeded seeded-storage fuzz

# The golden store of this release's format; see testdata/stores/README.md. Each
# store is made once more until its format is released, and never after that.
FORMAT = $(shell sed -n 's/^const FormatVersion = //p' storage/version.go)

golden: bin/wend
	./testdata/stores/make.sh $(CURDIR)/bin/wend testdata/stores/v$(FORMAT)

clean:
	rm -rf bin demo-shop
