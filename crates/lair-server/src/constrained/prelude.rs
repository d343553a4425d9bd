//! What may come before a constrained answer: reasoning, and white space after it.

use lair_engine::TokenSet;
use lair_text::output::ReasoningStyle;
use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special, Tokenizer};

/// Tokens at the end of a prompt that can hold a tag of reasoning.
const TAIL_TOKENS: usize = 24;
/// gpt-oss's message of the answer begins so, whether or not reasoning comes before it.
const HARMONY_FINAL: &str = "<|channel|>final<|message|>";

/// Follows an answer up to where the constrained part begins.
#[derive(Clone, Debug)]
pub struct Prelude {
    state: State,
    close: &'static str,
    /// Tokens that spell the opening tag.
    open_tokens: Vec<u32>,
    /// Tokens that end generation: none of them before the answer.
    ends: Vec<u32>,
    /// Tokens of white space only.
    blanks: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The answer may begin, or the opening tag.
    Beginning,
    /// So many tokens of the opening tag are there.
    Opening(usize),
    /// In the reasoning; the end of its text, which may be the beginning of the closing tag.
    Reasoning(Vec<u8>),
    /// After the reasoning: one token of white space may come.
    Gap,
    /// The answer has begun.
    Over,
}

/// What a token of the prelude means for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It belongs to the prelude.
    Prelude,
    /// It is the answer's.
    Answer,
    /// The prelude ends in it, and this text of it is the answer's.
    Split(String),
}

impl Prelude {
    /// No prelude: the answer begins at once.
    pub fn none() -> Prelude {
        Prelude { state: State::Over, close: "", open_tokens: Vec::new(), ends: Vec::new(), blanks: Vec::new() }
    }

    /// The prelude of an answer to this prompt by a model that reasons in this style.
    pub fn after(tokenizer: &Tokenizer, style: Option<ReasoningStyle>, prompt: &[u32]) -> Prelude {
        let Some(style) = style else { return Prelude::none() };
        let tail = &prompt[prompt.len().saturating_sub(TAIL_TOKENS)..];
        let tail = tokenizer.decode(tail, ShowSpecial::Show).unwrap_or_default();
        let is_harmony = style.close.ends_with(HARMONY_FINAL);
        // A template that was told not to reason writes an empty reasoning itself.
        if tail.trim_end().ends_with(style.close) {
            return Prelude::none();
        }
        let is_open = is_harmony || style.is_open_at_end_of(&tail);
        let is_blank = |token: &u32| {
            let bytes = tokenizer.token_bytes(*token).unwrap_or_default();
            !bytes.is_empty() && bytes.iter().all(u8::is_ascii_whitespace)
        };
        Prelude {
            state: if is_open { State::Reasoning(Vec::new()) } else { State::Beginning },
            close: if is_harmony { HARMONY_FINAL } else { style.close },
            open_tokens: tokenizer.encode(style.open, Special::Parse, AddSpecial::No),
            ends: tokenizer.ends_of_generation().to_vec(),
            blanks: (0..tokenizer.vocabulary_size() as u32).filter(is_blank).collect(),
        }
    }

    /// Whether the answer has begun.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether the set of tokens is the answer's, with what [`Prelude::extend`] adds.
    pub fn wants_answer(&self) -> bool {
        matches!(self.state, State::Beginning | State::Gap | State::Over)
    }

    /// Takes out of a full set what the prelude does not allow.
    pub fn restrict(&self, allowed: &mut TokenSet) {
        match self.state {
            State::Opening(place) => {
                allowed.clear();
                allowed.insert(self.open_tokens[place]);
            }
            _ => self.ends.iter().for_each(|&end| allowed.remove(end)),
        }
    }

    /// Adds to the answer's set what may come before it.
    pub fn extend(&self, allowed: &mut TokenSet) {
        match self.state {
            State::Beginning => self.open_tokens.first().into_iter().for_each(|&token| allowed.insert(token)),
            State::Gap => self.blanks.iter().for_each(|&token| allowed.insert(token)),
            _ => {}
        }
    }

    /// Goes on by a token. `is_answers` says whether the answer's grammar takes it where the answer may begin.
    pub fn accept(&mut self, tokenizer: &Tokenizer, token: u32, mut is_answers: impl FnMut() -> bool) -> Step {
        match &mut self.state {
            State::Over => Step::Answer,
            State::Beginning if self.open_tokens.first() == Some(&token) && !is_answers() => {
                self.state = self.opened(1);
                Step::Prelude
            }
            State::Opening(place) => {
                let place = *place + 1;
                self.state = self.opened(place);
                Step::Prelude
            }
            State::Gap if self.blanks.binary_search(&token).is_ok() && !is_answers() => {
                self.state = State::Over;
                Step::Prelude
            }
            State::Beginning | State::Gap => {
                self.state = State::Over;
                Step::Answer
            }
            State::Reasoning(tail) => {
                tail.extend_from_slice(tokenizer.token_bytes(token).unwrap_or_default());
                let close = self.close.as_bytes();
                let Some(found) = tail.windows(close.len()).position(|window| window == close) else {
                    tail.drain(..tail.len().saturating_sub(close.len() - 1));
                    return Step::Prelude;
                };
                let rest = String::from_utf8_lossy(&tail[found + close.len()..]).trim_start().to_owned();
                self.state = if rest.is_empty() { State::Gap } else { State::Over };
                if rest.is_empty() { Step::Prelude } else { Step::Split(rest) }
            }
        }
    }

    fn opened(&self, place: usize) -> State {
        if place < self.open_tokens.len() { State::Opening(place) } else { State::Reasoning(Vec::new()) }
    }
}
