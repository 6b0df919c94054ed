//! Published machines: what their stacks took, and that these figures agree with each other.

use serde::Deserialize;

/// A published machine.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Maker and generation of its processors.
    pub cpu: String,
    /// Their number.
    pub cores: u32,
    /// Kernel stacks alive.
    pub stacks: u64,
    /// What they take when they are static.
    pub base_kib: u64,
    /// What they took under the RFC.
    pub dynamic_kib: u64,
    /// What the RFC saved.
    pub saving_percent: f64,
    /// Pages that some thread faulted in and then kept.
    pub pages_grown: u64,
}

impl Machine {
    /// The name in records: `AMD Rome 256`.
    pub fn name(&self) -> String {
        format!("{} {}", self.cpu, self.cores)
    }

    /// Checks its figures against each other.
    ///
    /// # Errors
    ///
    /// The key that does not fit, and what would.
    pub fn check(&self, thread_kib: u64, page_kib: u64) -> Result<(), String> {
        let expect = |key: &str, found: u64, allowed: Option<u64>| match allowed {
            Some(allowed) if allowed == found => Ok(()),
            Some(allowed) => Err(format!("`{key}` is {found}, but the other figures of this machine give {allowed}")),
            None => Err(format!("`{key}` does not fit: the figures of this machine are out of range")),
        };
        if self.stacks == 0 {
            return Err("`stacks` is at least 1".into());
        }
        expect("base_kib", self.base_kib, self.stacks.checked_mul(thread_kib))?;
        let grown_kib = self.pages_grown.checked_mul(page_kib);
        let dynamic = self.stacks.checked_mul(page_kib).zip(grown_kib).and_then(|(one, more)| one.checked_add(more));
        expect("dynamic_kib", self.dynamic_kib, dynamic)?;
        let saving = 100.0 * (1.0 - self.dynamic_kib as f64 / self.base_kib as f64);
        if (saving - self.saving_percent).abs() > 0.01 {
            return Err(format!("`saving_percent` is {}, but the other figures give {saving:.2}", self.saving_percent));
        }
        Ok(())
    }
}
