//! OLMo 3: calls of Python, one a line, between tags.
//!
//! Source: the chat template of OLMo 3.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form};
use crate::output::tools::written::Written;

pub(super) const OLMO: ToolSyntax = ToolSyntax {
    name: "olmo",
    example: "<function_calls>\nweather(city=\"Rome\")\n</function_calls>",
    signs: &[&["<function_calls>", "functions"]],
    parsers: &["olmo3", "olmo3-think"],
    marks: &["<function_calls>", "</function_calls>"],
    forms: &[Form {
        open: "<function_calls>",
        styles: &[CallStyle::Python],
        close: &["</function_calls>"],
        ..Form::ANYWHERE
    }],
    written: Written {
        begin: "<function_calls>\n",
        call: "NAME(ARGUMENTS)",
        between: "\n",
        end: "\n</function_calls>",
        ..Written::PYTHON
    },
    ..ToolSyntax::PLAIN
};
