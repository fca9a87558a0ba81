#!/usr/bin/env bash
# Runs the long forms that live in modules of their own: scripts/nested.sh crash|bench
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

export FAIRLEAD_BIN=$PWD/bin/fairlead
case ${1:-} in
crash)
	exec env -C conformance/crash go run . -kills "${KILLS:-100}"
	;;
bench)
	need mosquitto mosquitto || { echo "bench: NOT RUN: there is no mosquitto to compare with" >&2; exit 3; }
	exec env -C bench go run .
	;;
*)
	echo "usage: scripts/nested.sh crash|bench" >&2
	exit 2
	;;
esac
