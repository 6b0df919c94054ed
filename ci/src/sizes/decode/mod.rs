//! Machine code as far as stacks are concerned: what each instruction does to the stack pointer, and where it goes on.
//!
//! Decoding is left to crates of each architecture; the folder's other files say what their instructions mean here. What has
//! no meaning for the stack is a step all the same, so that nothing is left out unseen.

pub mod aarch64;
pub mod x86_64;

/// A general-purpose register, by the number that its architecture gives it.
pub type Register = u8;

/// An instruction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Where it lies.
    pub address: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// What it does to the stack pointer and to registers that hold one, in this order.
    pub effects: Vec<Effect>,
    /// Where it goes on.
    pub flow: Flow,
    /// Whether it does nothing: it fills space.
    pub fills: bool,
}

impl Step {
    /// The address behind it.
    pub fn end(&self) -> u64 {
        self.address + self.bytes
    }
}

/// What an instruction does to the stack pointer. The stack grows downwards, and depths are counted from where it was at the
/// function's first instruction: bytes, more of them the deeper.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// So many bytes deeper; negative: back.
    Deeper(i64),
    /// A register is set to the address that lies so many bytes below the stack pointer.
    Keep(Register, i64),
    /// The stack pointer is set to so many bytes below the address in a register.
    Take(Register, i64),
    /// A register is set to this address, in the image.
    Address(Register, u64),
    /// A register is set to what lies at this address.
    Load(Register, u64),
    /// A register is set to something else.
    Forget(Register),
    /// The stack pointer is compared with a register: the loop that touches page after page down to it ends here.
    Meet(Register),
    /// The stack pointer is set to something that the instruction does not tell.
    Elsewhere,
}

/// Where an instruction goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Flow {
    /// With the next one.
    Next,
    /// Somewhere else.
    Jump(u64),
    /// Somewhere else, or with the next one.
    Branch(u64),
    /// In another function, then with the next one.
    Call(u64),
    /// In a function whose address lies at this one, then with the next one.
    CallAt(u64),
    /// In a function whose address lies at this one.
    JumpAt(u64),
    /// In a function whose address is in a register or in memory, then with the next one.
    CallThrough {
        /// The instruction.
        text: String,
        /// The register, if it is in one.
        register: Option<Register>,
    },
    /// At an address in a register or in memory.
    JumpThrough {
        /// The instruction.
        text: String,
        /// The register, if it is in one.
        register: Option<Register>,
        /// Whether the address was made from an entry of a table of jumps.
        table: bool,
    },
    /// With the caller.
    Return,
    /// In code that was interrupted, or in user mode.
    Resume,
    /// Nowhere: it traps.
    Stop,
    /// Not known: these bytes are no instruction that the decoder knows.
    Unknown,
}

/// What a call does.
#[derive(Clone, Copy, Debug)]
pub struct Convention {
    /// Bytes of the return address that it puts on the stack.
    pub call_bytes: i64,
    /// Registers that it may change.
    pub changes: &'static [Register],
}

/// The instructions of a piece of code, one behind the other, up to its end.
pub trait Decode {
    /// What a call does.
    const CONVENTION: Convention;

    /// Decodes `code`, which lies at `address`.
    fn decode(code: &[u8], address: u64) -> Vec<Step>;
}
