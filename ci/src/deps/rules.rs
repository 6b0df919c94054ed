//! The arrows: which folder may depend on which. This table is the rule; ARCHITECTURE.md draws it.

/// What one folder's packages may depend on, in any kind of dependency (normal, build and dev alike).
#[derive(Debug)]
pub struct Arrow {
    /// The folder, relative to the root of the repository; `x/*` is everything below `x`.
    pub from: &'static str,
    /// The folders that it may point at.
    pub to: &'static [&'static str],
    /// The reason, printed with every violation.
    pub why: &'static str,
}

/// Every folder that may hold a package. The first line that matches a folder is its rule.
pub const ARROWS: &[Arrow] = &[
    Arrow { from: "core", to: &[], why: "everything may point at core; core points at nothing of ours" },
    Arrow { from: "policies/*", to: &["core"], why: "a policy knows the contract alone, neither machine nor platform" },
    Arrow { from: "arch/*", to: &["core"], why: "the architectures know core and not each other" },
    Arrow { from: "platforms/hermit", to: PLATFORM, why: "a platform uses core and its own architecture" },
    Arrow { from: "platforms/pc", to: PLATFORM, why: "a platform uses core and its own architecture" },
    Arrow { from: "platforms/virt", to: PLATFORM, why: "a platform uses core and its own architecture" },
    Arrow {
        from: "platforms/loader",
        to: &[],
        why: "the loader knows hermit-entry alone, so it boots any Hermit image",
    },
    Arrow { from: "platforms/loader/pack", to: &["platforms/loader"], why: "packing needs the loader's checks alone" },
    Arrow {
        from: "platforms/unikernel",
        to: &["arch/*", "core", "platforms/*", "policies/*"],
        why: "the composition root wires the kernel, and knows no app, test or tool",
    },
    Arrow {
        from: "examples/*",
        to: &["platforms/unikernel"],
        why: "an example is built as an outsider would build one",
    },
    Arrow {
        from: "tests/machine",
        to: &["core", "policies/*"],
        why: "the model of a machine takes the place of architecture and platform",
    },
    Arrow {
        from: "tests/*",
        to: &["arch/*", "core", "platforms/*", "policies/*", "tests/*"],
        why: "tests may look at everything but the host tool and the examples",
    },
    Arrow { from: "ci", to: &[], why: "the host tool builds without the kernel" },
];

/// What a platform may use; [`PLATFORM_ARCH`] narrows it to its own architecture.
const PLATFORM: &[&str] = &["core", "arch/*"];

/// Platforms that belong to one architecture, and its folder.
pub const PLATFORM_ARCH: &[(&str, &str)] = &[("platforms/pc", "arch/x86_64"), ("platforms/virt", "arch/aarch64")];

/// The one folder whose packages have cargo features.
pub const FEATURES: &str = "platforms/unikernel";

/// Folders whose packages know no machine, in their dependencies either.
pub const PORTABLE: &[&str] = &["core", "policies/*"];

/// Folders whose package name is fixed, since their own name would shadow one of Rust's crates.
pub const NAMES: &[(&str, &str)] = &[("core", "ebbtide-core"), ("platforms/unikernel", "ebbtide")];

/// Says whether `folder` is meant by `pattern`.
pub fn matches(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(parent) => folder.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/')),
        None => folder == pattern,
    }
}

/// Finds the rule of `folder`.
pub fn rule_of(folder: &str) -> Option<&'static Arrow> {
    ARROWS.iter().find(|arrow| matches(arrow.from, folder))
}
