#!/usr/bin/env bash
# Everything that proves the project: `make test`. It installs what it needs, goes on after a failure, and says at the end
# what could not be run here and why; with CI=true that counts as a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
source scripts/lib.sh

logs=.cache/test
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0
broken=() # steps that failed

# step NAME COMMAND... runs a step; its output is shown and kept.
step() {
	local name=$1 started=$SECONDS
	shift
	echo "==> $name"
	"$@" 2>&1 | tee "$logs/$name.log"
	local status=${PIPESTATUS[0]}
	if ((status == 3)); then
		not_run "$name" "$(grep -oE 'NOT RUN: .*' "$logs/$name.log" | tail -n 1 | sed 's/^NOT RUN: //')"
	elif ((status != 0)); then
		broken+=("$name")
	fi
	echo "    $name: $( ((status == 0)) && echo ok || echo "exit status $status"), $((SECONDS - started)) s"
	return "$status"
}

# count adds the sums in a log to ours: lines such as "12 passed, 1 failed", of testsum or of pytest.
count() {
	local line
	line=$(grep -E '[0-9]+ (passed|failed|error)' "$logs/$1.log" | tail -n 1)
	passed=$((passed + $(of passed "$line")))
	failed=$((failed + $(of failed "$line") + $(of 'errors?' "$line")))
}
of() { grep -oE "[0-9]+ $1" <<<"$2" | awk '{ n += $1 } END { print n + 0 }'; }

# go_tests runs the tests of the module in a folder.
go_tests() {
	local dir=$1
	shift
	go test -C "$dir" -json "$@" ./... 2>&1 | "$logs/testsum"
}

race=()
if need gcc gcc libc6-dev; then
	race=(-race)
else
	not_run "race detector" "it needs a C compiler"
fi

go build -o "$logs/testsum" scripts/testsum.go || exit 1
step build env CGO_ENABLED=0 go build -o bin/fairlead ./cmd/fairlead
step lint scripts/lint.sh
step go-test go_tests . "${race[@]}" -timeout 20m # the default is 10, for each package, which a busy machine may need
count go-test

# Modules of their own: other people's clients, load, crashes. Short forms; `make crash` and `make bench` are the long ones.
export FAIRLEAD_BIN=$PWD/bin/fairlead
need mosquitto mosquitto || not_run "the engine against mosquitto" "there is no mosquitto"
need qemu-arm-static qemu-user-static || not_run "devices on ARM and MIPS" "there is no qemu"
for module in conformance/go.mod conformance/*/go.mod bench/go.mod; do
	[[ -f $module ]] || continue
	dir=$(dirname "$module") name=$(dirname "$module" | tr / -)
	step "vet-$name" env -C "$dir" go vet ./...
	step "go-test-$name" go_tests "$dir" "${race[@]}" -short -count=1 -timeout 15m # not cached: the binary has changed
	count "go-test-$name"
done

need curl curl || not_run "the curl that fairlead up prints" "there is no curl"

# The official SDKs. Each suite makes its own Python environment.
if ! need python3 python3; then
	not_run conformance "there is no python3"
elif ! { python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv; }; then
	not_run conformance "python3 cannot make environments (python3-venv is missing)"
else
	for suite in conformance/*/run; do
		name=conformance-$(basename "$(dirname "$suite")")
		step "$name" "$suite"
		count "$name"
	done
fi

echo
skipped=$(cat "$logs"/*.log | grep -E '^SKIPPED ' | sort -u)
if [[ -n $skipped ]]; then
	echo "Skipped, as these tests themselves decided:"
	echo "${skipped//SKIPPED /  }"
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
