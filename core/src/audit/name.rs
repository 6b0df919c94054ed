//! Names of threads as lines for programs have them.

use core::fmt;

use crate::thread::Thread;

/// Bytes that are kept of a name.
const BYTES: usize = 24;

/// The beginning of a thread's name, which outlives the thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name([u8; BYTES]);

/// Words of 8 bytes that hold one.
pub(super) const WORDS: usize = BYTES / 8;

impl Name {
    pub fn of(thread: &Thread) -> Self {
        let name = thread.name().unwrap_or_default().as_bytes();
        Self(core::array::from_fn(|byte| name.get(byte).copied().unwrap_or(0)))
    }

    pub fn from_words(words: [u64; WORDS]) -> Self {
        Self(core::array::from_fn(|byte| words[byte / 8].to_le_bytes()[byte % 8]))
    }

    pub fn words(&self) -> [u64; WORDS] {
        core::array::from_fn(|word| u64::from_le_bytes(core::array::from_fn(|byte| self.0[8 * word + byte])))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take_while(|byte| **byte != 0) {
            // What is no letter or sign would tear the line.
            match byte {
                b'!'..=b'~' => write!(f, "{}", *byte as char)?,
                _ => f.write_str("_")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_name_is_one_word() {
        let mut bytes = [0; BYTES];
        bytes[..9].copy_from_slice("a b\n=\u{e9}~z".as_bytes());
        let name = Name(bytes);
        assert_eq!(name.to_string(), "a_b_=__~z");
        assert_eq!(Name::from_words(name.words()).to_string(), name.to_string());
    }
}
