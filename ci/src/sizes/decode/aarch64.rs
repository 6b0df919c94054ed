//! The instructions of aarch64 that matter for stacks.

use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction, Opcode, Operand};

use super::{Convention, Decode, Effect, Flow, Register, Step};

/// aarch64.
pub struct Aarch64;

/// Bytes of an instruction.
const BYTES: u64 = 4;

/// The number of the stack pointer, where an operand can be one.
const SP: u16 = 31;

/// SPSel, as the decoder numbers the fields of PSTATE: which of two registers is the stack pointer (C5.2.18).
const STACK_POINTER_SELECT: u8 = 0b000_101;

/// How far back the load lies from which a jump of a table is made.
const TABLE_DISTANCE: usize = 16;

impl Decode for Aarch64 {
    // The return address is in a register. x0 to x18 and x30: AAPCS64, section 6.1.1.
    const CONVENTION: Convention =
        Convention { call_bytes: 0, changes: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 30] };

    fn decode(code: &[u8], address: u64) -> Vec<Step> {
        let decoder = InstDecoder::default();
        let (mut steps, mut before) = (Vec::new(), Vec::new());
        for (word, address) in code.chunks(BYTES as usize).zip((address..).step_by(BYTES as usize)) {
            let bytes = word.len() as u64;
            let Ok(instruction) = decoder.decode(&mut U8Reader::new(word)) else {
                // Not every decoder's "unknown" is an instruction that runs: this one means to trap.
                let flow = if word == [0; BYTES as usize] { Flow::Stop } else { Flow::Unknown };
                steps.push(Step { address, bytes, effects: Vec::new(), flow, fills: false });
                continue;
            };
            let (effects, flow) = (effects(&instruction, address, &before), flow(&instruction, address, &before));
            steps.push(Step { address, bytes, effects, flow, fills: instruction.opcode == Opcode::HINT });
            before.push((address, instruction));
        }
        steps
    }
}

/// An instruction and where it lies.
type Placed = (u64, Instruction);

/// What an instruction does to the stack pointer and to the registers that may hold one.
fn effects(instruction: &Instruction, address: u64, before: &[Placed]) -> Vec<Effect> {
    use Opcode::{ADD, ADR, MSR, SUB, SUBS};
    match (instruction.opcode, &instruction.operands) {
        (ADD | SUB, [Operand::RegisterOrSP(_, to), Operand::RegisterOrSP(_, from), amount, _]) => {
            let distance = immediate(amount).map(|by| if instruction.opcode == SUB { by } else { -by });
            match (added(*to, *from, distance), page(before, *from), distance) {
                (None, Some(page), Some(by)) => vec![Effect::Address(*to as Register, page.wrapping_add_signed(-by))],
                (None, ..) => vec![Effect::Forget(*to as Register)],
                (Some(effect), ..) => vec![effect],
            }
        }
        (SUBS, [Operand::Register(_, SP), Operand::RegisterOrSP(_, SP), Operand::RegShift(_, 0, _, register), _]) => {
            vec![Effect::Meet(*register as Register)]
        }
        (ADR, [Operand::Register(_, to), Operand::PCOffset(offset), ..]) => {
            vec![Effect::Address(*to as Register, address.wrapping_add_signed(*offset))]
        }
        (MSR, [Operand::PstateField(STACK_POINTER_SELECT), ..]) => vec![Effect::Elsewhere],
        (_, operands) => others(instruction.opcode, operands),
    }
}

/// What becomes of the stack pointer, or of what is known of it, when `to` is set to what lies so many bytes below `from`.
fn added(to: u16, from: u16, distance: Option<i64>) -> Option<Effect> {
    match (to, from, distance) {
        (SP, SP, Some(by)) => Some(Effect::Deeper(by)),
        (SP, from, Some(by)) => Some(Effect::Take(from as Register, by)),
        (SP, _, None) => Some(Effect::Elsewhere),
        (to, SP, Some(by)) => Some(Effect::Keep(to as Register, by)),
        _ => None,
    }
}

/// The page that an `adrp` shortly before has put into a register.
fn page(before: &[Placed], register: u16) -> Option<u64> {
    let sets = |(_, one): &&Placed| matches!(one.operands[0], Operand::Register(_, to) if to == register);
    let (address, last) = before.iter().rev().take(TABLE_DISTANCE).find(sets)?;
    match (last.opcode, &last.operands[1]) {
        (Opcode::ADRP, Operand::PCOffset(offset)) => Some((address & !0xfff).wrapping_add_signed(*offset)),
        _ => None,
    }
}

fn immediate(operand: &Operand) -> Option<i64> {
    match operand {
        Operand::Immediate(value) => Some(i64::from(*value)),
        Operand::ImmShift(value, shift) => Some(i64::from(*value) << shift),
        _ => None,
    }
}

