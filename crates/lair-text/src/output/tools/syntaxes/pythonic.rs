//! Llama 4 and other models that write calls as a list in Python.
//!
//! Source: the chat templates of Llama 4 and Llama 3.2, which show `[func_name1(params_name1=params_value1), func_name2(params)]`.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, Place};
use crate::output::tools::written::Written;

const STYLES: &[CallStyle] = &[CallStyle::Python];

pub(super) const PYTHONIC: ToolSyntax = ToolSyntax {
    name: "pythonic",
    example: "[weather(city=\"Rome\"), weather(city=\"Oslo\")]",
    signs: &[&["<|python_start|>"], &["[func_name1("], &["func_name1(params_name1"]],
    marks: &["<|python_start|>", "<|python_end|>"],
    forms: &[
        Form { open: "<|python_start|>", styles: STYLES, close: &["<|python_end|>"], ..Form::ANYWHERE },
        Form { place: Place::Start, styles: STYLES, is_strict: true, ..Form::ANYWHERE },
    ],
    written: Written { begin: "[", end: "]", ..Written::PYTHON },
    ..ToolSyntax::PLAIN
};
