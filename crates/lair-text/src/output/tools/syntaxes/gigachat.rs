//! GigaChat 3: JSON behind a role or a control token.
//!
//! Source: the chat templates of GigaChat 3 and 3.1.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys};
use crate::output::tools::written::Written;

const STYLES: &[CallStyle] = &[CallStyle::Json(JsonKeys::Named)];

pub(super) const GIGACHAT: ToolSyntax = ToolSyntax {
    name: "gigachat",
    example: "function call<|role_sep|>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}",
    signs: &[&["function call", "<|role_sep|>"], &["<|function_call|>"]],
    marks: &["<|role_sep|>", "<|message_sep|>", "<|function_call|>"],
    forms: &[
        Form { open: "<|function_call|>", styles: STYLES, ..Form::ANYWHERE },
        Form { open: "function call<|role_sep|>", styles: STYLES, ..Form::ANYWHERE },
        Form { open: "<|message_sep|>\n\nfunction call<|role_sep|>", styles: STYLES, ..Form::ANYWHERE },
    ],
    written: Written {
        is_single: true,
        ..Written::each("function call<|role_sep|>\n{\"name\": \"NAME\", \"arguments\": ARGUMENTS}", "")
    },
    ..ToolSyntax::PLAIN
};
