//! Nemotron Nano 2: a list of JSON between tags.
//!
//! Source: the chat template of Nemotron Nano 2.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys};
use crate::output::tools::written::Written;

pub(super) const NEMOTRON: ToolSyntax = ToolSyntax {
    name: "nemotron",
    example: "<TOOLCALL>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}]</TOOLCALL>",
    signs: &[&["<TOOLCALL>"]],
    marks: &["<TOOLCALL>", "</TOOLCALL>"],
    forms: &[Form {
        open: "<TOOLCALL>",
        styles: &[CallStyle::Json(JsonKeys::Named)],
        close: &["</TOOLCALL>"],
        ..Form::ANYWHERE
    }],
    written: Written::list("<TOOLCALL>[", "{\"name\": \"NAME\", \"arguments\": ARGUMENTS}", "]</TOOLCALL>"),
    ..ToolSyntax::PLAIN
};
