# Sourced by the scripts of this folder: messages, the cache, building once.
#
# What takes minutes to build (Wasmtime, the test control plane) lives outside
# the checkout, in a cache that all checkouts of a user share. An entry is named
# after the content of what it is built from, appears complete or not at all,
# and is never changed afterwards; so it may be used without asking anybody.
#
# stdout belongs to results (a path, a line of counts), stderr to messages.
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly progress_every_s=10 # at most 15 between two lines
readonly log_tail_lines=30   # of a log, where a step failed

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

# cache_dir: prints the cache's folder, made if absent.
cache_dir() {
    local dir=${ROOST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roost}
    mkdir -p "$dir/logs"
    printf '%s\n' "$dir"
}

# key_of FILE...: 16 hex digits naming the content of these files (paths
# relative to the checkout).
key_of() {
    (cd "$root" && sha256sum -- "$@" | sha256sum | cut -c1-16)
}

# clock SECONDS: prints 3:07.
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# version_at_least HAVE WANT
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# lock_cache NAME: waits for and takes the lock of one kind of entry until this
# process ends; fd 9 holds it, and children are started without it.
lock_cache() {
    exec 9>"$(cache_dir)/$1.lock"
    flock -n 9 && return
    say "$1: waiting for another process that builds it"
    flock 9
}

# report_progress LABEL LOG PATTERN TOTAL UNIT: until it is killed or the script
# is gone, a line every few seconds: time, and how many lines of LOG match
# PATTERN, of TOTAL (0: unknown). Its sleep may outlive it, so it holds no pipe.
report_progress() {
    local begin=$SECONDS n of=""
    [ "$4" -gt 0 ] && of=" of $4"
    while sleep "$progress_every_s" >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        n=$(grep -cE "$3" "$2" || true)
        say "  $1: $(clock $((SECONDS - begin))), $n$of $5"
    done
}

# run_logged LABEL LOG PATTERN TOTAL UNIT -- COMMAND...: runs COMMAND with its
# output in LOG and progress on stderr; shows LOG's end where it fails.
run_logged() {
    local label=$1 log=$2 begin=$SECONDS rc=0 reporter
    : >"$log"
    report_progress "$1" "$2" "$3" "$4" "$5" >/dev/null 9>&- &
    reporter=$!
    shift 6
    "$@" >>"$log" 2>&1 9>&- || rc=$?
    kill "$reporter" 2>/dev/null || true
    wait "$reporter" 2>/dev/null || true
    if [ "$rc" -ne 0 ]; then
        tail -n "$log_tail_lines" "$log" >&2
        say "$label: failed after $(clock $((SECONDS - begin))); the whole log: $log"
        return "$rc"
    fi
    say "  $label: done in $(clock $((SECONDS - begin)))"
}

# configure BUILD_DIR CMAKE_ARGUMENT...
configure() {
    cmake -S "$root" -B "$1" -G Ninja "${@:2}" >&2
}

configure_and_build() {
    configure "$@" && cmake --build "$1" --parallel "$(nproc)" >&2
}

# build_release BUILD_DIR [TARGET...]: set-up and all. Configuring says something
# only where it fails.
build_release() {
    local targets=()
    [ $# -eq 1 ] || targets=(--target "${@:2}")
    "$root/scripts/setup" build
    say "Building Roost in ${1#"$root/"}"
    mkdir -p "$1"
    configure "$1" -DCMAKE_BUILD_TYPE=Release >/dev/null 2>"$1.log" ||
        { cat "$1.log" >&2 && die "cmake failed"; }
    cmake --build "$1" --parallel "$(nproc)" "${targets[@]}" >&2
}

# private_tmp: temporary files go to a folder that ends with this script, since a test that is
# killed cannot tidy up. Short, because tests bind Unix sockets below it; and on a disk, since what
# must be read anew has to leave the page cache first, which a tmpfs cannot do.
private_tmp() {
    private_tmp_dir=$(mktemp -d "${TMPDIR:-/var/tmp}/roost-tests.XXXXXX")
    trap 'rm -rf -- "$private_tmp_dir"' EXIT
    export TMPDIR=$private_tmp_dir
}

# left_behind: says what the tests did not remove from there; one failure more.
left_behind() {
    local left
    left=$(ls -A "$private_tmp_dir")
    [ -n "$left" ] || return 0
    say "left in \$TMPDIR by tests: ${left//$'\n'/ }"
    failed=$((failed + 1))
}

# run_ctest BUILD_DIR: adds to $passed and $failed. A test that was skipped or
# did not run has failed.
run_ctest() {
    local report=$1/ctest.xml tests good run=(ctest)
    rm -f "$report"
    # ThreadSanitizer's shadow memory needs the address space as it used to be.
    setarch "$(uname -m)" -R true 2>/dev/null && run=(setarch "$(uname -m)" -R ctest)
    "${run[@]}" --test-dir "$1" --output-on-failure --no-tests=error -j2 --output-junit "$report" </dev/null >&2 || true
    tests=$(grep -c '<testcase ' "$report" 2>/dev/null || true)
    good=$(grep -c '<testcase .*status="run"' "$report" 2>/dev/null || true)
    if [ "${tests:-0}" -eq 0 ]; then
        say "ctest: no test was run"
        tests=1 good=0
    fi
    passed=$((passed + good)) failed=$((failed + tests - good))
}
