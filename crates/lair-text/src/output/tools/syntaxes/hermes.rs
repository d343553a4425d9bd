//! Hermes 2 Pro, Qwen 2.5 and 3, SmolLM, Granite 4, MiMo and many more: JSON between tags.
//!
//! Source: the chat templates of these models. Smaller ones often leave the tags out or write a block of code, so that is read
//! as well where it begins the answer.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys};
use crate::output::tools::written::Written;

const STYLES: &[CallStyle] = &[CallStyle::Json(JsonKeys::Named)];

pub(super) const HERMES: ToolSyntax = ToolSyntax {
    name: "hermes",
    example: "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>",
    signs: &[&["<tool_call>"]],
    parsers: &["qwen3", "qwen3-thinking", "qwen3-vl-instruct", "qwen3-vl-thinking"],
    marks: &["<tool_call>", "</tool_call>"],
    forms: &[
        Form { open: "<tool_call>", styles: STYLES, close: &["</tool_call>"], ..Form::ANYWHERE },
        Form { open: "<tools>", styles: STYLES, close: &["</tools>"], is_strict: true, ..Form::ANYWHERE },
        Form::BARE_JSON,
        Form::FENCED_JSON,
    ],
    written: Written::each("<tool_call>\n{\"name\": \"NAME\", \"arguments\": ARGUMENTS}\n</tool_call>", "\n"),
    ..ToolSyntax::PLAIN
};
