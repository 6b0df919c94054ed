//! Names of functions: without what is the same in all images, and short enough for a figure.

/// The function that the kernel calls a thread's first function by, in an image that audits itself.
const FIRST: &str = "ebbtide_core::audit::ways::call::<";
/// What each of the kernel's functions is made for.
const SYSTEM: &str = "ebbtide::system::Ebbtide";

/// Whether it is what the kernel calls a thread's first function by.
pub fn is_first(name: &str) -> bool {
    name.starts_with(FIRST)
}

/// A name without what is the same in all images; for what calls a thread's first function, the name of that, which is a part of it.
pub fn plain(name: &str) -> String {
    if let Some(arguments) = name.strip_prefix(FIRST) {
        let ends = |(_, character): &(usize, char)| matches!(character, ',' | '>');
        let end = outside(arguments).find(ends).map_or(arguments.len(), |(at, _)| at);
        return plain(&arguments[..end]);
    }
    name.replace(&format!("::<{SYSTEM}>"), "").replace(&format!("<{SYSTEM}>"), "").replace(&format!("<{SYSTEM}, "), "<")
}

/// The last words of a name's path, without generic arguments: what fits into a box.
pub fn short(name: &str) -> String {
    let name = name.strip_suffix("::{shim:vtable#0}").unwrap_or(name);
    if let Some(inside) = name.strip_prefix('<')
        && let Some((end, _)) = outside(inside).find(|(_, character)| *character == '>')
    {
        // `<A as B>::f`, of which the caller of `f` has to do with A alone.
        let (of, function) = (&inside[..end], &inside[end + 1..]);
        let end = outside(of).find(|(at, _)| of[*at..].starts_with(" as ")).map_or(of.len(), |(at, _)| at);
        return short(&of[..end]) + &without_arguments(function);
    }
    let name = without_arguments(name);
    let parts: Vec<_> = name.split("::").collect();
    parts[parts.len().saturating_sub(2)..].join("::")
}

/// A path without what stands between `<` and `>`.
fn without_arguments(path: &str) -> String {
    let mut depth = 0_usize;
    let mut last = ' ';
    let mut without = String::new();
    for character in path.chars() {
        match character {
            '<' => {
                // Of `f::<A>` two colons would be left.
                without.truncate(without.trim_end_matches("::").len());
                depth += 1;
            }
            '>' if last != '-' => depth = depth.saturating_sub(1),
            _ if depth == 0 => without.push(character),
            _ => {}
        }
        last = character;
    }
    without
}

/// The characters of a text that stand in no brackets, with their places; a bracket that closes none of the text's is one of them.
fn outside(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut depth = 0_usize;
    let mut last = ' ';
    text.char_indices().filter(move |(_, character)| {
        // The arrow of a function's type closes nothing.
        let is_arrow = *character == '>' && last == '-';
        let closes = matches!(character, ')' | ']' | '}' | '>') && !is_arrow;
        last = *character;
        let is_outside = depth == 0 && !is_arrow;
        if matches!(character, '<' | '(' | '[' | '{') {
            depth += 1;
        } else if closes {
            depth = depth.saturating_sub(1);
        }
        is_outside
    })
}
