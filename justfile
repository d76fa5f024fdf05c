# Shortcuts for https://just.systems. Each recipe is one or two plain commands that work without `just`.

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

# The full lane by cargo-nextest: a process for each test, and a deadline.
nextest:
    cargo nextest run --locked --workspace --profile ci

# Lints and format, as the gate checks them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The gate: all that a change must pass.
gate:
    .ci/run

# The words of documents, comments, messages and names (.ci/words.txt), and spelling (takes codespell).
words *PATHS:
    .ci/words {{PATHS}}
    codespell {{PATHS}}
