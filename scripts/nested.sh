#!/usr/bin/env bash
# Runs the long forms that live in modules of their own: scripts/nested.sh crash|bench
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib.sh

export FAIRLEAD_BIN=$PWD/bin/fairlead
case ${1:-} in
crash)
	kills=${KILLS:-100}
	FAIRLEAD_CRASH_KILLS=$kills go test -C conformance -v -count=1 -run TestNothingAcknowledgedIsLost -timeout 60m ./crash
	FAIRLEAD_DEVICE_KILLS=$((10 * kills)) exec go test -C conformance -v -count=1 -run TestDeviceIsKilled -timeout 60m ./astartego
	;;
bench)
	need mosquitto mosquitto || { echo "bench: NOT RUN: there is no mosquitto to compare with" >&2; exit 3; }
	exec bench/run
	;;
*)
	echo "usage: scripts/nested.sh crash|bench" >&2
	exit 2
	;;
esac
