#!/bin/sh
# Counts the instructions of a boot from outside, with QEMU's trace of single instructions, and compares the number with
# what the guest itself reports as boot_insns. See docs/measuring.md.
#
#   tests/count-boot.sh [ARCH]    needs objdump (aarch64: llvm-objdump), and an image:
#                                 cargo xtask image hello --policy reclaim-on-sleep [--arch ARCH]

set -eu

cd "$(dirname "$0")/.."
arch=${1-x86_64}
# shellcheck source=tests/traced.sh
. tests/traced.sh
image=target/ebbtide/$arch/reclaim-on-sleep/release/hello

# Where the loader reads the counter: at the start of the ELF file, or in the first instructions of the flat image, which
# no disassembler takes.
case $arch in
x86_64) start=$(objdump -f "$image" | sed -n 's/^start address:* *0x0*\(.*\)/0x\1/p') ;;
aarch64)
    word=$(od -An -v -tx4 -w4 -N 512 "$image" | grep -n 'd53b9d' | head -n 1)
    start=$((0x40080000 + 4 * (${word%%:*} - 1)))
    ;;
esac
start=$(printf '%016x' "$start")
main=$(reads_in "$image.debug" __ebbtide_main | head -n 1)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# A line `Trace` for each instruction that begins; what begins and is put off (for an interrupt or a device's clock) says
# so in a line of its own and begins once more.
status=0
# shellcheck disable=SC2086 # words
timeout 120 $qemu $machine -serial "file:$folder/serial" -kernel "$image" -append record >"$folder/trace" 2>&1 || status=$?
if [ "$status" -ne "$ended" ] || ! grep -q '^ebbtide: end code=0' "$folder/serial"; then
    echo "the boot failed: QEMU ended with $status, the guest with: $(tail -n 1 "$folder/serial")" >&2
    exit 1
fi
agree "$(awk -F/ -v start="$start" -v main="$main" '
    $2 == start { on = 1 }
    !on || done { next }
    /^Trace/ { began++ }
    /^Stopped|rewound/ { put_off++ }
    $2 == main { done = 1 }
    END { print done ? began - put_off - 1 : 0 }' "$folder/trace")" \
    "$(sed -n 's/.*boot_insns=\([0-9]*\).*/\1/p' "$folder/serial")"
