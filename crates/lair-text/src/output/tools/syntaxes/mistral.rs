//! Mistral: a list of JSON behind a control token; since version 11 of its tokenizer name and arguments, token by token.
//!
//! Source: the chat templates of Mistral Nemo, Small 3.2, Devstral, Ministral 3; mistral-common.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, Header, JsonKeys, NamedStyle};
use crate::output::tools::written::Written;

const NAMED: NamedStyle = NamedStyle { open: "", header, close: &[] };

pub(super) const MISTRAL: ToolSyntax = ToolSyntax {
    name: "mistral",
    example: "[TOOL_CALLS]weather[ARGS]{\"city\": \"Rome\"}",
    signs: &[&["[TOOL_CALLS]"]],
    parsers: &["ministral"],
    marks: &["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[/TOOL_CALLS]"],
    forms: &[Form {
        open: "[TOOL_CALLS]",
        styles: &[CallStyle::Json(JsonKeys::Named), CallStyle::Named(&NAMED)],
        ..Form::ANYWHERE
    }],
    written: Written::list("[TOOL_CALLS][", "{\"name\": \"NAME\", \"arguments\": ARGUMENTS}", "]"),
    ..ToolSyntax::PLAIN
};

/// `weather[ARGS]`, `weather[CALL_ID]9Ae3bDc2F[ARGS]`, `weather`.
fn header(text: &str) -> Option<Header> {
    let text = text.trim().trim_end_matches("[ARGS]");
    let (name, id) = text.split_once("[CALL_ID]").unwrap_or((text, ""));
    Some(Header { id: id.trim().to_owned(), name: name.trim().to_owned() })
}
