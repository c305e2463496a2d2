#!/usr/bin/env bash
# compare.sh BASE: the benchmarks of revision BASE beside those of the working
# tree, in turn (A B A B …), on this machine and the same store.
#
#   BENCH    which, as go test -bench takes it; all unless said
#   COUNT    rounds, 6 unless said: fewer tell benchstat little
#   PACKAGES where they are looked for
#   BENCHSTAT the program that compares; fetched unless said
#   WEND_BENCH_DB, WEND_BENCH_CSV   what benchmarks of whole statements and of imports use
set -euo pipefail
base=${1:?compare.sh BASE: which revision?}
BENCH=${BENCH:-.} COUNT=${COUNT:-6}
PACKAGES=${PACKAGES:-./tile ./storage ./ingest ./engine ./server ./bench}
here=$(git rev-parse --show-toplevel)
revision=$(git rev-parse --verify --quiet "$base^{commit}") || { echo "compare.sh: there is no revision $base" >&2; exit 1; }

tmp=$(mktemp -d)
trap 'git -C "$here" worktree remove --force "$tmp/base" 2>/dev/null || true; rm -rf "$tmp"' EXIT

# Fetched first: what was measured for an hour is not to be lost for it.
if [ -z "${BENCHSTAT:-}" ]; then
  GOBIN=$tmp go install golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da ||
    { echo "compare.sh: benchstat cannot be had; BENCHSTAT names one that is installed" >&2; exit 1; }
  BENCHSTAT=$tmp/benchstat
fi

git -C "$here" worktree add --quiet --detach "$tmp/base" "$revision"
ln -s "$here" "$tmp/new"

# A package takes part if both revisions have one of the benchmarks in it.
parts=()
for package in $PACKAGES; do
  name=$(basename "$package") both=yes
  for side in base new; do
    if ! (cd "$tmp/$side/" && go test -c -o "$tmp/$name.$side" "$package") >"$tmp/log" 2>&1 || [ ! -x "$tmp/$name.$side" ]; then
      echo "$package has no benchmarks in the $side revision, or does not build there:" >&2
      tail -3 "$tmp/log" >&2
      both=no
    elif ! (cd "$tmp/$side/$package" && "$tmp/$name.$side" -test.list "${BENCH%%/*}") | grep -q '^Benchmark'; then
      both=no
    fi
  done
  if [ $both = yes ]; then parts+=("$package"); fi
done
[ ${#parts[@]} -gt 0 ] || { echo "compare.sh: no benchmark matches $BENCH in both revisions" >&2; exit 1; }

for round in $(seq "$COUNT"); do
  for side in base new; do
    echo "round $round of $COUNT: $side" >&2
    for package in "${parts[@]}"; do
      benchtime=0.3s
      [ "$package" != ./bench ] || benchtime=5x
      (cd "$tmp/$side/$package" && "$tmp/$(basename "$package").$side" -test.run '^$' -test.bench "$BENCH" -test.benchtime "${BENCHTIME:-$benchtime}" -test.timeout 2h) >>"$tmp/$side.txt"
    done
  done
done
cd "$here" && "$BENCHSTAT" "$(git rev-parse --short "$revision")=$tmp/base.txt" "working tree=$tmp/new.txt"
