//! Who asks: whose cached prompts and stored answers are whose, whose turn it is, what may be used, under which id it is
//! logged. Known wherever a request is worked on, from its first check to the last byte of its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use lair_engine::PrefixScope;
use tokio::sync::OwnedSemaphorePermit;

use crate::keys::Key;
use crate::request_log::Trace;

/// A client, as far as one request goes.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    /// With whom cached prompts and stored answers are shared. All are one where no keys are asked for.
    pub(crate) scope: PrefixScope,
    /// The key that was shown.
    pub(crate) key: Option<Arc<Key>>,
    /// What is noted of the request.
    pub(crate) trace: Option<Arc<Trace>>,
}

tokio::task_local! {
    static CALLER: Caller;
}

/// Answers a request for this client.
pub(crate) async fn for_caller<F: Future>(caller: Caller, answer: F) -> F::Output {
    CALLER.scope(caller, answer).await
}

/// Works for this client on a thread that is no task.
pub(crate) fn as_caller<T>(caller: Caller, work: impl FnOnce() -> T) -> T {
    CALLER.sync_scope(caller, work)
}

/// The client whose request is being answered; one without a key where none are asked for, or outside of requests.
pub(crate) fn caller() -> Caller {
    CALLER.try_with(Caller::clone).unwrap_or_default()
}

/// The body of an answer, made for the client that gets it: much of it is made while it is sent.
pub(crate) struct BodyForCaller {
    body: Body,
    caller: Caller,
    /// Given back when the answer has ended.
    _place: Option<OwnedSemaphorePermit>,
}

impl BodyForCaller {
    pub(crate) fn new(body: Body, caller: Caller, place: Option<OwnedSemaphorePermit>) -> BodyForCaller {
        BodyForCaller { body, caller, _place: place }
    }
}

impl hyper::body::Body for BodyForCaller {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        CALLER.sync_scope(this.caller.clone(), || Pin::new(&mut this.body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
