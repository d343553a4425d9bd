//! What a model is given: conversations and texts as tokens.

use lair_text::template::{RenderInput, RenderLimits};
use lair_text::tokenizer::{AddSpecial, Segment, Special};

use super::Session;
use crate::failure::{ExitCode, Failure};

/// A message of a conversation.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who says it: `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &'static str, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }
}

/// Bytes of text that a token of context is counted as, for the limit on what a chat template may give.
const CONTEXT_BYTES_A_TOKEN: usize = 16;

impl Session {
    /// Tokens of a text that the operator gives as it is: control tokens may be spelled in it.
    pub fn tokens_of_text(&self, text: &str) -> Vec<u32> {
        self.with_begin_token(self.tokenizer.encode(text, Special::Parse, AddSpecial::No))
    }

    /// Tokens of a text that is only to be predicted: the spellings of control tokens in it are text.
    pub fn tokens_of_plain_text(&self, text: &str) -> Vec<u32> {
        self.with_begin_token(self.tokenizer.encode(text, Special::AsText, AddSpecial::No))
    }

    fn with_begin_token(&self, mut tokens: Vec<u32>) -> Vec<u32> {
        if let Some(begin) = self.begin_token()
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        tokens
    }

    /// Tokens of a conversation through the model's chat template, up to where the answer begins. A model without a
    /// template gets the texts as they are.
    pub fn tokens_of_messages(&self, messages: &[Message]) -> Result<Vec<u32>, Failure> {
        let template = match &self.template {
            Some(Ok(template)) => Some(template),
            Some(Err(cause)) => {
                let hint = "use --raw to give the model the prompt as it is".to_owned();
                return Err(Failure::new(ExitCode::BadModel, cause).with_hint(hint));
            }
            None => None,
        };
        let Some(template) = template else {
            let text = messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n");
            return Ok(self.tokens_of_plain_text(&text));
        };
        let spelling = |token: Option<u32>| token.map(|token| self.text_of_token(token)).unwrap_or_default();
        let messages: Vec<_> = messages
            .iter()
            .map(|message| serde_json::json!({ "role": message.role, "content": message.content }))
            .collect();
        let (begin, end) = (spelling(self.tokenizer.bos()), spelling(self.tokenizer.eos()));
        let input = RenderInput {
            messages: &messages,
            add_generation_prompt: true,
            tokens: &[("bos_token", &begin), ("eos_token", &end)],
            limits: RenderLimits::for_context(self.context_length.saturating_mul(CONTEXT_BYTES_A_TOKEN)),
            ..RenderInput::default()
        };
        let rendered = template.render(&input).map_err(|error| {
            Failure::new(ExitCode::BadModel, format!("the model's chat template refuses the conversation: {error}"))
                .with_hint(error.hint())
        })?;
        let segments: Vec<Segment<'_>> = rendered.pieces().map(|(text, trusted)| Segment { text, trusted }).collect();
        Ok(self.with_begin_token(self.tokenizer.encode_segments(&segments, AddSpecial::No)))
    }
}
