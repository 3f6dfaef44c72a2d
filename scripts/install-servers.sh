#!/usr/bin/env bash
# Installs what freshet's demo and tests need beside Go, where it is missing:
# the Postgres and Redis servers, and with --test the C compiler that Go's race
# detector links with, Node.js with npm, and the packages of cache/interop. Says
# nothing and changes nothing when all is there.
#
# Freshet starts servers of its own, in temporary folders. The packages' own
# services are therefore not left running: no Postgres cluster is created, and
# a Redis service that this script brought is switched off again.
set -euo pipefail

test=no
case "${1:-}" in
'') ;;
--test) test=yes ;;
*)
	echo "usage: $0 [--test]" >&2
	exit 2
	;;
esac

has() { command -v "$1" >/dev/null 2>&1; }

# Debian and Homebrew keep the server's programs outside PATH.
has_postgres() {
	local bin
	for bin in "${FRESHET_PG_BIN:-}" \
		"$(dirname "$(command -v initdb 2>/dev/null || echo /)")" \
		/usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
		/opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
		/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin; do
		if [ -n "$bin" ] && [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ]; then return 0; fi
	done
	return 1
}

has_redis() { [ -n "${FRESHET_REDIS_BIN:-}" ] || has redis-server || has valkey-server; }

# On macOS the race detector brings what it needs.
has_compiler() { [ "$(uname)" = Darwin ] || has "${CC:-gcc}" || has clang; }

# npm is needed only to bring the packages.
modules=$(cd "$(dirname "$0")/.." && pwd)/cache/interop
has_modules() { [ -f "$modules/node_modules/.package-lock.json" ] && [ ! "$modules/package-lock.json" -nt "$modules/node_modules/.package-lock.json" ]; }
has_node() { has node && { has npm || has_modules; }; }

missing=()
has_postgres || missing+=(postgres)
has_redis || missing+=(redis)
if [ "$test" = yes ]; then
	has_compiler || missing+=(compiler)
	has_node || missing+=(node)
fi

# The packages come last: npm may have to be installed first.
install_modules() {
	if [ "$test" = no ] || has_modules; then return; fi
	echo "install-servers: fetching the packages of cache/interop with npm"
	npm ci --prefix "$modules" --no-audit --no-fund --loglevel=error --ignore-scripts >/dev/null
}

if [ "${#missing[@]}" -eq 0 ]; then
	install_modules
	exit 0
fi

wants() {
	local m
	for m in "${missing[@]}"; do if [ "$m" = "$1" ]; then return 0; fi; done
	return 1
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif has sudo; then
		sudo "$@"
	else
		echo "install-servers: this needs root, and there is no sudo: $*" >&2
		exit 1
	fi
}

install_with_apt() {
	local packages=()
	if wants postgres; then packages+=(postgresql); fi
	if wants redis; then packages+=(redis-server); fi
	if wants compiler; then packages+=(gcc libc6-dev); fi
	if wants node; then packages+=(nodejs npm); fi
	echo "install-servers: installing ${packages[*]} with apt-get"

	# postgresql-common reads this folder while the server package is set up,
	# and the file is gone afterwards: later clusters are the owner's decision.
	local folder=/etc/postgresql-common/createcluster.d
	local drop_in=$folder/freshet.conf
	if wants postgres; then
		as_root mkdir -p "$folder"
		as_root sh -c "echo 'create_main_cluster = false' > $drop_in"
		# shellcheck disable=SC2064 # its value is meant now
		trap "as_root rm -f $drop_in" EXIT
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
	if wants redis && [ -d /run/systemd/system ]; then
		as_root systemctl disable --now --quiet redis-server.service
		echo "install-servers: switched redis-server's own service off; freshet starts servers of its own" \
			"(systemctl enable --now redis-server brings it back)"
	fi
}

install_with_brew() {
	local packages=()
	if wants postgres; then packages+=(postgresql@17); fi
	if wants redis; then packages+=(redis); fi
	if wants node; then packages+=(node); fi
	echo "install-servers: installing ${packages[*]} with brew"
	brew install --quiet "${packages[@]}"
}

if has apt-get; then
	install_with_apt
elif [ "$(uname)" = Darwin ] && has brew; then
	install_with_brew
else
	{
		echo "install-servers: missing: ${missing[*]}. Install with your package manager:"
		if wants postgres; then echo "  the PostgreSQL server, 15 or later (programs initdb and postgres; set FRESHET_PG_BIN to their folder if it is unusual)"; fi
		if wants redis; then echo "  the Redis server, 6.2 or later, or Valkey (program redis-server or valkey-server in PATH)"; fi
		if wants compiler; then echo "  a C compiler, for Go's race detector (program gcc)"; fi
		if wants node; then echo "  Node.js, 14 or later, with npm (programs node and npm)"; fi
	} >&2
	exit 1
fi

if ! has_postgres || ! has_redis || { [ "$test" = yes ] && { ! has_compiler || ! has_node; }; }; then
	echo "install-servers: installed, but the programs are still not found: see FRESHET_PG_BIN and FRESHET_REDIS_BIN" >&2
	exit 1
fi
install_modules
