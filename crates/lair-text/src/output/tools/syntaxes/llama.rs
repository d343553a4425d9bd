//! Llama 3.1 to 3.3: JSON, alone or behind a control token; tools that are built in as calls of Python.
//!
//! Source: the chat templates of Llama 3.1, 3.2 and 3.3.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys};
use crate::output::tools::written::Written;

pub(super) const LLAMA: ToolSyntax = ToolSyntax {
    name: "llama",
    example: "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}",
    signs: &[&["<|python_tag|>"], &["<|start_header_id|>", "ipython"], &["<|start_header_id|>", "\"parameters\":"]],
    marks: &["<|python_tag|>"],
    forms: &[
        Form {
            open: "<|python_tag|>",
            styles: &[CallStyle::Json(JsonKeys::Named), CallStyle::Python],
            ..Form::ANYWHERE
        },
        Form::BARE_JSON,
        Form::FENCED_JSON,
    ],
    written: Written::each("{\"name\": \"NAME\", \"parameters\": ARGUMENTS}", "; "),
    ..ToolSyntax::PLAIN
};