/// What is left: stores and loads that move the stack pointer, and whatever writes to a register.
fn others(opcode: Opcode, operands: &[Operand; 4]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for operand in operands {
        match operand {
            Operand::RegPreIndex(SP, offset, true) | Operand::RegPostIndex(SP, offset) => {
                effects.push(Effect::Deeper(-i64::from(*offset)));
            }
            Operand::RegPostIndexReg(SP, _) => effects.push(Effect::Elsewhere),
            Operand::RegPreIndex(base, _, true)
            | Operand::RegPostIndex(base, _)
            | Operand::RegPostIndexReg(base, _) => {
                effects.push(Effect::Forget(*base as Register));
            }
            _ => {}
        }
    }
    for operand in operands.iter().take(written(opcode)) {
        match operand {
            Operand::RegisterOrSP(_, SP) => effects.push(Effect::Elsewhere),
            Operand::Register(_, number) | Operand::RegisterOrSP(_, number) if *number != SP => {
                effects.push(Effect::Forget(*number as Register));
            }
            _ => {}
        }
    }
    effects
}

/// How many of its first operands an instruction may write to.
fn written(opcode: Opcode) -> usize {
    use Opcode::{
        B, BL, BLR, BR, CBNZ, CBZ, LDAXP, LDP, LDPSW, LDXP, MSR, RET, STLR, STLRB, STLRH, STP, STR, STRB, STRH, STTR,
        STTRB, STTRH, STUR, STURB, STURH, TBNZ, TBZ,
    };
    match opcode {
        STP | STR | STRB | STRH | STUR | STURB | STURH | STTR | STTRB | STTRH | STLR | STLRB | STLRH => 0,
        B | BL | BLR | BR | CBZ | CBNZ | TBZ | TBNZ | RET | MSR => 0,
        LDP | LDPSW | LDXP | LDAXP => 2,
        _ => 1,
    }
}

fn flow(instruction: &Instruction, address: u64, before: &[Placed]) -> Flow {
    use Opcode::{B, BL, BLR, BR, BRK, Bcc, CBNZ, CBZ, DRPS, ERET, HLT, RET, TBNZ, TBZ, UDF};
    let target = || {
        let offset = instruction.operands.iter().find_map(|operand| match operand {
            Operand::PCOffset(offset) => Some(*offset),
            _ => None,
        });
        offset.map(|offset| address.wrapping_add_signed(offset))
    };
    let register = match instruction.operands[0] {
        Operand::Register(_, number) => number,
        _ => SP,
    };
    match instruction.opcode {
        B => target().map_or(Flow::Unknown, Flow::Jump),
        BL => target().map_or(Flow::Unknown, Flow::Call),
        Bcc(_) | CBZ | CBNZ | TBZ | TBNZ => target().map_or(Flow::Unknown, Flow::Branch),
        BLR => Flow::CallThrough { text: format!("blr x{register}"), register: Some(register as Register) },
        BR => Flow::JumpThrough {
            text: format!("br x{register}"),
            register: Some(register as Register),
            table: is_of_table(register, before),
        },
        RET => Flow::Return,
        ERET | DRPS => Flow::Resume,
        UDF | BRK => Flow::Stop,
        // A request to a debugger or an emulator.
        HLT => Flow::Next,
        Opcode::Invalid => Flow::Unknown,
        _ => Flow::Next,
    }
}

