#!/bin/sh
# Counts the instructions of yields from outside, with QEMU's trace of single instructions, and compares the number with
# the one that the guest itself reads from its counter, of which yield_insns is the mean. Then it says where they go. See
# docs/measuring.md.
#
#   tests/count-switch.sh [POLICY]     default: static
#
# It needs objdump and addr2line, and an image: cargo xtask image tests/guest/switch --policy POLICY

set -eu

cd "$(dirname "$0")/.."
policy=${1:-static}
image=target/ebbtide/x86_64/$policy/release/switch
for file in "$image" "$image.debug"; do
    if ! [ -f "$file" ]; then
        echo "there is no $file; first: cargo xtask image tests/guest/switch --policy $policy" >&2
        exit 1
    fi
done

# The guest reads its counter at the two `rdtsc` of the function `yield_for` (the loader puts the kernel at 0x200000, and
# the file's addresses count from there).
reads=$(objdump -d "$image.debug" | awk '/>:$/ { here = /yield_for/ } here && /rdtsc/ { sub(":", "", $1); print $1 }')
# shellcheck disable=SC2086 # words
set -- $reads
if [ $# -ne 2 ]; then
    echo "yield_for reads the counter $# times, not twice" >&2
    exit 1
fi
start=$(printf '%016x' "$((0x200000 + 0x$1))")
end=$(printf '%016x' "$((0x200000 + 0x$2))")

# One instruction at a time; newer QEMUs have another name for it.
if qemu-system-x86_64 --help | grep -q -e '-singlestep'; then
    single='-accel tcg -singlestep'
else
    single='-accel tcg,one-insn-per-tb=on'
fi
# The machine of `cargo xtask compare`, and its workload, but only the yields, and fewer: every instruction is a line of the trace.
machine='-machine q35 -cpu max -m 256M -nodefaults -no-user-config -display none -monitor none -no-reboot
    -device isa-debug-exit,iobase=0xf4,iosize=0x04 -icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm'
words='rounds=1000 others=10 preemptions=0'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkfifo "$folder/trace"

# A line `Trace` for each instruction that begins; what begins and is put off (for an interrupt or a device's clock) says
# so in a line of its own and begins once more. The function runs twice: first to warm up, then counted.
awk -F/ -v start="$start" -v end="$end" -v places="$folder/places" '
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
counter=$!
status=0
# shellcheck disable=SC2086 # words
timeout 120 qemu-system-x86_64 $machine $single -serial "file:$folder/serial" -kernel "$image" -append "$words" \
    -d exec,nochain -dfilter 0x100000..0xfffffff >"$folder/trace" 2>&1 || status=$?
wait "$counter"
if [ "$status" -ne 33 ] || ! grep -q '^ebbtide: end code=0' "$folder/serial"; then
    echo "the run failed: QEMU ended with $status, the guest with: $(tail -n 1 "$folder/serial")" >&2
    exit 1
fi
traced=$(cat "$folder/traced")
reported=$(sed -n 's/^yields: \([0-9]*\) instructions.*/\1/p' "$folder/serial")

echo "traced from outside:    $traced"
echo "reported by the guest:  $reported"
for number in "$traced" "$reported"; do
    case $number in
    [1-9]*) ;;
    *) echo "one of them is missing" >&2; exit 1 ;;
    esac
done
difference=$((traced - reported))
if [ "${difference#-}" -gt 2 ]; then
    echo "they do not agree" >&2
    exit 1
fi
echo "they agree to within 2"

# Each place belongs to the first of these steps that one of the functions in which it is inlined is part of.
switches=$(sed -n 's/^yields: .* in \([0-9]*\) switches.*/\1/p' "$folder/serial")
while read -r place times; do
    printf '%x %s\n' "$((0x$place - 0x200000))" "$times"
done <"$folder/places" | sort >"$folder/offsets"
echo "where they go, per switch:"
cut -d' ' -f1 "$folder/offsets" | addr2line -a -f -i -C -e "$image.debug" | awk -v switches="$switches" -v offsets="$folder/offsets" '
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
