//! What may follow: a grammar or a schema, as the engine sees it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Says at each place which tokens may follow, and follows the tokens that are chosen.
///
/// It is made by whoever knows text; the engine only asks. A failure or a panic in it ends its own sequence, no other.
pub trait TokenConstraint: Send {
    /// Takes tokens out of a set that has all.
    fn restrict(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintFailure>;

    /// Whether a token may follow, if that is known sooner than the whole set is; `None` if not. It is asked of a token that
    /// was drawn from all: if that may follow, no set is needed. The answer must be that of [`TokenConstraint::restrict`].
    fn allows(&mut self, _token: u32) -> Result<Option<bool>, ConstraintFailure> {
        Ok(None)
    }

    /// Goes on by a token that was allowed. Work for the next [`TokenConstraint::restrict`] may begin here, beside the
    /// model's step.
    fn accept(&mut self, token: u32) -> Result<(), ConstraintFailure>;

    /// The token that must follow, if only one may and it is known already: it is taken without a step of its own. At the
    /// same place [`TokenConstraint::restrict`] must leave just this token.
    fn forced(&self) -> Option<u32> {
        None
    }

    /// Whether nothing may follow: then the sequence ends without another step.
    fn is_over(&self) -> bool {
        false
    }

    /// The same constraint at the same place, for a fork of the sequence.
    fn fork(&self) -> Box<dyn TokenConstraint>;
}

/// Why a constraint cannot go on, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstraintFailure(pub String);

/// A set of tokens: a bit for each of the vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u64>,
    vocabulary_size: usize,
}

impl TokenSet {
    /// A set that has every token.
    pub fn all(vocabulary_size: usize) -> Self {
        let mut set = Self { words: vec![0; vocabulary_size.div_ceil(64)], vocabulary_size };
        set.insert_all();
        set
    }

    /// Puts every token in.
    pub fn insert_all(&mut self) {
        self.words.fill(u64::MAX);
        let used = self.vocabulary_size % 64;
        if let Some(last) = self.words.last_mut().filter(|_| used > 0) {
            *last = (1 << used) - 1;
        }
    }

    /// Takes every token out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Puts a token in. Tokens beyond the vocabulary are left out.
    pub fn insert(&mut self, token: u32) {
        if (token as usize) < self.vocabulary_size {
            self.words[token as usize / 64] |= 1 << (token % 64);
        }
    }

    /// Takes a token out.
    pub fn remove(&mut self, token: u32) {
        if (token as usize) < self.vocabulary_size {
            self.words[token as usize / 64] &= !(1 << (token % 64));
        }
    }

    /// Whether a token is in.
    pub fn contains(&self, token: u32) -> bool {
        (token as usize) < self.vocabulary_size && self.words[token as usize / 64] >> (token % 64) & 1 == 1
    }

    /// Tokens there are, in or not.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// The bits, token 0 the lowest of the first word. Bits beyond the vocabulary must stay 0.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Makes the logits of all tokens that are out infinite downwards.
    pub(crate) fn mask(&self, logits: &mut [f32]) {
        for (&word, logits) in self.words.iter().zip(logits.chunks_mut(64)) {
            if word == u64::MAX {
                continue;
            }
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// A constraint as a request carries it.
pub struct Constraint(Box<dyn TokenConstraint>);

/// Why a constraint did not answer.
pub(crate) enum ConstraintFault {
    /// It says so.
    Failed(String),
    /// It panicked, with this message.
    Panicked(String),
}

impl Constraint {
    /// Wraps a constraint.
    pub fn new(constraint: impl TokenConstraint + 'static) -> Self {
        Self(Box::new(constraint))
    }

    pub(crate) fn restrict(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintFault> {
        allowed.insert_all();
        guard(|| self.0.restrict(allowed))
    }

    pub(crate) fn allows(&mut self, token: u32) -> Result<Option<bool>, ConstraintFault> {
        guard(|| self.0.allows(token))
    }

    pub(crate) fn accept(&mut self, token: u32) -> Result<(), ConstraintFault> {
        guard(|| self.0.accept(token))
    }

    pub(crate) fn forced(&self) -> Result<Option<u32>, ConstraintFault> {
        guard(|| Ok(self.0.forced()))
    }

    pub(crate) fn is_over(&self) -> Result<bool, ConstraintFault> {
        guard(|| Ok(self.0.is_over()))
    }
}

/// After a panic the sequence ends, so what the constraint left half done is not seen.
fn guard<T>(call: impl FnOnce() -> Result<T, ConstraintFailure>) -> Result<T, ConstraintFault> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(|ConstraintFailure(cause)| ConstraintFault::Failed(cause)),
        Err(panic) => Err(ConstraintFault::Panicked(panic_text(&*panic).to_owned())),
    }
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message")
}

impl Clone for Constraint {
    fn clone(&self) -> Self {
        Self(self.0.fork())
    }
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Constraint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        for vocabulary_size in [1, 63, 64, 65, 130] {
            let mut set = TokenSet::all(vocabulary_size);
            let count = |set: &TokenSet| (0..200).filter(|&token| set.contains(token)).count();
            assert_eq!(count(&set), vocabulary_size);
            set.remove(0);
            set.remove(1000);
            assert_eq!(count(&set), vocabulary_size - 1);
            let mut logits = vec![1.0; vocabulary_size];
            set.mask(&mut logits);
            assert!(logits[0] == f32::NEG_INFINITY && logits[1..].iter().all(|&logit| logit == 1.0));
            set.clear();
            set.insert(vocabulary_size as u32 - 1);
            set.insert(1000);
            assert_eq!(count(&set), 1);
        }
    }
}
