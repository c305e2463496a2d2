#!/bin/sh
# make.sh WEND DIR makes a golden store with a release of wend: DIR/store, as a
# server that was killed leaves it, and the answers that this release gives.
set -eu
wend=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$out"; mkdir -p "$out"; out=$(cd "$out" && pwd); store=$out/store
cd "$here/input"

said() { "$wend" "$@" 2>"$out/said" || { cat "$out/said" >&2; exit 1; }; }

said import "$store" shop.csv
said import "$store" app.ndjson
said compact "$store"
said import "$store" wrong.csv
said undo "$store" "$("$wend" status "$store" | sed -n 's/^import \([0-9a-f]*\) .*wrong.csv.*/\1/p')"
said link "$store" -f links.csv
said unlink "$store" anon-5
said query "$store" -f definitions.wend -o csv
said import "$store" shop.csv # all duplicates: nothing is added

# Batches that are only in the log, under tokens, and no flush after them.
"$wend" serve "$store" --listen 127.0.0.1:0 2>"$out/served" &
pid=$!
until url=$(grep -o 'http://[0-9.:]*' "$out/served"); do sleep 0.1; done
curl -sf "$url/v1/events" -H 'X-Batch-Token: till-1' --data-binary @batch1.ndjson >"$out/batch1.json"
curl -sf "$url/v1/events" -H 'X-Batch-Token: till-2' -H 'X-Durability: interval' --data-binary @batch2.ndjson >"$out/batch2.json"
curl -sf "$url/v1/links" -d '{"from": "logged only", "to": "c09"}' >/dev/null
curl -sf "$url/v1/links" -d '{"from": "anon-6", "to": "c09"}' >/dev/null # an edit behind the first of its file
kill -9 $pid; wait $pid 2>/dev/null || true

"$wend" query "$store" -f questions.wend -o csv >"$out/answers.csv" 2>/dev/null
"$wend" links "$store" >"$out/links.txt"
"$wend" export "$store" -o ndjson | gzip -9n >"$out/events.ndjson.gz"
"$wend" version >"$out/version.txt"
rm -f "$out/said" "$out/served" "$store/LOCK" "$store/BALLAST"
