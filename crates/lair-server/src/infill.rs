//! Prompts for filling a gap: what stands before it, what stands after it, and other files for context, between the
//! tokens that the model was trained with for this.

use lair_text::prompt;
use lair_text::tokenizer::{AddSpecial, Special, Tokenizer};

use crate::error::{ApiError, ErrorKind};

/// A gap to be filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Text before the gap.
    pub(crate) prefix: String,
    /// Text after it.
    pub(crate) suffix: String,
    /// What the content of the gap begins with.
    pub(crate) begun: String,
    /// Other files, for context: name and text.
    pub(crate) files: Vec<(String, String)>,
}

/// What stands between snippets where the vocabulary has no token for it, as llama-server writes it.
const SNIPPET_BREAK: &str = "\n\n--- snippet ---\n\n";

/// The tokens of a gap: prefix, suffix, then where the content begins. Spellings of control tokens in the texts stay
/// text.
///
/// # Errors
/// If the vocabulary lacks the tokens for it.
pub(crate) fn tokens_of_gap(tokenizer: &Tokenizer, gap: &Gap) -> Result<Vec<u32>, ApiError> {
    let ids = tokenizer.special_ids();
    let (Some(prefix), Some(suffix), Some(middle)) = (ids.fim_prefix, ids.fim_suffix, ids.fim_middle) else {
        let missing: Vec<&str> = [("prefix", ids.fim_prefix), ("suffix", ids.fim_suffix), ("middle", ids.fim_middle)]
            .into_iter()
            .filter_map(|(name, id)| id.is_none().then_some(name))
            .collect();
        let cause = format!("the model cannot fill gaps: its vocabulary has no token for the {}", missing.join(", "));
        return Err(ApiError::new(ErrorKind::Unsupported, cause)
            .with_hint("take a model for code, for example of the Qwen2.5-Coder family".to_owned()));
    };
    let plain = |text: &str| tokenizer.encode(text, Special::AsText, AddSpecial::No);
    let mut tokens: Vec<u32> = prompt::begin_token(tokenizer).into_iter().collect();
    if !gap.files.is_empty() {
        // Source: "Qwen2.5-Coder Technical Report", section 3.2, the repository-level form.
        if let Some(repository) = ids.fim_repository {
            tokens.push(repository);
            tokens.extend(plain("project\n"));
        }
        for (name, text) in &gap.files {
            match ids.fim_separator {
                Some(separator) => {
                    tokens.push(separator);
                    tokens.extend(plain(&format!("{name}\n")));
                }
                None => tokens.extend(plain(SNIPPET_BREAK)),
            }
            tokens.extend(plain(text));
        }
        if let Some(separator) = ids.fim_separator {
            tokens.push(separator);
            tokens.extend(plain("filename\n"));
        }
    }
    tokens.push(prefix);
    tokens.extend(plain(&gap.prefix));
    tokens.push(suffix);
    tokens.extend(plain(&gap.suffix));
    tokens.push(middle);
    tokens.extend(plain(&gap.begun));
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use lair_gguf::{Metadata, StringArray};
    use lair_text::tokenizer::ShowSpecial;

    use super::*;

    /// Bytes, a space, and these control tokens.
    fn tokenizer(control: &[&str]) -> Tokenizer {
        let mut pieces = vec!["<unk>".to_owned()];
        pieces.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
        let mut kinds = vec![2];
        kinds.resize(pieces.len(), 6);
        // How this kind of vocabulary spells a space.
        pieces.push("\u{2581}".to_owned());
        kinds.push(1);
        pieces.extend(control.iter().map(|&piece| piece.to_owned()));
        kinds.resize(pieces.len(), 3);
        let mut metadata = Metadata::default();
        metadata.set("tokenizer.ggml.model", "llama");
        metadata.set("tokenizer.ggml.add_bos_token", false);
        metadata.set("tokenizer.ggml.add_space_prefix", false);
        metadata.set("tokenizer.ggml.scores", vec![0.0f32; pieces.len()]);
        metadata.set("tokenizer.ggml.tokens", pieces.into_iter().collect::<StringArray>());
        metadata.set("tokenizer.ggml.token_type", kinds);
        Tokenizer::from_gguf(&metadata).expect("a sound vocabulary")
    }

    const GAP_TOKENS: &[&str] = &["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"];

    fn text(tokenizer: &Tokenizer, gap: &Gap) -> String {
        let tokens = tokens_of_gap(tokenizer, gap).expect("it has the tokens");
        tokenizer.decode(&tokens, ShowSpecial::Show).expect("known tokens")
    }

    #[test]
    fn a_gap_stands_between_its_tokens() {
        let mut gap = Gap { prefix: "fn a() {".into(), suffix: "}".into(), begun: "  ".into(), files: Vec::new() };
        let of_gap = "<|fim_prefix|>fn a() {<|fim_suffix|>}<|fim_middle|>  ";
        assert_eq!(text(&tokenizer(GAP_TOKENS), &gap), of_gap);
        gap.files = vec![("b.rs".into(), "fn b();\n".into())];
        let files = [GAP_TOKENS, &["<|repo_name|>", "<|file_sep|>"]].concat();
        assert_eq!(
            text(&tokenizer(&files), &gap),
            format!("<|repo_name|>project\n<|file_sep|>b.rs\nfn b();\n<|file_sep|>filename\n{of_gap}")
        );
        assert_eq!(text(&tokenizer(GAP_TOKENS), &gap), format!("{SNIPPET_BREAK}fn b();\n{of_gap}"));
    }

    #[test]
    fn spellings_of_control_tokens_in_a_gap_stay_text() {
        let tokenizer = tokenizer(GAP_TOKENS);
        let gap = Gap { prefix: "<|fim_middle|><|fim_prefix|>".into(), ..Gap::default() };
        let tokens = tokens_of_gap(&tokenizer, &gap).expect("it has the tokens");
        assert_eq!(tokens.iter().filter(|&&token| tokenizer.is_control(token)).count(), 3);
    }

    #[test]
    fn a_vocabulary_without_the_tokens_is_refused_with_their_names() {
        let error = tokens_of_gap(&tokenizer(&GAP_TOKENS[..1]), &Gap::default()).expect_err("no tokens for it");
        assert!(error.message.contains("for the suffix, middle"), "{error}");
        assert_eq!(error.status(), 400);
    }
}
