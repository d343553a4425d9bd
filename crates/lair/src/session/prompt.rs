//! What a model is given: conversations and texts as tokens.

use lair_text::output::ReasoningStyle;
use lair_text::template::{RenderLimits, TemplateError};
use lair_text::tokenizer::{AddSpecial, Segment, Special, Tokenizer};

use super::template::PromptTemplate;
use super::{Session, Think};
use crate::failure::{ExitCode, Failure};

/// A message of a conversation.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who says it: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }
}

/// What a model answers to.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// How the answer marks its reasoning, and whether the prompt ends inside of it; `None` if all of it is answer.
    pub reasoning: Option<(ReasoningStyle, bool)>,
}

/// Bytes of text that a token of context is counted as, for the limit on what a chat template may give.
const CONTEXT_BYTES_A_TOKEN: usize = 16;

impl Session {
    /// A text that the operator gives as it is: control tokens may be spelled in it.
    pub fn prompt_of_text(&self, text: &str) -> Prompt {
        let tokens = self.with_begin_token(self.tokenizer.encode(text, Special::Parse, AddSpecial::No));
        Prompt { tokens, reasoning: None }
    }

    /// Tokens of a text that is only to be predicted: the spellings of control tokens in it are text.
    pub fn tokens_of_plain_text(&self, text: &str) -> Vec<u32> {
        tokens_of_plain_text(&self.tokenizer, text)
    }

    fn with_begin_token(&self, tokens: Vec<u32>) -> Vec<u32> {
        with_begin_token(&self.tokenizer, tokens)
    }

    /// A conversation through the chat template, up to where the answer begins. A model without a template gets the texts
    /// as they are.
    ///
    /// # Errors
    /// A template that cannot be used, and a wish about reasoning that it has no words for.
    pub fn prompt_of_messages(&self, messages: &[Message], think: Think) -> Result<Prompt, Failure> {
        self.check_think(think)?;
        let Some(template) = &self.template else {
            let text = messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n");
            return Ok(Prompt { tokens: self.tokens_of_plain_text(&text), reasoning: None });
        };
        let spelling = |token: Option<u32>| token.map(|token| self.text_of_token(token)).unwrap_or_default();
        let (begin, end) = (spelling(self.tokenizer.bos()), spelling(self.tokenizer.eos()));
        let limits = RenderLimits::for_context(self.context_length.saturating_mul(CONTEXT_BYTES_A_TOKEN));
        let rendered = template
            .render(messages, think, &[("bos_token", &begin), ("eos_token", &end)], limits)
            .map_err(|error| render_failure(template, error))?;
        let segments: Vec<Segment<'_>> = rendered.pieces().map(|(text, trusted)| Segment { text, trusted }).collect();
        let tokens = self.with_begin_token(self.tokenizer.encode_segments(&segments, AddSpecial::No));
        let reasoning = template.reasoning().map(|style| (style, style.is_open_at_end_of(&rendered.text)));
        Ok(Prompt { tokens, reasoning })
    }

    /// Whether the model can be told to think, or not to.
    ///
    /// # Errors
    /// Names what the model cannot do.
    pub fn check_think(&self, think: Think) -> Result<(), Failure> {
        think.check(self.template_source().unwrap_or_default())
    }
}

fn render_failure(template: &PromptTemplate, error: Option<TemplateError>) -> Failure {
    match error {
        Some(error) => {
            let cause = format!("the model's chat template refuses the conversation: {error}");
            Failure::new(ExitCode::BadModel, cause).with_hint(error.hint())
        }
        None => {
            Failure::new(ExitCode::BadModel, template.problem().unwrap_or("the model's chat template cannot be used"))
                .with_hint("use --raw to give the model the prompt as it is".to_owned())
        }
    }
}

/// The token that begins a text, where the model wants one.
pub(crate) fn begin_token(tokenizer: &Tokenizer) -> Option<u32> {
    tokenizer.bos().filter(|_| tokenizer.adds_bos())
}

/// Tokens of a text that is only to be predicted: the spellings of control tokens in it are text.
pub(crate) fn tokens_of_plain_text(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    with_begin_token(tokenizer, tokenizer.encode(text, Special::AsText, AddSpecial::No))
}

fn with_begin_token(tokenizer: &Tokenizer, mut tokens: Vec<u32>) -> Vec<u32> {
    if let Some(begin) = begin_token(tokenizer)
        && tokens.first() != Some(&begin)
    {
        tokens.insert(0, begin);
    }
    tokens
}
