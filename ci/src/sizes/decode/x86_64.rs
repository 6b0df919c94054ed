//! The instructions of x86_64 that matter for stacks.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory, IntelFormatter,
    Mnemonic, OpAccess, OpKind, Register as Reg,
};

use super::{Convention, Decode, Effect, Flow, Register, Step};

/// x86_64.
pub struct X86_64;

/// How far back the load lies from which a jump of a table is made.
const TABLE_DISTANCE: usize = 16;

impl Decode for X86_64 {
    // rax, rcx, rdx, rsi, rdi, r8 to r11: System V ABI, figure 3.4.
    const CONVENTION: Convention = Convention { call_bytes: 8, changes: &[0, 1, 2, 6, 7, 8, 9, 10, 11] };

    fn decode(code: &[u8], address: u64) -> Vec<Step> {
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut factory = InstructionInfoFactory::new();
        let (mut steps, mut before) = (Vec::new(), Vec::new());
        while decoder.can_decode() {
            let instruction = decoder.decode();
            steps.push(Step {
                address: instruction.ip(),
                bytes: instruction.len() as u64,
                effects: effects(&instruction, &mut factory),
                flow: flow(&instruction, &before),
                fills: matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3),
            });
            before.push(instruction);
        }
        steps
    }
}

/// What an instruction does to the stack pointer and to the registers that may hold one.
fn effects(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Vec<Effect> {
    use Mnemonic::{Add, And, Call, Cmp, Enter, Int1, Int3, Lea, Leave, Mov, Pop, Ret, Sub, Syscall, Test};
    if instruction.is_invalid() {
        return Vec::new();
    }
    let (first, second) = (instruction.op0_register(), instruction.op1_register());
    let immediate = || instruction.try_immediate(1).ok().map(|value| value as i64);
    match instruction.mnemonic() {
        Call | Ret | Int1 | Int3 | Syscall => Vec::new(),
        Leave => vec![Effect::Take(number(Reg::RBP), 0), Effect::Deeper(-8), Effect::Forget(number(Reg::RBP))],
        Enter => vec![Effect::Elsewhere],
        Pop if first == Reg::RSP => vec![Effect::Elsewhere],
        Sub if first == Reg::RSP => vec![immediate().map_or(Effect::Elsewhere, Effect::Deeper)],
        Add if first == Reg::RSP => vec![immediate().map_or(Effect::Elsewhere, |bytes| Effect::Deeper(-bytes))],
        // Rounds down, by less than the alignment.
        And if first == Reg::RSP => match immediate() {
            Some(mask @ ..=-1) => vec![Effect::Deeper(-mask - 1)],
            _ => vec![Effect::Elsewhere],
        },
        Cmp | Test if first == Reg::RSP && second != Reg::None => vec![Effect::Meet(number(second))],
        Cmp | Test if second == Reg::RSP && first != Reg::None => vec![Effect::Meet(number(first))],
        Mov if first == Reg::RSP && is_general(second) => vec![Effect::Take(number(second), 0)],
        Mov if is_general(first) && first != Reg::RSP && instruction.is_ip_rel_memory_operand() => {
            vec![Effect::Load(number(first), instruction.ip_rel_memory_address())]
        }
        Mov if second == Reg::RSP && is_general(first) => vec![Effect::Keep(number(first), 0)],
        Lea if instruction.is_ip_rel_memory_operand() && first != Reg::RSP => {
            vec![Effect::Address(number(first), instruction.ip_rel_memory_address())]
        }
        Lea if is_plain(instruction) && first == Reg::RSP => match instruction.memory_base() {
            Reg::RSP => vec![Effect::Deeper(-displacement(instruction))],
            base if is_general(base) => vec![Effect::Take(number(base), -displacement(instruction))],
            _ => vec![Effect::Elsewhere],
        },
        Lea if is_plain(instruction) && instruction.memory_base() == Reg::RSP => {
            vec![Effect::Keep(number(first), -displacement(instruction))]
        }
        _ => others(instruction, factory),
    }
}

/// What is left: pushes and pops, and whatever writes to a register.
fn others(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Vec<Effect> {
    let mut effects = Vec::new();
    let info = factory.info(instruction);
    let written = |used: &&iced_x86::UsedRegister| {
        matches!(used.access(), OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
    };
    let is_push_or_pop = instruction.is_stack_instruction() && instruction.stack_pointer_increment() != 0;
    if is_push_or_pop {
        effects.push(Effect::Deeper(-i64::from(instruction.stack_pointer_increment())));
    }
    for used in info.used_registers().iter().filter(written) {
        match used.register().full_register() {
            Reg::RSP if is_push_or_pop && instruction.op0_register() != Reg::RSP => {}
            Reg::RSP => effects.push(Effect::Elsewhere),
            register if is_general(register) => effects.push(Effect::Forget(number(register))),
            _ => {}
        }
    }
    effects
}

fn is_general(register: Reg) -> bool {
    register.is_gpr64()
}

fn number(register: Reg) -> Register {
    register.full_register().number() as Register
}

/// Whether a memory operand is a register and a distance.
fn is_plain(instruction: &Instruction) -> bool {
    instruction.memory_index() == Reg::None
}

fn displacement(instruction: &Instruction) -> i64 {
    instruction.memory_displacement64() as i64
}

fn flow(instruction: &Instruction, before: &[Instruction]) -> Flow {
    match instruction.flow_control() {
        FlowControl::Next | FlowControl::Interrupt => Flow::Next,
        FlowControl::UnconditionalBranch => Flow::Jump(instruction.near_branch_target()),
        FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
            Flow::Branch(instruction.near_branch_target())
        }
        FlowControl::Call if matches!(instruction.code(), Code::Syscall | Code::Sysenter) => Flow::Next,
        FlowControl::Call if instruction.op0_kind() == OpKind::NearBranch64 => {
            Flow::Call(instruction.near_branch_target())
        }
        FlowControl::IndirectCall if instruction.is_ip_rel_memory_operand() => {
            Flow::CallAt(instruction.ip_rel_memory_address())
        }
        FlowControl::Call | FlowControl::IndirectCall => {
            Flow::CallThrough { text: text(instruction), register: register(instruction) }
        }
        FlowControl::IndirectBranch if instruction.is_ip_rel_memory_operand() => {
            Flow::JumpAt(instruction.ip_rel_memory_address())
        }
        FlowControl::IndirectBranch => Flow::JumpThrough {
            text: text(instruction),
            register: register(instruction),
            table: is_of_table(instruction, before),
        },
        FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => Flow::Return,
        // To another code segment, which need not be another privilege level's: `push cs; push address; retf`.
        FlowControl::Return if instruction.mnemonic() == Mnemonic::Retf => {
            Flow::JumpThrough { text: text(instruction), register: None, table: false }
        }
        FlowControl::Return => Flow::Resume,
        FlowControl::Exception if instruction.is_invalid() => Flow::Unknown,
        FlowControl::Exception => Flow::Stop,
    }
}

/// The register that holds where a call or jump goes.
fn register(instruction: &Instruction) -> Option<Register> {
    (instruction.op0_kind() == OpKind::Register).then(|| number(instruction.op0_register()))
}

/// Whether a jump is one of a table: `movsxd r, [base + index * 4]; add r, base; jmp r`, in one piece. What only looks like one is
/// taken for a call, which a list has to explain: to err on this side hides nothing.
fn is_of_table(jump: &Instruction, before: &[Instruction]) -> bool {
    if jump.op0_kind() != OpKind::Register {
        return false;
    }
    let is_load = |one: &Instruction| {
        one.mnemonic() == Mnemonic::Movsxd
            && one.op1_kind() == OpKind::Memory
            && one.memory_index() != Reg::None
            && one.memory_index_scale() == 4
    };
    let goes_on = |one: &&Instruction| matches!(one.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
    let target = jump.op0_register();
    let sets = |one: &&Instruction| {
        one.op0_register().full_register() == target
            && !matches!(one.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push)
    };
    let mut near = before.iter().rev().take(TABLE_DISTANCE).take_while(goes_on);
    near.find(sets).is_some_and(|last| last.mnemonic() == Mnemonic::Add) && near.any(is_load)
}

fn text(instruction: &Instruction) -> String {
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The effects and the flow of the first instruction of these bytes.
    fn of(code: &[u8]) -> (Vec<Effect>, Flow) {
        let step = X86_64::decode(code, 0x1000).remove(0);
        (step.effects, step.flow)
    }

    const RBP: Register = 5;
    const R11: Register = 11;

    #[test]
    fn what_moves_the_stack_pointer() {
        for (code, effects) in [
            (&[0x55][..], vec![Effect::Deeper(8)]),                         // push rbp
            (&[0x6a, 0x00], vec![Effect::Deeper(8)]),                       // push 0
            (&[0x5d], vec![Effect::Deeper(-8), Effect::Forget(RBP)]),       // pop rbp
            (&[0x48, 0x83, 0xec, 0x28], vec![Effect::Deeper(0x28)]),        // sub rsp, 0x28
            (&[0x48, 0x81, 0xec, 0, 1, 0, 0], vec![Effect::Deeper(0x100)]), // sub rsp, 0x100
            (&[0x48, 0x83, 0xec, 0x80], vec![Effect::Deeper(-0x80)]),       // sub rsp, -0x80
            (&[0x48, 0x83, 0xc4, 0x28], vec![Effect::Deeper(-0x28)]),       // add rsp, 0x28
            (&[0x48, 0x83, 0xe4, 0xc0], vec![Effect::Deeper(63)]),          // and rsp, -64
            (&[0x48, 0x29, 0xc4], vec![Effect::Elsewhere]),                 // sub rsp, rax
            (&[0x48, 0x8b, 0x67, 0x08], vec![Effect::Elsewhere]),           // mov rsp, [rdi + 8]
            (&[0x5c], vec![Effect::Elsewhere]),                             // pop rsp
            (&[0x48, 0x89, 0xe5], vec![Effect::Keep(RBP, 0)]),              // mov rbp, rsp
            (&[0x48, 0x89, 0xec], vec![Effect::Take(RBP, 0)]),              // mov rsp, rbp
            (&[0x48, 0x8d, 0x65, 0xd8], vec![Effect::Take(RBP, 0x28)]),     // lea rsp, [rbp - 0x28]
            (&[0x4c, 0x8d, 0x9c, 0x24, 0, 0xc0, 0xff, 0xff], vec![Effect::Keep(R11, 0x4000)]), // lea r11, [rsp - 0x4000]
            (&[0x4c, 0x39, 0xdc], vec![Effect::Meet(R11)]),                                    // cmp rsp, r11
            (&[0x31, 0xed], vec![Effect::Forget(RBP)]),                                        // xor ebp, ebp
            (&[0x48, 0x8d, 0x05, 9, 0, 0, 0], vec![Effect::Address(0, 0x1010)]),               // lea rax, [rip + 9]
            (&[0x4c, 0x8b, 0x25, 9, 0, 0, 0], vec![Effect::Load(12, 0x1010)]),                 // mov r12, [rip + 9]
            (&[0x48, 0x89, 0x04, 0x24], vec![]),                                               // mov [rsp], rax
        ] {
            assert_eq!(of(code).0, effects, "{code:x?}");
        }
    }

    #[test]
    fn where_it_goes_on() {
        assert_eq!(of(&[0xe8, 0x0b, 0, 0, 0]), (vec![], Flow::Call(0x1010)));
        assert_eq!(of(&[0xe9, 0x0b, 0, 0, 0]).1, Flow::Jump(0x1010));
        assert_eq!(of(&[0x74, 0x0e]).1, Flow::Branch(0x1010));
        assert_eq!(of(&[0xc3]), (vec![], Flow::Return));
        assert_eq!(of(&[0x48, 0xcf]).1, Flow::Resume); // iretq
        assert_eq!(of(&[0x0f, 0x05]).1, Flow::Next); // syscall
        assert_eq!(of(&[0x0f, 0x0b]).1, Flow::Stop); // ud2
        assert_eq!(of(&[0x06]).1, Flow::Unknown);
        assert_eq!(
            of(&[0xff, 0x51, 0x18]).1,
            Flow::CallThrough { text: "call qword ptr [rcx+18h]".into(), register: None }
        );
        assert_eq!(of(&[0xff, 0x15, 10, 0, 0, 0]).1, Flow::CallAt(0x1010));
        assert_eq!(of(&[0xff, 0xe0]).1, Flow::JumpThrough { text: "jmp rax".into(), register: Some(0), table: false });
    }

    #[test]
    fn jumps_of_tables_are_told_from_others() {
        // movsxd rax, [rcx + rax * 4]; add rax, rcx; jmp rax
        let code = [0x48, 0x63, 0x04, 0x81, 0x48, 0x01, 0xc8, 0xff, 0xe0];
        let last = X86_64::decode(&code, 0).pop().expect("three instructions");
        // The same, with `mov rax, [rsi + 24]` before another jump: that is a method of a `dyn`.
        let call = [&code[..], &[0x48, 0x8b, 0x46, 0x18, 0xff, 0xe0]].concat();
        let other = X86_64::decode(&call, 0).pop().expect("five instructions");
        assert_eq!(other.flow, Flow::JumpThrough { text: "jmp rax".into(), register: Some(0), table: false });
        // jmp [rdi + rax * 8]: an array of functions
        assert!(matches!(of(&[0xff, 0x24, 0xc7]).1, Flow::JumpThrough { table: false, .. }));
        assert_eq!(last.flow, Flow::JumpThrough { text: "jmp rax".into(), register: Some(0), table: true });
    }
}
