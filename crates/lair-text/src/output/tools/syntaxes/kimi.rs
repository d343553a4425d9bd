//! Kimi K2: control tokens around an id that has the name in it, and the arguments.
//!
//! Source: the chat templates of Kimi K2 and Kimi K2 Thinking.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, Header, NamedStyle};
use crate::output::tools::written::Written;

const CALL: NamedStyle = NamedStyle { open: "<|tool_call_begin|>", header, close: &["<|tool_call_end|>"] };

pub(super) const KIMI: ToolSyntax = ToolSyntax {
    name: "kimi",
    example: "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{\"city\": \"Rome\"}<|tool_call_end|><|tool_calls_section_end|>",
    signs: &[&["<|tool_call_argument_begin|>"]],
    marks: &[
        "<|tool_calls_section_begin|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        "<|tool_calls_section_end|>",
    ],
    forms: &[Form {
        open: "<|tool_calls_section_begin|>",
        styles: &[CallStyle::Named(&CALL)],
        close: &["<|tool_calls_section_end|>"],
        ..Form::ANYWHERE
    }],
    written: Written {
        begin: "<|tool_calls_section_begin|>",
        call: "<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>ARGUMENTS<|tool_call_end|>",
        end: "<|tool_calls_section_end|>",
        is_single: true,
        ..Written::each("", "")
    },
    ..ToolSyntax::PLAIN
};

/// `functions.weather:0<|tool_call_argument_begin|>`.
fn header(text: &str) -> Option<Header> {
    let id = text.trim().strip_suffix("<|tool_call_argument_begin|>").unwrap_or(text).trim();
    let name = id.strip_prefix("functions.").unwrap_or(id);
    let (name, _index) = name.rsplit_once(':').unwrap_or((name, ""));
    Some(Header { id: id.to_owned(), name: name.to_owned() })
}
