//! Solar Open: control tokens around id, name and arguments.
//!
//! Source: the chat template of Solar Open.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, Header, NamedStyle, Place};
use crate::output::tools::written::Written;

const CALL: NamedStyle = NamedStyle { open: "", header, close: &["<|tool_call:end|>"] };

pub(super) const SOLAR: ToolSyntax = ToolSyntax {
    name: "solar",
    example: "<|tool_call:begin|>a1b2<|tool_call:name|>weather<|tool_call:args|>{\"city\": \"Rome\"}<|tool_call:end|>",
    signs: &[&["<|tool_call:begin|>"]],
    marks: &["<|tool_calls|>", "<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>", "<|tool_call:end|>"],
    drops: &[(Place::Anywhere, "<|tool_calls|>")],
    forms: &[Form { open: "<|tool_call:begin|>", styles: &[CallStyle::Named(&CALL)], ..Form::ANYWHERE }],
    written: Written::each(
        "<|tool_call:begin|>call<|tool_call:name|>NAME<|tool_call:args|>ARGUMENTS<|tool_call:end|>",
        "",
    ),
    ..ToolSyntax::PLAIN
};

/// `a1b2<|tool_call:name|>weather<|tool_call:args|>`.
fn header(text: &str) -> Option<Header> {
    let (id, name) = text.strip_suffix("<|tool_call:args|>")?.split_once("<|tool_call:name|>")?;
    Some(Header { id: id.trim().to_owned(), name: name.trim().to_owned() })
}
