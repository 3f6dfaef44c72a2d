#!/usr/bin/env bash
# Installs systemd-analyze, with which the unit of deploy/systemd is verified, where it
# is missing. Nothing of systemd is started.
set -euo pipefail

if command -v systemd-analyze >/dev/null; then exit 0; fi
if ! command -v apt-get >/dev/null; then
	echo "install-systemd: there is no systemd-analyze; run make test-deploy on a Linux with systemd" >&2
	exit 1
fi
root=()
if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi
echo "install-systemd: installing systemd with apt-get"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends systemd >/dev/null
