//! Nothing but JSON: for templates that show tools and no syntax of their own.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::Form;

pub(super) const JSON: ToolSyntax = ToolSyntax {
    name: "json",
    example: "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}",
    forms: &[Form::BARE_JSON, Form::FENCED_JSON],
    ..ToolSyntax::PLAIN
};
