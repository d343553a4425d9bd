//! LFM2: a list of Python's calls, or of JSON, between control tokens.
//!
//! Source: the chat templates and model cards of LFM2 and LFM2.5.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys, Place};
use crate::output::tools::written::Written;

const STYLES: &[CallStyle] = &[CallStyle::Json(JsonKeys::Named), CallStyle::Python];

pub(super) const LFM2: ToolSyntax = ToolSyntax {
    name: "lfm2",
    example: "<|tool_call_start|>[weather(city=\"Rome\")]<|tool_call_end|>",
    signs: &[&["<|tool_call_start|>"], &["<|tool_list_start|>"], &["List of tools: ["]],
    parsers: &["lfm2", "lfm2-thinking"],
    marks: &["<|tool_call_start|>", "<|tool_call_end|>"],
    forms: &[
        Form { open: "<|tool_call_start|>", styles: STYLES, close: &["<|tool_call_end|>"], ..Form::ANYWHERE },
        Form { place: Place::Start, styles: STYLES, is_strict: true, ..Form::ANYWHERE },
    ],
    written: Written { begin: "<|tool_call_start|>[", end: "]<|tool_call_end|>", ..Written::PYTHON },
    ..ToolSyntax::PLAIN
};
