#!/usr/bin/env bash
# Runs every fuzz test of the module for a while: scripts/fuzz.sh 20s
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "== $target in $package"
	go test -run='^$' -fuzz="^$target\$" -fuzztime="${1:-20s}" "$package" || failed=$((failed + 1))
done < <(grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' --exclude-dir=.cache --exclude-dir=conformance --exclude-dir=bench . | sed -E 's|^\./||; s|:[0-9]+:func |:|')
if ((failed > 0)); then
	echo "$failed fuzz tests have found something; the input is in testdata/fuzz of the package" >&2
	exit 1
fi
