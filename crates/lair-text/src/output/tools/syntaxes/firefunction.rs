//! Firefunction 2 and Phi-4 mini: a list of JSON behind a word.
//!
//! Source: the chat template of Firefunction 2.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, JsonKeys};
use crate::output::tools::written::Written;

pub(super) const FIREFUNCTION: ToolSyntax = ToolSyntax {
    name: "firefunction",
    example: "functools[{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}]",
    signs: &[&["functools["]],
    forms: &[Form { open: "functools", styles: &[CallStyle::Json(JsonKeys::Named)], ..Form::ANYWHERE }],
    written: Written::list("functools[", "{\"name\": \"NAME\", \"arguments\": ARGUMENTS}", "]"),
    ..ToolSyntax::PLAIN
};
