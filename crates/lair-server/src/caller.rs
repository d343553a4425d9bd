//! Who asks, as far as the engine has to tell users apart: whose cached prompts are whose, and whose turn it is.

use std::future::Future;

use lair_engine::PrefixScope;

tokio::task_local! {
    static CALLER: PrefixScope;
}

/// Answers a request for this user.
pub(crate) async fn for_caller<F: Future>(caller: PrefixScope, answer: F) -> F::Output {
    CALLER.scope(caller, answer).await
}

/// The user whose request is being answered; all users are one where no keys are asked for.
pub(crate) fn caller() -> PrefixScope {
    CALLER.try_with(|caller| *caller).unwrap_or_default()
}
