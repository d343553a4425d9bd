//! gpt-oss: channels, one of which speaks to tools. Read by a reader of its own, which tells reasoning as well.
//!
//! Source: OpenAI's description of the harmony format, and the chat template of gpt-oss.

use crate::output::tools::ToolSyntax;

pub(super) const HARMONY: ToolSyntax = ToolSyntax {
    name: "harmony",
    example: "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"Rome\"}<|call|>",
    signs: &[&["<|channel|>", "<|message|>", "analysis"]],
    parsers: &["harmony"],
    marks: &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"],
    ..ToolSyntax::PLAIN
};
