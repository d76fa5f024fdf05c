# Shortcuts for https://just.systems. Each recipe is one or two plain commands that work without
# `just`.

# List the recipes.
default:
    @just --list

# The fast lane: unit tests and a smoke test. About a minute once built; no root, no other programs.
fast:
    cargo test --locked --workspace --lib
    cargo test --locked --test it smoke::

# The full lane: every test. Tests that need root or a missing program are skipped, with a message.
full:
    cargo test --locked --workspace

# The full lane with cargo-nextest: a process and a time limit for each test.
nextest:
    cargo nextest run --locked --workspace --profile ci

# Lints and format, as the gate checks them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The gate: all checks that a change must pass.
gate:
    .ci/run

# Words in documents, comments, messages and names (.ci/words.txt), and spelling (needs codespell).
words *PATHS:
    .ci/words {{PATHS}}
    codespell {{PATHS}}
