//! Compares what a page says is printed with what was printed.

use regex::Regex;

/// Checks that the expected lines appear in the output, in order. `…` stands for anything: alone on a line for any
/// lines, inside a line for any text.
///
/// # Errors
///
/// The first line that does not appear.
pub fn compare(expected: &str, output: &str) -> Result<(), String> {
    let mut lines = output.lines().map(str::trim_end);
    for wanted in expected.lines().map(str::trim_end) {
        if wanted.is_empty() || wanted.trim() == "…" {
            continue;
        }
        if !lines.any(|line| fits(wanted, line)) {
            return Err(format!("`{wanted}` was not printed (or not in this order)"));
        }
    }
    Ok(())
}

/// Whether a line fits a pattern with `…` in it.
fn fits(pattern: &str, line: &str) -> bool {
    let parts: Vec<_> = pattern.split('…').map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*"))).is_ok_and(|regex| regex.is_match(line))
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn lines_in_order_with_gaps() {
        let output = "banner 1.0\nmemory 256 MiB\nhello\nend code=0\n";
        assert!(compare("banner …\n…\nhello\n", output).is_ok());
        assert!(compare("banner 1.0\nmemory … MiB\n", output).is_ok());
        assert!(compare("… code=0\n", output).is_ok());
        assert!(compare("hello\nbanner 1.0\n", output).is_err());
        assert!(compare("hell\n", output).is_err());
        assert!(compare("memory … KiB\n", output).is_err());
        assert!(compare("ello…\n", output).is_err());
    }
}
