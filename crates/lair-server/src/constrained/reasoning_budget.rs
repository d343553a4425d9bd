//! A bound on reasoning: when it is reached, the closing tag is the only thing that may follow.

use std::sync::Arc;

use lair_engine::{ConstraintFailure, TokenConstraint, TokenSet};
use lair_text::output::ReasoningStyle;
use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special, Tokenizer};

/// Tokens at the end of a prompt that can hold an opening tag.
const TAIL_TOKENS: usize = 24;

/// Counts the tokens of the reasoning, before another constraint or none.
pub(crate) struct ReasoningBudget {
    tokenizer: Arc<Tokenizer>,
    style: ReasoningStyle,
    close: Arc<[u32]>,
    left: usize,
    state: State,
    inner: Option<Box<dyn TokenConstraint>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The opening tag may come: the text so far.
    Beginning(Vec<u8>),
    /// In the reasoning: the end of its text, which may be the beginning of the closing tag.
    Reasoning(Vec<u8>),
    /// So many tokens of the closing tag are there.
    Closing(usize),
    Over,
}

impl ReasoningBudget {
    /// At most `budget` tokens of reasoning in the answer to this prompt.
    pub(crate) fn new(
        tokenizer: &Arc<Tokenizer>,
        style: ReasoningStyle,
        prompt: &[u32],
        budget: usize,
        inner: Option<Box<dyn TokenConstraint>>,
    ) -> ReasoningBudget {
        let tail = &prompt[prompt.len().saturating_sub(TAIL_TOKENS)..];
        let tail = tokenizer.decode(tail, ShowSpecial::Show).unwrap_or_default();
        let is_open = style.is_open_at_end_of(&tail);
        let mut budget = ReasoningBudget {
            tokenizer: Arc::clone(tokenizer),
            style,
            close: tokenizer.encode(style.close, Special::Parse, AddSpecial::No).into(),
            left: budget,
            state: if is_open { State::Reasoning(Vec::new()) } else { State::Beginning(Vec::new()) },
            inner,
        };
        budget.close_if_spent();
        budget
    }

    fn close_if_spent(&mut self) {
        if self.left == 0 && matches!(self.state, State::Reasoning(_)) && !self.close.is_empty() {
            self.state = State::Closing(0);
        }
    }

    fn follow(&mut self, token: u32) {
        let bytes = self.tokenizer.token_bytes(token).unwrap_or_default();
        match &mut self.state {
            State::Over => {}
            State::Closing(place) => {
                *place += 1;
                if *place >= self.close.len() {
                    self.state = State::Over;
                }
            }
            State::Beginning(text) => {
                text.extend_from_slice(bytes);
                let (text, open) = (String::from_utf8_lossy(text), self.style.open);
                let text = text.trim_start();
                if text.starts_with(open) {
                    self.state = State::Reasoning(Vec::new());
                } else if !open.starts_with(text) {
                    self.state = State::Over;
                }
            }
            State::Reasoning(tail) => {
                self.left = self.left.saturating_sub(1);
                tail.extend_from_slice(bytes);
                let close = self.style.close.as_bytes();
                if tail.windows(close.len()).any(|window| window == close) {
                    self.state = State::Over;
                } else {
                    tail.drain(..tail.len().saturating_sub(close.len() - 1));
                }
            }
        }
        self.close_if_spent();
    }
}

impl TokenConstraint for ReasoningBudget {
    fn restrict(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintFailure> {
        if let State::Closing(place) = self.state {
            allowed.clear();
            allowed.insert(self.close[place]);
            return Ok(());
        }
        self.inner.as_mut().map_or(Ok(()), |inner| inner.restrict(allowed))
    }

    fn allows(&mut self, token: u32) -> Result<Option<bool>, ConstraintFailure> {
        if let State::Closing(place) = self.state {
            return Ok(Some(self.close[place] == token));
        }
        self.inner.as_mut().map_or(Ok(Some(true)), |inner| inner.allows(token))
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintFailure> {
        self.follow(token);
        self.inner.as_mut().map_or(Ok(()), |inner| inner.accept(token))
    }

    fn is_over(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.is_over())
    }

    fn fork(&self) -> Box<dyn TokenConstraint> {
        Box::new(ReasoningBudget {
            tokenizer: Arc::clone(&self.tokenizer),
            style: self.style,
            close: Arc::clone(&self.close),
            left: self.left,
            state: self.state.clone(),
            inner: self.inner.as_ref().map(|inner| inner.fork()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of bytes: every character of a tag is a token of its own.
    fn tokenizer() -> Option<Arc<Tokenizer>> {
        let path = lair_testkit::shared_data("tokenizers/ggml-vocab-gpt-2.gguf")?;
        let file = lair_gguf::GgufFile::open(&path).expect("a file");
        Some(Arc::new(Tokenizer::from_gguf(file.metadata()).expect("a tokenizer")))
    }

    const STYLE: ReasoningStyle = ReasoningStyle::THINK;

    fn allowed(budget: &mut ReasoningBudget, size: usize) -> Option<Vec<u32>> {
        let mut set = TokenSet::all(size);
        budget.restrict(&mut set).expect("fine");
        let tokens: Vec<u32> = (0..size as u32).filter(|token| set.contains(*token)).collect();
        (tokens.len() < size).then_some(tokens)
    }

    #[test]
    fn the_closing_tag_is_forced_when_the_budget_is_spent() {
        let Some(tokenizer) = tokenizer() else { return };
        let size = tokenizer.vocabulary_size();
        let encode = |text: &str| tokenizer.encode(text, Special::AsText, AddSpecial::No);
        let prompt = encode("assistant\n<think>\n");
        let mut budget = ReasoningBudget::new(&tokenizer, STYLE, &prompt, 2, None);
        for token in encode(" one two") {
            assert_eq!(allowed(&mut budget, size), None);
            budget.accept(token).expect("fine");
        }
        let mut fork = budget.fork();
        for token in encode("</think>") {
            assert_eq!(allowed(&mut budget, size), Some(vec![token]));
            budget.accept(token).expect("fine");
        }
        assert_eq!(allowed(&mut budget, size), None);
        let mut set = TokenSet::all(size);
        fork.restrict(&mut set).expect("fine");
        assert!(set.contains(encode("</think>")[0]) && !set.contains(encode(" three")[0]));
    }

    #[test]
    fn reasoning_that_ends_by_itself_and_answers_without_are_let_be() {
        let Some(tokenizer) = tokenizer() else { return };
        let size = tokenizer.vocabulary_size();
        let encode = |text: &str| tokenizer.encode(text, Special::AsText, AddSpecial::No);
        for (answer, budget) in [("<think>a</think> and much more than that", 40), ("There is no reasoning in here", 0)]
        {
            let mut budget = ReasoningBudget::new(&tokenizer, STYLE, &encode("assistant\n"), budget, None);
            for token in encode(answer) {
                assert_eq!(allowed(&mut budget, size), None, "{answer}");
                budget.accept(token).expect("fine");
            }
        }
        let mut budget = ReasoningBudget::new(&tokenizer, STYLE, &encode("assistant\n"), 0, None);
        encode("<think>").into_iter().for_each(|token| budget.accept(token).expect("fine"));
        assert_eq!(allowed(&mut budget, size), Some(vec![encode("</think>")[0]]));
    }
}
