#!/usr/bin/env bash
# go vet, go mod tidy and golangci-lint over the modules. The linter is installed into .cache/bin in the version below if it is not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=v2.15.0
linter=.cache/bin/golangci-lint-$version
if [[ ! -x $linter ]]; then
	echo "lint: installing golangci-lint $version into .cache/bin"
	mkdir -p .cache/bin
	found=$(command -v golangci-lint || true)
	if [[ -n $found && $("$found" version 2>/dev/null) == *"version ${version#v} "* ]]; then
		ln -sf "$found" "$linter" # this very version is on the machine
	else
		GOBIN=$PWD/.cache/bin/new go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
		mv .cache/bin/new/golangci-lint "$linter"
		rmdir .cache/bin/new
	fi
fi

go vet ./...
GOOS=windows go vet ./cmd/... ./hub/internal/datadir # the parts that differ, as far as a compiler can tell
linter=$PWD/$linter
status=0
for module in . conformance bench; do
	[[ -f $module/go.mod ]] || continue
	echo "lint: $module"
	(cd "$module" && go mod tidy -diff && "$linter" run ./...) || status=1
done
exit "$status"
