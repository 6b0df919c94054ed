//! Blocks are found, their words are understood, and a page that is wrong fails.

use std::time::Duration;

use super::block::{Role, blocks};
use super::{Page, carry_out, pages};
use crate::project::Project;

fn page(text: &str) -> Page {
    Page { name: "page".into(), blocks: blocks("docs/page.md", text) }
}

fn failures(text: &str) -> Vec<String> {
    let project = Project::find().expect("the repository");
    carry_out(&project, &page(text), Duration::from_secs(120)).expect("no interruption")
}

#[test]
fn blocks_have_lines_and_roles() {
    let found = blocks("a.md", "# Title\n\n```sh run exit=3\nfalse\n```\n\n- item\n\n  ```text\n  x\n  ```\n");
    let seen: Vec<_> = found.iter().map(|block| (block.line, block.role.clone(), block.text.as_str())).collect();
    assert_eq!(seen, [(3, Ok(Role::Run(3)), "false\n"), (9, Ok(Role::Text), "x\n")]);
}

#[test]
fn unknown_words_are_errors() {
    for text in [
        "```rust\nfn f() {}\n```\n",
        "```\nx\n```\n",
        "```sh\nls\n```\n",
        "```sh run exit=x\nls\n```\n",
        "    indented\n",
    ] {
        let failures = failures(text);
        assert_eq!(failures.len(), 1, "{text}");
        assert!(failures[0].starts_with("docs/page.md:1: "), "{failures:?}");
    }
}

#[test]
fn commands_run_and_their_output_is_compared() {
    assert_eq!(failures("```sh run\n# greets\necho one \\\n  two\n```\n\n```text output\none two\n```\n"), [""; 0]);
    assert_eq!(failures("```sh run exit=3\nsh -c 'exit 3'\n```\n"), [""; 0]);
    for text in [
        "```sh run\nfalse\n```\n",
        "```sh run exit=3\ntrue\n```\n",
        "```sh run exit=3\nfalse\n```\n",
        "```sh run\necho one\n```\n```text output\ntwo\n```\n",
        "```text output\none\n```\n",
        "```sh host\nif then\n```\n",
        "```sh check\ncargo xtask fly\n```\n",
        "```sh check\nls\n```\n",
        "```toml\na = \n```\n",
        "```json\n{]\n```\n",
        "```rust app\nfn main() {}\n```\n",
        "```sh app\ncargo xtask run ../a\n```\n",
    ] {
        assert_eq!(failures(text).len(), 1, "{text}");
    }
}

#[test]
fn good_blocks_pass() {
    let text = "```sh check\ncargo xtask deps\ncargo xtask compare --quick\n```\n```sh host\nsudo apt install git\n```\n\
                ```toml\na = 1\n```\n```json\n{\"a\": 1}\n```\n```text\nanything\n```\n";
    assert_eq!(failures(text), [""; 0]);
}

#[test]
fn an_app_is_written_outside_and_its_path_is_replaced() {
    let manifest = "```toml app\n[package]\nname = \"tide\"\n[dependencies]\nebbtide = { path = \"../x\" }\n```\n";
    let text = format!(
        "{manifest}```rust app\nfn main() {{}}\n```\n```sh app\ntest -f ../tide/src/main.rs\ntest -f ../tide/Cargo.lock\nls ../tide\n```\n"
    );
    assert_eq!(failures(&text), [""; 0]);
}

#[test]
fn every_block_of_the_documentation_has_a_known_word() {
    let project = Project::find().expect("the repository");
    for page in pages(&project).expect("the pages can be read") {
        for block in page.blocks {
            assert!(block.role.is_ok(), "{}:{}: {:?}", block.path, block.line, block.role);
        }
    }
}
