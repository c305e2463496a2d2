#!/usr/bin/env bash
# growth.sh EVENTS DIR: a store of so many events of the workload, made, measured
# and removed again. The generator writes into the import: no file of events is
# kept, which for 200 million would be 11 GB. It holds them in memory, 32 bytes
# each, before the import begins. With CSV, a file that was kept, it is not needed.
#
# A second import of two million events, SMALL, and a compaction of everything
# afterwards tell what keeping a store of this size in shape costs at most.
set -euo pipefail
events=${1:?growth.sh EVENTS DIR} dir=${2:?growth.sh EVENTS DIR}
workload=${WORKLOAD:-../shared/workload} wend=$PWD/bin/wend
[ ! -e "$dir" ] || { echo "growth.sh: $dir is there already" >&2; exit 1; }
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT

took() { # what it is, then a command: its time and processor time
  local what=$1
  shift
  ( # of its own: the generator that ends meanwhile does not count
    TIMEFORMAT="$what: %R s, processor %U + %S s"
    time "$@"
  )
}
# The import's time begins with the first row: before that the generator sorts.
feed() { head -c 1 <&3 >"$dir/first" && took "import of $events events" "$wend" import "$dir/store" - --format csv < <(cat "$dir/first" - <&3) 3<&-; }
generated() {
  (cd "$workload" && go build -o "$dir/gen" ./gen)
  mkfifo "$dir/events.csv"
  ln -s /dev/null "$dir/events.bin"
  "$dir/gen" -n "$events" -u $((events / 20)) -o "$dir/events" &
  local gen=$!
  exec 3<"$dir/events.csv"
  feed
  wait $gen
  exec 3<&-
}
if [ -n "${CSV:-}" ]; then
  took "import of $events events" "$wend" import "$dir/store" "$CSV"
else
  generated
fi
WEND_BENCH_DB="$dir/store" go test -run '^$' -timeout 2h -benchtime 3x -bench Growth ./bench
if [ -n "${SMALL:-}" ]; then
  "$wend" import "$dir/store" "$SMALL"
  took 'compaction of everything' "$wend" compact "$dir/store"
fi
du -sb "$dir/store"
