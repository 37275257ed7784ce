#!/bin/sh -e
# Builds the test modules into a folder, or here. Debian 12: clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32.
out=$(realpath "${1:-$(dirname "$0")}"); cd "$(dirname "$0")"
for c in *.c; do clang-14 --target=wasm32-wasi --sysroot=/usr -O2 -s -o "$out/${c%.c}.wasm" "$c"; done
