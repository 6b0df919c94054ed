//! The report as a page: one file that a browser shows without a network, on a phone too, light or dark.

use pulldown_cmark::{Options, Parser, html};

use super::figure::Figure;

/// How the page looks. Tables and figures wider than the screen are scrolled by themselves.
const STYLE: &str = include_str!("html/style.css");

/// Writes the page: the report's text, with the figures before the first table. `made_by` is the command that makes them again.
pub fn page(markdown: &str, figures: &[Figure], made_by: &str) -> String {
    let (title, rest) = markdown.split_once('\n').unwrap_or((markdown, ""));
    let title = title.trim_start_matches(['#', ' ']);
    // The introduction, and then what is below headings.
    let (introduction, tables) = rest.find("\n## ").map_or((rest, ""), |place| rest.split_at(place));
    let pictures: String = figures.iter().map(|figure| element(figure, made_by)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{}{pictures}{}</body>\n</html>\n",
        text(introduction),
        text(tables),
    )
}

/// A figure with its caption, and the command that makes it.
fn element(figure: &Figure, made_by: &str) -> String {
    format!(
        "<figure id=\"{}\">\n<div class=\"wide\">\n{}</div>\n<figcaption>{} <code>{}</code></figcaption>\n</figure>\n",
        figure.name,
        figure.picture.element(&escaped(&figure.title)),
        escaped(&figure.caption),
        escaped(made_by),
    )
}

/// Markdown as HTML; each table in a box that can be scrolled.
fn text(markdown: &str) -> String {
    let mut text = String::new();
    html::push_html(&mut text, Parser::new_ext(markdown, Options::ENABLE_TABLES));
    text.replace("<table>", "<div class=\"wide\"><table>").replace("</table>", "</table></div>")
}

/// Text in which nothing is taken for HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::figure;
    use super::super::record::tests::record;
    use super::page;

    /// A page with one figure.
    fn made() -> String {
        let figures = [("saving_percent", 75.0), ("stack_kib", 100.0), ("oracle_kib", 100.0)];
        let figures = figure::all(&[record("reclaim-on-sleep", Some("A 1"), &figures)], &[]);
        assert_eq!(figures.len(), 1);
        page(
            "# What\n\nMade.\n\n## One\n\n| a | b |\n|--|--|\n| 1 | 2 |\n",
            &figures,
            "cargo xtask compare --cpu \"a&b\"",
        )
    }

    #[test]
    fn a_page_stands_for_itself() {
        let page = made();
        for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
            // The name of the SVG language is no address.
            let rest = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains(outside), "{outside} in {page}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("name=\"viewport\""));
    }

    #[test]
    fn figures_stand_before_the_first_table_and_name_their_command() {
        let page = made();
        let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what} in {page}"));
        assert!(place("<p>Made.</p>") < place("<figure id=\"memory-x86_64\">"));
        assert!(place("</figure>") < place("<h2>One</h2>"));
        assert!(place("<div class=\"wide\"><table>") < place("<td>1</td>"));
        assert!(page.contains("<code>cargo xtask compare --cpu &quot;a&amp;b&quot;</code>"));
        assert!(page.contains("<title>What</title>"));
    }
}
