//! Granite 3 and Phi-4 mini: a list of JSON behind a control token.
//!
//! Source: the chat templates of Granite 3.3 and Phi-4 mini.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys};
use crate::output::tools::written::Written;

pub(super) const GRANITE: ToolSyntax = ToolSyntax {
    name: "granite",
    example: "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}]",
    signs: &[&["<|tool_call|>"], &["<|tool|>", "<|/tool|>"]],
    marks: &["<|tool_call|>", "<|/tool_call|>"],
    forms: &[
        Form {
            open: "<|tool_call|>",
            styles: &[CallStyle::Json(JsonKeys::Named)],
            close: &["<|/tool_call|>"],
            ..Form::ANYWHERE
        },
        Form::BARE_JSON,
        Form::FENCED_JSON,
    ],
    written: Written::list("<|tool_call|>[", "{\"name\": \"NAME\", \"arguments\": ARGUMENTS}", "]"),
    ..ToolSyntax::PLAIN
};
