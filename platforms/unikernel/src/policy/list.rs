//! The stack policies, in the order of their names: a line for each, its cargo feature and its type.

/// Hands the list to a macro.
macro_rules! policies {
    ($macro:ident) => {
        $macro! {
            "accessed-bit" => ebbtide_policy_accessed_bit::AccessedBit,
            "ensure" => ebbtide_policy_ensure::Ensure,
            "grow-on-entry" => ebbtide_policy_grow_on_entry::GrowOnEntry,
            "grow-on-fault" => ebbtide_policy_grow_on_fault::GrowOnFault,
            "reclaim-before-switch" => ebbtide_policy_reclaim_before_switch::ReclaimBeforeSwitch,
            "reclaim-deferred" => ebbtide_policy_reclaim_deferred::ReclaimDeferred,
            "reclaim-on-sleep" => ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep,
            "static" => ebbtide_policy_static::Static,
        }
    };
}
