//! The stack policy that a cargo feature selects. A new policy adds its feature, and a line in `list`.

#[macro_use]
mod choice;

/// Of the policies that are selected, takes the first: if there are more, `choice` has said so.
macro_rules! select {
    (@behind [$($before:literal)*]) => {};
    (@behind [$($before:literal)*] $feature:literal => $policy:path, $($rest:tt)*) => {
        #[cfg(all(feature = $feature, not(any($(feature = $before),*))))]
        /// The policy.
        pub type Policy = $policy;
        select!(@behind [$($before)* $feature] $($rest)*);
    };
    ($($list:tt)*) => { select!(@behind [] $($list)*); };
}

policies!(select);
