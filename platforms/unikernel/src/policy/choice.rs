//! Exactly one stack policy must be selected; anything else is a compile error that names the choice.

#[macro_use]
#[path = "list.rs"]
mod list;

macro_rules! one_of {
    (@pairs $first:literal $(, $rest:literal)*) => {
        $(
            #[cfg(all(feature = $first, feature = $rest))]
            compile_error!(concat!(
                "two stack policies are selected, `", $first, "` and `", $rest, "`: enable only one feature of `ebbtide`",
            ));
        )*
        one_of!(@pairs $($rest),*);
    };
    (@pairs) => {};
    ($first:literal => $policy:path, $($rest:literal => $others:path,)*) => {
        #[cfg(not(any(feature = $first $(, feature = $rest)*)))]
        compile_error!(concat!(
            "no stack policy is selected: enable one feature of `ebbtide`, one of `", $first, "`" $(, ", `", $rest, "`")*,
            " (or build with `cargo xtask image PATH --policy NAME`)",
        ));
        one_of!(@pairs $first $(, $rest)*);
    };
}

policies!(one_of);
