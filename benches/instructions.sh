#!/usr/bin/env bash
# Counts the instructions that tlsink executes for each record and for each decoded byte. Other load
# on the machine does not move the counts, so a change that makes either path longer shows at once:
#
#     git switch --detach main && benches/instructions.sh >before
#     git switch -             && benches/instructions.sh >after
#     diff before after
#
# The same sources and the same compiler give the same counts, to within a few in a thousand.
# Instructions are not time: they do not show waits for memory, work of the kernel, and AES
# instructions that wait for each other. This needs x86_64 and valgrind.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v valgrind >/dev/null; then
    echo 'valgrind is not installed' >&2
    exit 1
fi

program=$(cargo bench --locked --no-run --bench instructions --message-format=json |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')

# Prints the number of instructions for each unit, of which the program prints the number.
count() {
    local said units
    said=$(mktemp)
    units=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect='*measured*' "$program" "$@" 2>"$said")
    awk -v what="$*" -v unit="$1" -v units="$units" '
        $2 == "Collected" { instructions = $4 }
        END {
            if (!instructions) exit 1
            sub(/ [0-9]+$/, "", what)
            sub(/s$/, "", unit)
            if (unit == "decode") unit = "decoded byte"
            printf "%-24s %12.3f instructions per %s\n", what, instructions / units, unit
        }' "$said" || { cat "$said" >&2; exit 1; }
    rm "$said"
}

count records 128 raw 20000
count records 128 lines 20000
count records 16384 raw 1000
count records 16384 lines 1000
for format in plain gzip zlib deflate zstd qt; do
    count decode "$format" 8388608
done
