#!/bin/sh -e
# Builds the test modules. Debian 12: clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32.
cd "$(dirname "$0")"
for c in *.c; do clang-14 --target=wasm32-wasi --sysroot=/usr -O2 -s -o "${c%.c}.wasm" "$c"; done; chmod -x *.wasm
