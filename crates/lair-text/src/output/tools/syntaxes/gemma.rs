//! FunctionGemma and Gemma 4: a name and an object whose texts stand between marks.
//!
//! Source: the chat templates of Gemma 4 and FunctionGemma.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{BraceStyle, CallStyle, Form};
use crate::output::tools::written::{Written, WrittenArguments, WrittenText};

const GEMMA4: BraceStyle = BraceStyle { open: "call:", quote: "<|\"|>" };
const FUNCTION_GEMMA: BraceStyle = BraceStyle { open: "call:", quote: "<escape>" };

pub(super) const GEMMA: ToolSyntax = ToolSyntax {
    name: "gemma",
    example: "<|tool_call>call:weather{city:<|\"|>Rome<|\"|>}<tool_call|>",
    signs: &[&["<|tool_call>"], &["<start_function_call>"]],
    parsers: &["functiongemma", "gemma4"],
    marks: &["<|tool_call>", "<tool_call|>", "<|\"|>", "<start_function_call>", "<end_function_call>", "<escape>"],
    forms: &[
        Form { open: "<|tool_call>", styles: &[CallStyle::Brace(&GEMMA4)], close: &["<tool_call|>"], ..Form::ANYWHERE },
        Form {
            open: "<start_function_call>",
            styles: &[CallStyle::Brace(&FUNCTION_GEMMA)],
            close: &["<end_function_call>"],
            ..Form::ANYWHERE
        },
    ],
    written: Written {
        arguments: WrittenArguments::Each {
            before: "KEY:",
            after: "",
            between: ",",
            text: WrittenText::Quoted("<|\"|>"),
        },
        ..Written::each("<|tool_call>call:NAME{ARGUMENTS}<tool_call|>", "")
    },
    ..ToolSyntax::PLAIN
};
