//! A grammar at a place in an answer.

use llguidance::Matcher;
use llguidance::api::StopReason;
use toktrie::SimpleVob;

use super::error::GrammarError;
use crate::tokenizer::TokenId;

/// What the last byte of a finished answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing.
    Open,
    /// After a bracket or a quotation mark only white space could follow, so the answer is over.
    Json,
}

/// Follows an answer token by token.
pub struct GrammarMatcher {
    matcher: Matcher,
    ending: Ending,
    is_over: bool,
}

/// The tokens that may follow: bit `i` of word `w` stands for token `32 * w + i`.
pub struct AllowedTokens(SimpleVob);

impl AllowedTokens {
    /// The bits; those beyond the vocabulary are 0.
    pub fn words(&self) -> &[u32] {
        self.0.as_slice()
    }

    /// Whether a token is in.
    pub fn contains(&self, token: TokenId) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }
}

impl GrammarMatcher {
    pub(super) fn new(matcher: Matcher, ending: Ending) -> GrammarMatcher {
        GrammarMatcher { matcher, ending, is_over: false }
    }

    /// The tokens that may follow, tokens that end the answer among them exactly where it may end.
    pub fn allowed(&mut self) -> Result<AllowedTokens, GrammarError> {
        self.matcher.compute_mask_or_eos().map(AllowedTokens).map_err(stuck)
    }

    /// Goes on by a token.
    ///
    /// # Errors
    /// If it is not allowed, or the grammar takes more work than a step may.
    pub fn accept(&mut self, token: TokenId) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(stuck)?;
        self.is_over = match self.matcher.stop_reason() {
            StopReason::NotStopped => self.is_closed(token)?,
            reason if reason.is_ok() => true,
            reason => return Err(GrammarError::Stuck { cause: reason.to_string() }),
        };
        Ok(())
    }

    fn is_closed(&mut self, token: TokenId) -> Result<bool, GrammarError> {
        if self.ending == Ending::Open {
            return Ok(false);
        }
        let environment = self.matcher.tok_env().map_err(stuck)?;
        let last = environment.tok_trie().token(token).last();
        Ok(matches!(last, Some(b'}' | b']' | b'"')) && self.matcher.is_accepting().map_err(stuck)?)
    }

    /// Whether the answer is complete and nothing may follow.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> Result<bool, GrammarError> {
        Ok(self.is_over || self.matcher.is_accepting().map_err(stuck)?)
    }

    /// How many of these tokens may follow, one after the other.
    pub fn accepted_count(&mut self, tokens: &[TokenId]) -> Result<usize, GrammarError> {
        if self.is_over {
            return Ok(0);
        }
        self.matcher.validate_tokens(tokens).map_err(stuck)
    }

    /// Tokens that must follow; the answer could have no others.
    pub fn forced(&mut self) -> Vec<TokenId> {
        if self.is_over { Vec::new() } else { self.matcher.compute_ff_tokens() }
    }
}

impl Clone for GrammarMatcher {
    /// One that goes its own way, and shares nothing that it would have to wait for.
    fn clone(&self) -> GrammarMatcher {
        GrammarMatcher { matcher: self.matcher.deep_clone(), ..*self }
    }
}

fn stuck(error: impl std::fmt::Display) -> GrammarError {
    // What follows the first line is the state of the parser, which tells users nothing.
    let cause = error.to_string().lines().next().unwrap_or_default().to_owned();
    GrammarError::Stuck { cause }
}
