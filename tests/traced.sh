#!/bin/sh
# What tests/count-*.sh share: the machine of `cargo xtask compare` for an architecture, traced one instruction at a
# time. To be sourced, with the architecture in $arch.
#
# Sets: qemu and machine (words), ended (the status of a guest that ends with 0), range (addresses that are traced),
# disassemble and addr2line (commands), counter (a pattern for the instruction that reads the counter), base (what is added to a
# kernel file's addresses: where the loader puts it).
#
# Its caller sets the one, and uses the others:
# shellcheck disable=SC2034,SC2154

case $arch in
x86_64)
    machine='-machine q35 -cpu max -device isa-debug-exit,iobase=0xf4,iosize=0x04'
    ended=33
    range=0x100000..0xfffffff
    disassemble='objdump -d'
    addr2line='addr2line'
    counter='rdtsc'
    base=0x200000
    ;;
aarch64)
    machine='-machine virt,dtb-randomness=off -cpu max,cntfrq=1000000000 -semihosting'
    ended=16
    range=0x40000000..0x4fffffff
    # The binutils of another architecture's system seldom know this one.
    disassemble='llvm-objdump -d'
    addr2line='llvm-addr2line'
    counter='mrs.*(pmccntr_el0|PMCCNTR_EL0)'
    base=0
    ;;
*)
    echo "unknown architecture: $arch; known: x86_64, aarch64" >&2
    exit 121
    ;;
esac
qemu=qemu-system-$arch

# One instruction at a time; newer QEMUs have another name for it.
if $qemu --help | grep -q -e '-singlestep'; then
    single='-accel tcg -singlestep'
else
    single='-accel tcg,one-insn-per-tb=on'
fi
machine="$machine $single -m 256M -nodefaults -no-user-config -display none -monitor none -no-reboot
    -icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm -d exec,nochain -dfilter $range"

# The addresses, as a trace has them, at which the function $2 of the kernel file $1 reads the counter.
reads_in() {
    $disassemble "$1" | awk -v name="$2" -v counter="$counter" '
        />:$/ { here = $0 ~ name }
        here && $0 ~ counter { sub(":", "", $1); print $1 }' |
        while read -r address; do printf '%016x\n' "$((base + 0x$address))"; done
}

# Says whether the two counts agree.
agree() {
    echo "traced from outside:    $1"
    echo "reported by the guest:  $2"
    for number in "$1" "$2"; do
        case $number in
        [1-9]*) ;;
        *) echo "one of them is missing" >&2 && exit 1 ;;
        esac
    done
    difference=$(($1 - $2))
    if [ "${difference#-}" -gt 2 ]; then
        echo "they do not agree" >&2
        exit 1
    fi
    echo "they agree to within 2"
}
