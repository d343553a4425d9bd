//! gpt-oss: channels, one of which speaks to tools. Read by a reader of its own, which tells reasoning as well.
//!
//! Source: OpenAI's description of the harmony format, and the chat template of gpt-oss.

use crate::output::tools::ToolSyntax;
use crate::output::tools::written::Written;

pub(super) const HARMONY: ToolSyntax = ToolSyntax {
    name: "harmony",
    example: "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"Rome\"}<|call|>",
    signs: &[&["<|channel|>", "<|message|>", "analysis"]],
    parsers: &["harmony"],
    marks: &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"],
    written: Written {
        is_single: true,
        ..Written::each("<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>ARGUMENTS", "")
    },
    ..ToolSyntax::PLAIN
};
