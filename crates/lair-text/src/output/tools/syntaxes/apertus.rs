//! Apertus: a list of objects, each with the tool as its one member.
//!
//! Source: the chat template of Apertus.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys};
use crate::output::tools::written::Written;

pub(super) const APERTUS: ToolSyntax = ToolSyntax {
    name: "apertus",
    example: "<|tools_prefix|>[{\"weather\": {\"city\": \"Rome\"}}]<|tools_suffix|>",
    signs: &[&["<|tools_prefix|>"]],
    marks: &["<|tools_prefix|>", "<|tools_suffix|>"],
    forms: &[Form {
        open: "<|tools_prefix|>",
        styles: &[CallStyle::Json(JsonKeys::Short)],
        close: &["<|tools_suffix|>"],
        ..Form::ANYWHERE
    }],
    written: Written::list("<|tools_prefix|>[", "{\"NAME\": ARGUMENTS}", "]<|tools_suffix|>"),
    ..ToolSyntax::PLAIN
};
