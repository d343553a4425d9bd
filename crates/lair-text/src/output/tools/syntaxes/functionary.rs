//! Functionary 3.1: the name in a tag, the arguments as JSON.
//!
//! Source: the chat template of Functionary medium 3.1.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, Header, NamedStyle};
use crate::output::tools::written::Written;

const CALL: NamedStyle = NamedStyle { open: "", header, close: &["</function>"] };

pub(super) const FUNCTIONARY: ToolSyntax = ToolSyntax {
    name: "functionary",
    example: "<function=weather>{\"city\": \"Rome\"}</function>",
    signs: &[&["<function="], &["start_tag => `<function`"]],
    forms: &[Form { open: "<function=", styles: &[CallStyle::Named(&CALL)], ..Form::ANYWHERE }],
    written: Written::each("<function=NAME>ARGUMENTS</function>", ""),
    ..ToolSyntax::PLAIN
};

/// `weather>`.
fn header(text: &str) -> Option<Header> {
    let name = text.trim().strip_suffix('>')?.trim().trim_matches('"');
    Some(Header { name: name.to_owned(), ..Header::default() })
}
