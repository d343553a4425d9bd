//! Nothing but JSON: for templates that show tools and no syntax of their own.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::Form;
use crate::output::tools::written::Written;

pub(super) const JSON: ToolSyntax = ToolSyntax {
    name: "json",
    example: "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}",
    forms: &[Form::BARE_JSON, Form::FENCED_JSON],
    written: Written::each("{\"name\": \"NAME\", \"parameters\": ARGUMENTS}", "\n"),
    ..ToolSyntax::PLAIN
};
