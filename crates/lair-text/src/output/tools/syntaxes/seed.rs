//! Seed-OSS: as Qwen3-Coder, between tags of its own.
//!
//! Source: the chat template of Seed-OSS.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form};
use crate::output::tools::written::{Written, WrittenArguments, WrittenText};

use super::qwen_coder::FUNCTION;

pub(super) const SEED: ToolSyntax = ToolSyntax {
    name: "seed",
    example: "<seed:tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n</function>\n</seed:tool_call>",
    signs: &[&["<seed:tool_call>"]],
    marks: &["<seed:tool_call>", "</seed:tool_call>"],
    forms: &[Form {
        open: "<seed:tool_call>",
        styles: &[CallStyle::Xml(&FUNCTION)],
        close: &["</seed:tool_call>"],
        ..Form::ANYWHERE
    }],
    written: Written {
        begin: "",
        call: "<seed:tool_call>\n<function=NAME>\nARGUMENTS</function>\n</seed:tool_call>",
        between: "\n",
        end: "",
        is_single: false,
        arguments: WrittenArguments::Each {
            before: "<parameter=KEY>",
            after: "</parameter>\n",
            between: "",
            text: WrittenText::Plain,
        },
    },
    ..ToolSyntax::PLAIN
};
