//! A grammar as the engine asks for it.

use std::collections::VecDeque;
use std::sync::Arc;

use lair_engine::{ConstraintFailure, TokenConstraint, TokenSet};
use lair_text::grammar::{GrammarError, GrammarFactory, GrammarMatcher, GrammarSource};
use lair_text::tokenizer::{AddSpecial, Special, Tokenizer};

use super::mask_ahead::{MaskAhead, Outcome};
use super::prelude::{Prelude, Step};

/// Holds an answer to a grammar, from where its prelude ends.
pub struct GrammarConstraint {
    tokenizer: Arc<Tokenizer>,
    prelude: Prelude,
    ahead: MaskAhead,
    /// Tokens that must follow, in order.
    forced: VecDeque<u32>,
    is_over: bool,
    /// The last token was found to be allowed by itself, so the next may be as well, and its set is not asked for ahead.
    is_checked: bool,
}

impl GrammarConstraint {
    /// Compiles the grammar: it may take long.
    pub fn new(
        grammars: &GrammarFactory,
        source: &GrammarSource,
        prelude: Prelude,
    ) -> Result<GrammarConstraint, GrammarError> {
        let mut matcher = Box::new(grammars.compile(source)?.matcher());
        let tokenizer = Arc::clone(grammars.tokenizer());
        let forced = if prelude.is_over() { matcher.forced().into() } else { VecDeque::new() };
        let ahead = MaskAhead::ask(matcher);
        Ok(GrammarConstraint { tokenizer, prelude, ahead, forced, is_over: false, is_checked: false })
    }

    fn take(&mut self) -> Result<(Box<GrammarMatcher>, Option<Outcome>), ConstraintFailure> {
        self.ahead.take().ok_or_else(|| ConstraintFailure("the grammar failed before".to_owned()))
    }

    /// Feeds what a token of reasoning has of the answer.
    fn accept_text(&self, matcher: &mut GrammarMatcher, text: &str) -> Result<(), GrammarError> {
        let tokens = self.tokenizer.encode(text, Special::AsText, AddSpecial::No);
        tokens.into_iter().try_for_each(|token| matcher.accept(token))
    }
}

impl TokenConstraint for GrammarConstraint {
    fn restrict(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintFailure> {
        if let Some(&token) = self.forced.front() {
            allowed.clear();
            allowed.insert(token);
            return Ok(());
        }
        if !self.prelude.wants_answer() {
            self.prelude.restrict(allowed);
            return Ok(());
        }
        self.is_checked = false;
        let (mut matcher, outcome) = self.take()?;
        let outcome = outcome.unwrap_or_else(|| matcher.allowed());
        self.ahead = MaskAhead::hold(matcher);
        let tokens = outcome.map_err(failure)?;
        copy_bits(tokens.words(), allowed);
        self.prelude.extend(allowed);
        Ok(())
    }

    fn allows(&mut self, token: u32) -> Result<Option<bool>, ConstraintFailure> {
        if let Some(&forced) = self.forced.front() {
            return Ok(Some(forced == token));
        }
        // Where an answer may end only the set says, for a grammar knows one token of those that end a model's answers.
        if !self.prelude.is_over() || self.tokenizer.ends_of_generation().contains(&token) {
            return Ok(None);
        }
        let (mut matcher, outcome) = self.take()?;
        let count = matcher.accepted_count(&[token]);
        self.ahead = MaskAhead::hold_with(matcher, outcome);
        self.is_checked = count.map_err(failure)? == 1;
        Ok(Some(self.is_checked))
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintFailure> {
        let (mut matcher, _) = self.take()?;
        let is_answers = || matcher.accepted_count(&[token]).is_ok_and(|count| count == 1);
        let outcome = match self.prelude.accept(&self.tokenizer, token, is_answers) {
            Step::Prelude => Ok(()),
            Step::Answer => matcher.accept(token),
            Step::Split(text) => self.accept_text(&mut matcher, &text),
        };
        self.is_over = matcher.is_over();
        self.forced.pop_front();
        if self.forced.is_empty() && outcome.is_ok() && !self.is_over && self.prelude.is_over() {
            self.forced.extend(matcher.forced());
        }
        let is_needed = outcome.is_ok() && !self.is_over && self.forced.is_empty() && self.prelude.wants_answer();
        self.ahead = if is_needed && !self.is_checked { MaskAhead::ask(matcher) } else { MaskAhead::hold(matcher) };
        outcome.map_err(failure)
    }

    fn forced(&self) -> Option<u32> {
        self.forced.front().copied()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn fork(&self) -> Box<dyn TokenConstraint> {
        let ahead = match self.ahead.copy() {
            Some(matcher) if !self.is_checked => MaskAhead::ask(matcher),
            Some(matcher) => MaskAhead::hold(matcher),
            None => MaskAhead::gone(),
        };
        let (tokenizer, prelude) = (Arc::clone(&self.tokenizer), self.prelude.clone());
        Box::new(GrammarConstraint {
            tokenizer,
            prelude,
            ahead,
            forced: self.forced.clone(),
            is_over: self.is_over,
            is_checked: self.is_checked,
        })
    }
}

fn failure(error: GrammarError) -> ConstraintFailure {
    match error {
        GrammarError::Stuck { cause } => ConstraintFailure(cause),
        other => ConstraintFailure(other.to_string()),
    }
}

/// Makes a set these bits. The model's vocabulary may have rows that the tokenizer does not know: none of them is in.
fn copy_bits(words: &[u32], allowed: &mut TokenSet) {
    let vocabulary_size = allowed.vocabulary_size();
    let pairs = words.chunks(2).map(|pair| u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 32);
    let mut pairs = pairs.chain(std::iter::repeat(0));
    for (index, word) in allowed.words_mut().iter_mut().enumerate() {
        let used = vocabulary_size - (64 * index).min(vocabulary_size);
        let in_vocabulary = if used < 64 { (1u64 << used) - 1 } else { u64::MAX };
        *word = pairs.next().unwrap_or(0) & in_vocabulary;
    }
}
