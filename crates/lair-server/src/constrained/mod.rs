//! Answers that must have a form: what a request wishes, and the constraint that the engine is given for it.

mod constraint;
mod mask_ahead;
mod prelude;
mod reasoning_budget;
mod wishes;

use std::sync::Arc;

use lair_engine::Constraint;
use lair_text::grammar::GrammarError;

pub use constraint::GrammarConstraint;
pub use prelude::Prelude;
pub(crate) use reasoning_budget::ReasoningBudget;
pub use wishes::ConstraintWish;
pub(crate) use wishes::{ollama_format, wish};

use crate::error::{ApiError, ErrorKind};
use crate::loaded::{Lease, blocking};

/// Where the answer that is constrained begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// With the first token.
    AtOnce,
    /// After the model's reasoning, if it reasons.
    AfterReasoning,
}

/// The constraint for a wish, for an answer to this prompt. The grammar is compiled beside the asynchronous threads.
///
/// # Errors
/// If the wish cannot be fulfilled, or not within the limits: 400, nothing is generated.
pub(crate) async fn constraint(
    model: &Arc<Lease>,
    wish: &ConstraintWish,
    prompt: &[u32],
    begins: Begins,
) -> Result<Constraint, ApiError> {
    Ok(Constraint::new(compiled(model, wish, prompt, begins).await?))
}

/// As [`constraint`], to be put into another one.
pub(crate) async fn compiled(
    model: &Arc<Lease>,
    wish: &ConstraintWish,
    prompt: &[u32],
    begins: Begins,
) -> Result<GrammarConstraint, ApiError> {
    let (lease, source, field) = (Arc::clone(model), wish.source.clone(), wish.field.clone());
    let reasoning = model.reasoning.filter(|_| begins == Begins::AfterReasoning);
    let prelude = Prelude::after(&model.tokenizer, reasoning, prompt);
    blocking(move || GrammarConstraint::new(&lease.grammars, &source, prelude).map_err(|error| refusal(&field, &error)))
        .await
}

/// A grammar that cannot be had, as the fault of this field.
pub(crate) fn refusal(field: &str, error: &GrammarError) -> ApiError {
    let hint = error.hint();
    match error {
        GrammarError::Vocabulary { .. } => ApiError::new(ErrorKind::Unsupported, error),
        GrammarError::UnsupportedKeyword { .. } | GrammarError::UnsupportedNegation { .. } => {
            ApiError::unsupported(field, error)
        }
        _ => ApiError::bad(field, error),
    }
    .with_hint(hint)
}
