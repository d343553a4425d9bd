//! DeepSeek V3, R1 and V3.1: control tokens around name and arguments, which the earlier ones put into a block of code.
//!
//! Source: the chat templates of DeepSeek V3, R1 and V3.1.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, Header, NamedStyle};
use crate::output::tools::written::Written;

const TRAILERS: &[&str] = &["```", "<｜tool▁call▁end｜>"];
const INNER: NamedStyle = NamedStyle { open: "<｜tool▁call▁begin｜>", header, close: TRAILERS };
const ALONE: NamedStyle = NamedStyle { open: "", ..INNER };

pub(super) const DEEPSEEK: ToolSyntax = ToolSyntax {
    name: "deepseek",
    example: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Rome\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    signs: &[&["<｜tool▁call▁begin｜>"], &["<｜tool▁calls▁begin｜>"]],
    parsers: &["deepseek3", "cogito"],
    marks: &[
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ],
    forms: &[
        Form {
            open: "<｜tool▁calls▁begin｜>",
            styles: &[CallStyle::Named(&INNER)],
            close: &["<｜tool▁calls▁end｜>"],
            ..Form::ANYWHERE
        },
        Form {
            open: "<｜tool▁call▁begin｜>",
            styles: &[CallStyle::Named(&ALONE)],
            close: &["<｜tool▁calls▁end｜>"],
            ..Form::ANYWHERE
        },
    ],
    written: Written {
        begin: "<｜tool▁calls▁begin｜>",
        call: "<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>",
        end: "<｜tool▁calls▁end｜>",
        ..Written::each("", "")
    },
    ..ToolSyntax::PLAIN
};

/// `weather<｜tool▁sep｜>`, or `function<｜tool▁sep｜>weather` and the beginning of a block of code.
fn header(text: &str) -> Option<Header> {
    let (first, second) = text.split_once("<｜tool▁sep｜>")?;
    let second = second.split("```").next().unwrap_or_default().trim();
    let name = if second.is_empty() { first.trim() } else { second };
    Some(Header { name: name.to_owned(), ..Header::default() })
}
