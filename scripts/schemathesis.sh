#!/usr/bin/env bash
# Runs schemathesis with the given arguments. It is fetched once, with pinned hashes, and nothing is installed in the system.
# GOCLAW_SCHEMATHESIS_CACHE says where it is kept, by default /var/tmp/goclaw-schemathesis-$UID. Needs Python 3.11 or newer with pip.
set -euo pipefail

die() {
  echo "schemathesis: $*" >&2
  exit 1
}

requirements=$(cd "$(dirname "$0")/.." && pwd)/tests/fuzz/requirements.txt
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || die "Python 3.11 or newer is missing"
cache=${GOCLAW_SCHEMATHESIS_CACHE:-/var/tmp/goclaw-schemathesis-$UID}
# /var/tmp belongs to everybody: what somebody else put there, or could change, is not executed.
[ -d "$cache" ] || mkdir -p -m 755 "$cache"
[ -O "$cache" ] && [ ! -L "$cache" ] || die "$cache belongs to somebody else; set GOCLAW_SCHEMATHESIS_CACHE to a directory of your own"
[ -z "$(find "$cache" -maxdepth 0 -perm /022)" ] || die "others may write to $cache: chmod go-w it"

version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
installed=$cache/$version-$(sha256sum "$requirements" | cut -c1-16)
install() {
  local new
  python3 -m pip --version >/dev/null 2>&1 || die "Python has no pip (Debian, Ubuntu: apt-get install python3-pip)"
  echo "schemathesis: fetching it (20 MB, once)" >&2
  new=$(mktemp -d "$cache/new.XXXXXX")
  if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes --only-binary=:all: \
    --target "$new" --requirement "$requirements" >&2; then
    rm -rf "$new"
    die "it could not be fetched"
  fi
  mv "$new" "$installed"
}
# Two runs that start together fetch once.
exec 9>"$cache/lock"
flock 9
[ -d "$installed" ] || install
exec 9>&-

# Its hooks are found wherever it runs.
export PYTHONPATH=$installed:${requirements%/*} PYTHONDONTWRITEBYTECODE=1
exec python3 -m schemathesis.cli "$@"
