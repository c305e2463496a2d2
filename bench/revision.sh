#!/usr/bin/env bash
# revision.sh: what a table of measurements calls the working tree: its commit,
# and -dirty if anything differs from it but the file that the tables go to,
# which the run itself changes.
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
changed=$(git status --porcelain --untracked-files=no -- . ':!bench/RESULTS.md')
echo "$(git describe --always)${changed:+-dirty}"
