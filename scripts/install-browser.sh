#!/usr/bin/env bash
# Installs Chromium, with which the dashboard is tested, where it is missing.
set -euo pipefail

for program in chromium chromium-browser google-chrome; do
	if command -v "$program" >/dev/null; then exit 0; fi
done

if ! command -v apt-get >/dev/null; then
	echo "install-browser: install Chromium or Chrome with your package manager (program chromium or google-chrome in PATH)" >&2
	exit 1
fi
root=()
if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi
echo "install-browser: installing chromium with apt-get"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
