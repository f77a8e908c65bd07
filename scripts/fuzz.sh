#!/usr/bin/env bash
# Fuzzes each target for a while with libFuzzer. `fuzz.sh --help` says how to use it.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: fuzz.sh [--seconds N] [TARGET...]

Builds the targets below fuzz/ with coverage counters and runs each for N seconds (60), one after the other. Ends with 1 if
one fails; the input that did it is then below fuzz/artifacts/. Inputs that reach new code are kept below fuzz/found/.

Works with the stable compiler: cargo-fuzz is not needed, but can be used just as well. Needs a C++ compiler for libFuzzer.
TEXT
}

seconds=60 targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) [ $# -ge 2 ] || { usage >&2; exit 2; }; seconds=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
command -v c++ >/dev/null || { echo 'fuzz: a C++ compiler is missing (Debian, Ubuntu: apt-get install g++)' >&2; exit 1; }

host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz passes, but for the sanitizer: that needs a nightly compiler and looks for faults that only unsafe code has.
# With --target the flags stay away from build scripts and macros.
flags=(
  --cfg fuzzing -C passes=sancov-module
  -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters
  -C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares
)
bins=()
for target in "${targets[@]}"; do bins+=(--bin "$target"); done
RUSTFLAGS="${flags[*]}" cargo build --manifest-path fuzz/Cargo.toml --locked --release --target "$host" "${bins[@]}"

failed=()
for target in "${targets[@]}"; do
  mkdir -p "fuzz/artifacts/$target" "fuzz/found/$target"
  echo "== $target"
  "fuzz/target/$host/release/$target" "fuzz/found/$target" "fuzz/corpus/$target" \
    -max_total_time="$seconds" -timeout=20 -max_len=65536 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" || failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || { echo "fuzz: failed: ${failed[*]}" >&2; exit 1; }
