#!/usr/bin/env bash
# Everything that proves the project: `make test`. It installs what it needs, goes on after a failure, and says at the end
# what could not be run here and why; with CI=true that counts as a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

logs=.cache/test
mkdir -p "$logs"
passed=0 failed=0
broken=() # steps that failed

# step NAME COMMAND... runs a step; its output is shown and kept.
step() {
	local name=$1 started=$SECONDS
	shift
	echo "==> $name"
	"$@" 2>&1 | tee "$logs/$name.log" | filter
	local status=${PIPESTATUS[0]}
	if ((status == 3)); then
		not_run "$name" "$(grep -oE 'NOT RUN: .*' "$logs/$name.log" | tail -n 1 | sed 's/^NOT RUN: //')"
	elif ((status != 0)); then
		broken+=("$name")
	fi
	echo "    $name: $( ((status == 0)) && echo ok || echo "exit status $status"), $((SECONDS - started)) s"
	return "$status"
}

# filter leaves out what go test -v says of tests that pass.
filter() { grep --line-buffered -vE '^\s*(=== |--- (PASS|SKIP)|PASS$)|no test files\]$|^\s+[a-z_0-9]+_test\.go:[0-9]+: (skip|only)' || true; }

# count_go and count_pytest add the results in a log to the sums.
count_go() {
	passed=$((passed + $(grep -cE '^\s*--- PASS: ' "$logs/$1.log")))
	failed=$((failed + $(grep -cE '^\s*--- FAIL: ' "$logs/$1.log")))
}
count_pytest() {
	local summary
	summary=$(grep -E '^=+ .*(passed|failed|error).* in [0-9]' "$logs/$1.log" | tail -n 1)
	passed=$((passed + $(grep -oE '[0-9]+ passed' <<<"$summary" | grep -oE '[0-9]+' || echo 0)))
	failed=$((failed + $(grep -oE '[0-9]+ (failed|error)' <<<"$summary" | awk '{ n += $1 } END { print n + 0 }')))
}

# go_tests runs the tests of the module in a folder, under the race detector if that can be had.
go_tests() (cd "$1" && shift && go test -v "$@" ./...)

race=()
if need gcc "gcc libc6-dev"; then
	race=(-race)
else
	not_run "race detector" "it needs a C compiler"
fi

step build env CGO_ENABLED=0 go build -o bin/fairlead ./cmd/fairlead
step lint scripts/lint.sh
step go-test go_tests . "${race[@]}"
count_go go-test

# Modules of their own: other people's clients, load, crashes. Short forms; `make crash` and `make bench` are the long ones.
export FAIRLEAD_BIN=$PWD/bin/fairlead
for module in conformance/go.mod conformance/*/go.mod bench/go.mod; do
	[[ -f $module ]] || continue
	dir=$(dirname "$module") name=$(dirname "$module" | tr / -)
	step "vet-$name" env -C "$dir" go vet ./...
	step "go-test-$name" go_tests "$dir" "${race[@]}" -short -timeout 15m
	count_go "go-test-$name"
done

# The official SDKs. Each suite makes its own Python environment.
if ! need python3 python3; then
	not_run conformance "there is no python3"
elif ! { python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv; }; then
	not_run conformance "python3 cannot make environments (python3-venv is missing)"
else
	for suite in conformance/*/run; do
		name=conformance-$(basename "$(dirname "$suite")")
		step "$name" "$suite"
		count_pytest "$name"
	done
fi

echo
if grep -qE '^\s*--- SKIP' "$logs"/go-test*.log; then
	echo "Skipped by themselves: $(grep -hoE -e '--- SKIP: [^ ]+' "$logs"/go-test*.log | sed 's/.*: //' | sort -u | paste -sd' ')"
fi
report_not_run
status=0
if ((${#broken[@]} > 0)); then
	echo "FAILED: ${broken[*]} (output in $logs)"
	status=1
elif ((${#missing[@]} > 0)) && [[ ${CI:-} == true ]]; then
	echo "FAILED: in CI everything has to run"
	status=1
fi
echo "$passed passed, $failed failed"
exit "$status"