/// Whether a jump is one of a table: `ldrh w9, [table, index, lsl #1]; add x8, base, x9, lsl #2; br x8`, in one piece. What only looks
/// like one is taken for a call, which a list has to explain: to err on this side hides nothing.
fn is_of_table(register: u16, before: &[Placed]) -> bool {
    use Opcode::{ADD, B, BL, BLR, BR, LDR, LDRB, LDRH, LDRSW, RET};
    let is_load = |(_, one): &Placed| {
        matches!(one.opcode, LDR | LDRB | LDRH | LDRSW)
            && one.operands.iter().any(|operand| matches!(operand, Operand::RegRegOffset(..)))
    };
    let goes_on = |(_, one): &&Placed| !matches!(one.opcode, B | BL | BLR | BR | RET);
    let sets = |(_, one): &&Placed| {
        let mut written = one.operands.iter().take(written(one.opcode));
        written.any(
            |operand| matches!(operand, Operand::Register(_, to) | Operand::RegisterOrSP(_, to) if *to == register),
        )
    };
    let mut near = before.iter().rev().take(TABLE_DISTANCE).take_while(goes_on);
    let adds = |(_, one): &Placed| one.opcode == ADD && matches!(one.operands[2], Operand::RegShift(..));
    near.find(sets).is_some_and(adds) && near.any(is_load)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The effects and the flow of an instruction.
    fn of(word: u32) -> (Vec<Effect>, Flow) {
        let step = Aarch64::decode(&word.to_le_bytes(), 0x1000).remove(0);
        (step.effects, step.flow)
    }

    #[test]
    fn what_moves_the_stack_pointer() {
        for (word, effects) in [
            (0xa9bd_7bfd, vec![Effect::Deeper(48)]), // stp x29, x30, [sp, #-48]!
            (0xf81f_0ffe, vec![Effect::Deeper(16)]), // str x30, [sp, #-16]!
            (0xa8c3_7bfd, vec![Effect::Deeper(-48), Effect::Forget(29), Effect::Forget(30)]), // ldp x29, x30, [sp], #48
            (0xf841_07fe, vec![Effect::Deeper(-16), Effect::Forget(30)]), // ldr x30, [sp], #16
            (0xd100_c3ff, vec![Effect::Deeper(48)]), // sub sp, sp, #48
            (0xd140_07ff, vec![Effect::Deeper(4096)]), // sub sp, sp, #1, lsl #12
            (0x9100_c3ff, vec![Effect::Deeper(-48)]), // add sp, sp, #48
            (0xcb29_63ff, vec![Effect::Elsewhere]),  // sub sp, sp, x9
            (0x9100_03fd, vec![Effect::Keep(29, 0)]), // mov x29, sp
            (0x9100_43fd, vec![Effect::Keep(29, -16)]), // add x29, sp, #16
            (0xd140_13e9, vec![Effect::Keep(9, 4 << 12)]), // sub x9, sp, #4, lsl #12
            (0xeb29_63ff, vec![Effect::Meet(9)]),    // cmp sp, x9
            (0x9100_03bf, vec![Effect::Take(29, 0)]), // mov sp, x29
            (0xd100_43bf, vec![Effect::Take(29, 16)]), // sub sp, x29, #16
            (0x9100_013f, vec![Effect::Take(9, 0)]), // mov sp, x9
            (0xaa1f_03fd, vec![Effect::Forget(29)]), // mov x29, xzr
            (0xd500_40bf, vec![Effect::Elsewhere]),  // msr spsel, #0
            (0xa900_7bfd, vec![]),                   // stp x29, x30, [sp]
            (0xf940_03e0, vec![Effect::Forget(0)]),  // ldr x0, [sp]
        ] {
            assert_eq!(of(word).0, effects, "{word:#x}");
        }
    }

    #[test]
    fn where_it_goes_on() {
        assert_eq!(of(0x9400_0004), (vec![], Flow::Call(0x1010)));
        assert_eq!(of(0x1400_0004).1, Flow::Jump(0x1010));
        assert_eq!(of(0x17ff_ffff).1, Flow::Jump(0xffc));
        assert_eq!(of(0x5400_0080).1, Flow::Branch(0x1010)); // b.eq
        assert_eq!(of(0xb400_0080).1, Flow::Branch(0x1010)); // cbz
        assert_eq!(of(0x3600_0080).1, Flow::Branch(0x1010)); // tbz
        assert_eq!(of(0xd63f_0120).1, Flow::CallThrough { text: "blr x9".into(), register: Some(9) });
        assert_eq!(of(0xd61f_0120).1, Flow::JumpThrough { text: "br x9".into(), register: Some(9), table: false });
        assert_eq!(of(0xd65f_03c0).1, Flow::Return);
        assert_eq!(of(0xd69f_03e0).1, Flow::Resume); // eret
        assert_eq!(of(0x0000_0000).1, Flow::Stop); // udf #0
        assert_eq!(of(0xd420_0020).1, Flow::Stop); // brk #1
        assert_eq!(of(0xd400_0001).1, Flow::Next); // svc #0
        assert_eq!(of(0xffff_ffff).1, Flow::Unknown);
    }

    #[test]
    fn jumps_of_tables_are_told_from_others() {
        // ldrh w10, [x9, x8, lsl #1]; add x11, x11, x10, lsl #2; br x11
        let code: Vec<u8> =
            [0x7868_792a_u32, 0x8b0a_096b, 0xd61f_0160].into_iter().flat_map(u32::to_le_bytes).collect();
        let last = Aarch64::decode(&code, 0).pop().expect("three instructions");
        // The same, with `ldr x11, [x1, #24]` before another jump: that is a method of a `dyn`.
        let call = [0xf940_0c2b_u32, 0xd61f_0160].into_iter().flat_map(u32::to_le_bytes);
        let other = Aarch64::decode(&code.iter().copied().chain(call).collect::<Vec<_>>(), 0).pop().expect("five");
        assert_eq!(other.flow, Flow::JumpThrough { text: "br x11".into(), register: Some(11), table: false });
        assert_eq!(last.flow, Flow::JumpThrough { text: "br x11".into(), register: Some(11), table: true });
    }
}
