//! MiniMax M1, Apriel and Hunyuan A13B: JSON, in lines or in a list, between tags.
//!
//! Source: the chat templates of MiniMax M1 and Apriel 1.5 and 1.6.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys};
use crate::output::tools::written::Written;

pub(super) const TOOL_CALLS: ToolSyntax = ToolSyntax {
    name: "tool-calls",
    example: "<tool_calls>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}]</tool_calls>",
    signs: &[&["<tool_calls>"]],
    marks: &["<tool_calls>", "</tool_calls>", "[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"],
    forms: &[Form {
        open: "<tool_calls>",
        styles: &[CallStyle::Json(JsonKeys::Named)],
        close: &["</tool_calls>"],
        ..Form::ANYWHERE
    }],
    written: Written::list("<tool_calls>[", "{\"name\": \"NAME\", \"arguments\": ARGUMENTS}", "]</tool_calls>"),
    ..ToolSyntax::PLAIN
};
