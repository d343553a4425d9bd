//! Computes the next set of allowed tokens beside the model's step.
//!
//! The set is needed when the step's logits are there, and can be computed as soon as the token before it is known. So a
//! matcher that has accepted a token is laid out for a thread of its own; whoever needs the set first, the thread or the
//! engine, computes it, and nobody waits for work that is not begun. A set takes some 50 microseconds, a step of the
//! smallest useful model some milliseconds, so one thread serves many sequences.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use lair_text::grammar::{AllowedTokens, GrammarError, GrammarMatcher};

/// The set of tokens that may follow, or why there is none.
pub(super) type Outcome = Result<AllowedTokens, GrammarError>;

/// A matcher, and the set of tokens that may follow it.
pub(super) struct MaskAhead(Arc<Slot>);

struct Slot {
    state: Mutex<State>,
    done: Condvar,
}

enum State {
    /// Nobody has begun.
    Idle(Box<GrammarMatcher>),
    Computing,
    Done(Box<GrammarMatcher>, Outcome),
    /// Taken by its owner, or lost to a panic.
    Gone,
}

impl MaskAhead {
    /// Lays the matcher out, and asks for its set.
    pub(super) fn ask(matcher: Box<GrammarMatcher>) -> MaskAhead {
        let slot = MaskAhead::hold(matcher);
        if let Some(queue) = queue() {
            // If the thread is gone the owner computes.
            let _ = queue.send(Arc::clone(&slot.0));
        }
        slot
    }

    /// Keeps the matcher; its set is computed when it is taken.
    pub(super) fn hold(matcher: Box<GrammarMatcher>) -> MaskAhead {
        MaskAhead::hold_with(matcher, None)
    }

    /// Keeps the matcher, and its set if it was computed.
    pub(super) fn hold_with(matcher: Box<GrammarMatcher>, outcome: Option<Outcome>) -> MaskAhead {
        let state = match outcome {
            Some(outcome) => State::Done(matcher, outcome),
            None => State::Idle(matcher),
        };
        MaskAhead(Arc::new(Slot { state: Mutex::new(state), done: Condvar::new() }))
    }

    /// What is left of one that panicked.
    pub(super) fn gone() -> MaskAhead {
        MaskAhead(Arc::new(Slot { state: Mutex::new(State::Gone), done: Condvar::new() }))
    }

    /// The matcher and, if it was computed, its set. Waits for a computation that has begun.
    pub(super) fn take(&self) -> Option<(Box<GrammarMatcher>, Option<Outcome>)> {
        let state = self.0.lock();
        let mut state = self
            .0
            .done
            .wait_while(state, |state| matches!(state, State::Computing))
            .unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Gone) {
            State::Idle(matcher) => Some((matcher, None)),
            State::Done(matcher, outcome) => Some((matcher, Some(outcome))),
            State::Computing | State::Gone => None,
        }
    }

    /// Another matcher at the same place.
    pub(super) fn copy(&self) -> Option<Box<GrammarMatcher>> {
        let state = self.0.lock();
        let state = self
            .0
            .done
            .wait_while(state, |state| matches!(state, State::Computing))
            .unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Idle(matcher) | State::Done(matcher, _) => Some(matcher.clone()),
            State::Computing | State::Gone => None,
        }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compute(&self) {
        let mut state = self.lock();
        let mut matcher = match std::mem::replace(&mut *state, State::Computing) {
            State::Idle(matcher) => matcher,
            other => {
                *state = other;
                return;
            }
        };
        drop(state);
        let computed = catch_unwind(AssertUnwindSafe(move || {
            let outcome = matcher.allowed();
            State::Done(matcher, outcome)
        }));
        *self.lock() = computed.unwrap_or(State::Gone);
        self.done.notify_all();
    }
}

/// The queue of the thread, which begins when it is first needed; `None` if it could not.
fn queue() -> Option<&'static Sender<Arc<Slot>>> {
    static QUEUE: OnceLock<Option<Sender<Arc<Slot>>>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = channel::<Arc<Slot>>();
        let thread = std::thread::Builder::new().name("masks".to_owned());
        thread.spawn(move || receiver.iter().for_each(|slot| slot.compute())).ok().map(|_| sender)
    };
    QUEUE.get_or_init(start).as_ref()
}
