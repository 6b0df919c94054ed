#!/bin/sh
# Counts the instructions of a boot from outside, with QEMU's trace of single instructions, and compares the number with
# what the guest itself reports as boot_insns. See docs/measuring.md.
#
#   tests/count-boot.sh           needs objdump, and an image: cargo xtask image hello --policy reclaim-on-sleep

set -eu

cd "$(dirname "$0")/.."
image=target/ebbtide/x86_64/reclaim-on-sleep/release/hello

# The two instructions at which the guest reads its counter: the loader's first, and `main`'s first `rdtsc` (the loader
# puts the kernel at 0x200000, and the file's addresses count from there).
start=$(objdump -f "$image" | sed -n 's/^start address:* *0x0*\(.*\)/\1/p')
main=$(objdump -d "$image.debug" | awk '/>:$/ { here = /<__ebbtide_main>/ } here && /rdtsc/ { sub(":", "", $1); print $1; exit }')
start=$(printf '%016x' "0x$start")
main=$(printf '%016x' "$((0x200000 + 0x$main))")

# One instruction at a time; newer QEMUs have another name for it.
if qemu-system-x86_64 --help | grep -q -e '-singlestep'; then
    single='-accel tcg -singlestep'
else
    single='-accel tcg,one-insn-per-tb=on'
fi
# The machine of `cargo xtask compare`.
machine='-machine q35 -cpu max -m 256M -nodefaults -no-user-config -display none -monitor none -no-reboot
    -device isa-debug-exit,iobase=0xf4,iosize=0x04 -icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm'

serial=$(mktemp)
trap 'rm -f "$serial"' EXIT

# A line `Trace` for each instruction that begins; what begins and is put off (for an interrupt or a device's clock) says
# so in a line of its own and begins once more.
trace=$(mktemp)
trap 'rm -f "$serial" "$trace"' EXIT
status=0
# shellcheck disable=SC2086 # words
timeout 120 qemu-system-x86_64 $machine $single -serial "file:$serial" -kernel "$image" -append record \
    -d exec,nochain -dfilter 0x100000..0xfffffff >"$trace" 2>&1 || status=$?
if [ "$status" -ne 33 ] || ! grep -q '^ebbtide: end code=0' "$serial"; then
    echo "the boot failed: QEMU ended with $status, the guest with: $(tail -n 1 "$serial")" >&2
    exit 1
fi
traced=$(awk -F/ -v start="$start" -v main="$main" '
    $2 == start { on = 1 }
    !on || done { next }
    /^Trace/ { began++ }
    /^Stopped|rewound/ { put_off++ }
    $2 == main { done = 1 }
    END { print done ? began - put_off - 1 : 0 }' "$trace")
reported=$(sed -n 's/.*boot_insns=\([0-9]*\).*/\1/p' "$serial")

echo "traced from outside:    $traced"
echo "reported by the guest:  $reported"
for number in "$traced" "$reported"; do
    case $number in
    [1-9]*) ;;
    *) echo "one of them is missing" >&2; exit 1 ;;
    esac
done
difference=$((traced - reported))
[ "${difference#-}" -le 2 ] && echo "they agree to within 2"
