//! Instructions to text: quotes where a text needs them, in the way of `ollama show --modelfile`.

use super::error::ModelfileError;
use super::{Instruction, Modelfile};

pub(super) fn print(modelfile: &Modelfile) -> Result<String, ModelfileError> {
    let mut text = String::new();
    for instruction in &modelfile.instructions {
        let (name, first_word, value) = parts(instruction);
        text.push_str(name);
        text.push(' ');
        if let Some(word) = first_word {
            text.push_str(word);
            text.push(' ');
        }
        text.push_str(&quoted(value).ok_or(ModelfileError::Unprintable { instruction: name })?);
        text.push('\n');
    }
    Ok(text)
}

/// Name, the word between name and value, value.
fn parts(instruction: &Instruction) -> (&'static str, Option<&str>, &str) {
    match instruction {
        Instruction::From(from) => ("FROM", None, from),
        Instruction::Parameter { name, value } => ("PARAMETER", Some(name), value),
        Instruction::Template(text) => ("TEMPLATE", None, text),
        Instruction::System(text) => ("SYSTEM", None, text),
        Instruction::Adapter(path) => ("ADAPTER", None, path),
        Instruction::License(text) => ("LICENSE", None, text),
        Instruction::Message(message) => ("MESSAGE", Some(&message.role), &message.content),
        Instruction::Requires(version) => ("REQUIRES", None, version),
        Instruction::Draft(path) => ("DRAFT", None, path),
        Instruction::Renderer(name) => ("RENDERER", None, name),
        Instruction::Parser(name) => ("PARSER", None, name),
    }
}

/// The text in the quotes it needs, or nothing if no quotes hold it.
fn quoted(text: &str) -> Option<String> {
    let is_plain = !text.is_empty() && !text.starts_with('"') && !text.contains(['\n', '\r']) && text.trim() == text;
    if is_plain {
        return Some(text.to_string());
    }
    if !text.contains('"') {
        return Some(format!("\"{text}\""));
    }
    // The first line that ends with the quotes ends the text, so no line inside may.
    let ends_early = text.match_indices(['\n', '\r']).any(|(index, _)| text[..index].trim_end().ends_with("\"\"\""));
    (!ends_early).then(|| format!("\"\"\"{text}\"\"\""))
}
