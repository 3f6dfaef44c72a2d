#!/usr/bin/env bash
# Fuzzes every fuzz target of the given packages for the given time each; `go
# test -fuzz` takes one target at a time. Usage: fuzz.sh 10s ./...
set -euo pipefail

time=$1
shift
found=no
while read -r package; do
	# Only packages with a target are built.
	folder=$(go list -f '{{.Dir}}' "$package")
	while read -r target; do
		found=yes
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done < <(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$folder"/*_test.go 2>/dev/null || true)
done < <(go list "$@")

if [ "$found" = no ]; then
	echo "fuzz: no fuzz target in $*" >&2
	exit 1
fi
