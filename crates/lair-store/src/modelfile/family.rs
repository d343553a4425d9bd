//! Prompt formats, told by the special tokens they are made of: whether a template is the one of its model's family.

use lair_gguf::{Array, GgufFile, Value};

/// A prompt format.
struct Format {
    name: &'static str,
    /// A token that only this format writes between turns.
    marker: &'static str,
}

/// Formats with their markers, the most specific first: vocabularies of younger families carry older markers along.
const FORMATS: &[Format] = &[
    Format { name: "Harmony (gpt-oss)", marker: "<|channel|>" },
    Format { name: "Llama 3", marker: "<|start_header_id|>" },
    Format { name: "Llama 4", marker: "<|header_start|>" },
    Format { name: "Gemma", marker: "<start_of_turn>" },
    Format { name: "Command R", marker: "<|START_OF_TURN_TOKEN|>" },
    Format { name: "Granite 3", marker: "<|start_of_role|>" },
    Format { name: "DeepSeek", marker: "<｜User｜>" },
    Format { name: "Phi 4", marker: "<|im_sep|>" },
    Format { name: "ChatML", marker: "<|im_start|>" },
    Format { name: "Mistral", marker: "[INST]" },
    Format { name: "Phi 3", marker: "<|end|>" },
];

/// What to tell the user of the template of a model: nothing if it fits, or if nothing is known of the model.
pub(super) fn template_warning(file: &GgufFile, template: Option<&str>) -> Option<String> {
    let own = file.metadata().get("tokenizer.chat_template").and_then(Value::as_str);
    let format = FORMATS.iter().find(|format| has_token(file, format.marker));
    match (template, own, format) {
        (None, Some(_), _) => None,
        (None, None, Some(format)) => Some(format!(
            "the model has no template; its vocabulary has `{}`, the marker of the {} format: add a TEMPLATE that writes it",
            format.marker, format.name
        )),
        (None, None, None) => Some("the model has no template; chats send the text as it is".to_string()),
        (Some(template), _, Some(format)) if !template.contains(format.marker) => {
            let instead = if own.is_some() { "; without TEMPLATE the template of the file counts" } else { "" };
            Some(format!(
                "the template does not write `{}`, the marker of the {} format that the vocabulary has{instead}",
                format.marker, format.name
            ))
        }
        (Some(template), _, None) => FORMATS
            .iter()
            .find(|format| format.marker.starts_with('<') && template.contains(format.marker))
            .filter(|_| file.metadata().contains("tokenizer.ggml.tokens"))
            .map(|format| {
                format!(
                    "the template writes `{}` of the {} format, which is no token of the model",
                    format.marker, format.name
                )
            }),
        (Some(_), _, Some(_)) => None,
    }
}

fn has_token(file: &GgufFile, token: &str) -> bool {
    let tokens = file.metadata().get("tokenizer.ggml.tokens").and_then(Value::as_array).and_then(Array::as_strings);
    tokens.is_some_and(|tokens| tokens.iter().any(|known| known == token))
}
