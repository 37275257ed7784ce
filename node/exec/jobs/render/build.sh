#!/bin/sh -e
# Builds render.wasm, bit for bit. Debian 12: clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32.
cd "$(dirname "$0")"
exec clang-14 --target=wasm32-wasi --sysroot=/usr -std=c11 -Wall -Wextra -O2 -ffp-contract=off -s -o "${1:-render.wasm}" render.c
