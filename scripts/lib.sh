# shellcheck shell=bash
# Shared by the scripts: what a machine lacks is installed where that is possible, and remembered where it is not.

missing=() # what could not be run, with the reason

not_run() { missing+=("$1 (${2:-no reason given})"); }

report_not_run() {
	local what
	for what in "${missing[@]}"; do
		echo "NOT RUN: $what"
	done
}

# need COMMAND PACKAGES... tells whether a command is there, after trying to install it from the Debian packages.
need() {
	command -v "$1" >/dev/null || { install_packages "${@:2}" && command -v "$1" >/dev/null; }
}

# install_packages PACKAGES... installs Debian packages, which takes Debian and root.
install_packages() {
	command -v apt-get >/dev/null && ((EUID == 0)) || return 1
	echo "==> installing $*"
	if [[ -z ${apt_updated:-} ]]; then
		apt-get update -qq >/dev/null 2>&1
		apt_updated=1
	fi
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}
