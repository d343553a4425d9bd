//! The form of an answer, as `--format` and `/set format` name it.

use lair_text::grammar::{ExtraProperties, GrammarSource, SOURCE_BYTES_MAX, SchemaStyle};
use serde_json::Value as Json;

use crate::failure::{ExitCode, Failure};

/// Reads `json`, a JSON schema, or the name of a file with one.
///
/// # Errors
/// If it is none of these. Whether the schema can be honoured is found out with the model's vocabulary.
pub fn answer_format(text: &str) -> Result<GrammarSource, Failure> {
    let style = SchemaStyle { extra_properties: ExtraProperties::OnlyNamed, ..SchemaStyle::default() };
    let text = text.trim();
    let text = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text);
    if text.is_empty() || text == "json" {
        return Ok(GrammarSource::AnyObject(style));
    }
    let usage = |cause: String| {
        let hint = "give `json`, a JSON schema, or a file that holds one".to_owned();
        Failure::new(ExitCode::Usage, cause).with_hint(hint)
    };
    let schema = if text.starts_with('{') {
        text.to_owned()
    } else {
        let size = std::fs::metadata(text).map(|file| file.len());
        let size = size.map_err(|error| usage(format!("the format `{text}` is not `json` and not a file: {error}")))?;
        if size > SOURCE_BYTES_MAX as u64 {
            return Err(usage(format!("`{text}` has {size} bytes, at most {SOURCE_BYTES_MAX} are taken")));
        }
        std::fs::read_to_string(text).map_err(|error| usage(format!("`{text}` cannot be read: {error}")))?
    };
    let schema: Json =
        serde_json::from_str(&schema).map_err(|error| usage(format!("the format is not a JSON schema: {error}")))?;
    Ok(GrammarSource::Schema(schema, style))
}
