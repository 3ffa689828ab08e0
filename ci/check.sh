#!/bin/sh
# What CI runs, and what to run before handing in a change. Arguments go to `cargo xtask test`.
# One profile throughout, so that what two steps need is compiled once; the tests come last and close with their counts.
set -eu
cd "$(dirname "$0")/.."

step() {
    printf '\n== %s\n' "$*" >&2
    "$@"
}

step cargo fmt --all --check
step cargo clippy --release --locked --workspace --all-targets -- --deny warnings
step cargo xtask tidy
step cargo xtask spec --check
RUSTDOCFLAGS='--deny warnings' step cargo doc --release --locked --workspace --no-deps
step cargo xtask interop wires
step cargo xtask test --install "$@"
