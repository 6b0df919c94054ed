#!/bin/sh
# Counts the instructions of yields from outside, with QEMU's trace of single instructions, and compares the number with
# the one that the guest itself reads from its counter, of which yield_insns is the mean. Then it says where they go. See
# docs/measuring.md.
#
#   tests/count-switch.sh [POLICY [ARCH]]     default: static x86_64
#
# It needs objdump and addr2line (aarch64: llvm-objdump, llvm-addr2line), and an image:
# cargo xtask image tests/guest/switch --policy POLICY --arch ARCH

set -eu

cd "$(dirname "$0")/.."
policy=${1:-static}
arch=${2:-x86_64}
# shellcheck source=tests/traced.sh
. tests/traced.sh
image=target/ebbtide/$arch/$policy/release/switch
for file in "$image" "$image.debug"; do
    if ! [ -f "$file" ]; then
        echo "there is no $file; first: cargo xtask image tests/guest/switch --policy $policy --arch $arch" >&2
        exit 1
    fi
done

# The guest reads its counter at two instructions of the function `yield_for`.
reads=$(reads_in "$image.debug" yield_for)
# shellcheck disable=SC2086 # words
set -- $reads
if [ $# -ne 2 ]; then
    echo "yield_for reads the counter $# times, not twice" >&2
    exit 1
fi

# The workload of `cargo xtask compare`, but only the yields, and fewer: every instruction is a line of the trace.
words='rounds=1000 others=10 preemptions=0'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkfifo "$folder/trace"

# A line `Trace` for each instruction that begins; what begins and is put off (for an interrupt or a device's clock) says
# so in a line of its own and begins once more. The function runs twice: first to warm up, then counted.
awk -F/ -v start="$1" -v end="$2" -v places="$folder/places" '
    $2 == start && before != start { runs++ }
    /^Trace/ { before = $2 }
    runs != 2 || done { next }
    $2 == end { done = 1; next }
    /^Trace/ { began++; times[$2]++ }
    /^Stopped|rewound/ { put_off++ }
    END {
        print done ? began - put_off : 0
        for (place in times) print place, times[place] >places
    }' "$folder/trace" >"$folder/traced" &
counting=$!
status=0
# shellcheck disable=SC2086 # words
timeout 120 $qemu $machine -serial "file:$folder/serial" -kernel "$image" -append "$words" >"$folder/trace" 2>&1 || status=$?
wait "$counting"
if [ "$status" -ne "$ended" ] || ! grep -q '^ebbtide: end code=0' "$folder/serial"; then
    echo "the run failed: QEMU ended with $status, the guest with: $(tail -n 1 "$folder/serial")" >&2
    exit 1
fi
agree "$(cat "$folder/traced")" "$(sed -n 's/^yields: \([0-9]*\) instructions.*/\1/p' "$folder/serial")"

# Each place belongs to the first of these steps that one of the functions in which it is inlined is part of.
switches=$(sed -n 's/^yields: .* in \([0-9]*\) switches.*/\1/p' "$folder/serial")
while read -r place times; do
    printf '%x %s\n' "$((0x$place - base))" "$times"
done <"$folder/places" | sort >"$folder/offsets"
echo "where they go, per switch:"
cut -d' ' -f1 "$folder/offsets" | $addr2line -a -f -i -C -e "$image.debug" | awk -v switches="$switches" -v offsets="$folder/offsets" '
    function count() {
        if (place == "") return
        for (i = 1; i <= steps; i++) if (chain ~ pattern[i]) { sum[i] += times[place]; return }
        sum[steps] += times[place]
    }
    function step(name, functions) { title[++steps] = name; pattern[steps] = functions }
    BEGIN {
        while ((getline line <offsets) > 0) { split(line, pair, " "); times[pair[1]] = pair[2] }
        step("second half: rest what lies below the saved stack pointer", "rest_below|::rest::|after_switch_out")
        step("first half: populate", "populate|before_switch_in|take_back")
        step("first half: what the next thread lacks, and is it there", "frames_to_switch_in|is_ready")
        step("run queue: take the next, put the last", "run_queue")
        step("move stack pointer and current", "/switch[.]rs")
        step("the loops that yield", "yield_for|partner")
        step("all else: registers, preemption count, interrupts", ".")
    }
    /^0x/ { count(); place = $0; sub(/^0x0*/, "", place); chain = ""; next }
    { chain = chain " " $0 }
    END { count(); for (i = 1; i <= steps; i++) printf "%8.2f  %s\n", sum[i] / switches, title[i] }'
