//! Requests for embeddings through an [`EngineHandle`].

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use super::{Command, EngineHandle, OpenRequest, RequestGuard};
use crate::{EmbedRequest, Embedded, Engine, Refusal, Runner, SequenceError, SequenceId};

/// Takes what came of a request for embeddings, on the engine's thread: it must not block.
pub type EmbedSink = Box<dyn FnOnce(Result<Embedded, SequenceError>) + Send>;

/// A request on its way to the engine.
pub(super) struct EmbedSubmission {
    pub(super) request: EmbedRequest,
    pub(super) delivery: EmbedDelivery,
}

/// Where the result goes.
pub(super) struct EmbedDelivery {
    sink: EmbedSink,
    is_cancelled: Arc<AtomicBool>,
    /// Counts the request as open until it is dropped, on whatever path.
    open: OpenRequest,
}

impl EmbedDelivery {
    /// The request no longer counts as open when its end is seen.
    pub(super) fn end(self, result: Result<Embedded, SequenceError>) {
        drop(self.open);
        (self.sink)(result);
    }
}

/// Embeddings that are being computed. Dropping it cancels the request.
pub struct PendingEmbeddings {
    result: mpsc::Receiver<Result<Embedded, SequenceError>>,
    #[allow(dead_code, reason = "kept for what its drop does")]
    guard: RequestGuard,
}

impl PendingEmbeddings {
    /// Waits for the end.
    pub fn wait(self) -> Result<Embedded, SequenceError> {
        let gone = || Err(SequenceError::EngineStopped { cause: "its thread is gone".to_owned() });
        self.result.recv().unwrap_or_else(|_| gone())
    }
}

impl EngineHandle {
    /// Hands in texts to be embedded, or says why they are not taken. Never waits.
    pub fn embed(&self, request: EmbedRequest) -> Result<PendingEmbeddings, Refusal> {
        let (sender, result) = mpsc::channel();
        // A receiver that is gone has cancelled.
        let guard = self.embed_to(request, Box::new(move |outcome| drop(sender.send(outcome))))?;
        Ok(PendingEmbeddings { result, guard })
    }

    /// As [`EngineHandle::embed`], with the result handed to `sink` on the engine's thread. It is called once, unless
    /// the engine's thread is gone, which drops it.
    pub fn embed_to(&self, request: EmbedRequest, sink: EmbedSink) -> Result<RequestGuard, Refusal> {
        request.check(&self.limits())?;
        let open = self.open_request()?;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let delivery = EmbedDelivery { sink, is_cancelled: Arc::clone(&is_cancelled), open };
        self.send(Command::Embed(Box::new(EmbedSubmission { request, delivery })))?;
        Ok(RequestGuard { is_cancelled })
    }
}

/// The requests for embeddings that the engine's thread has open.
#[derive(Default)]
pub(super) struct EmbedDeliveries(HashMap<SequenceId, EmbedDelivery>);

impl EmbedDeliveries {
    pub(super) fn take<R: Runner>(&mut self, engine: &mut Engine<R>, submission: EmbedSubmission) {
        let EmbedSubmission { request, delivery } = submission;
        if delivery.is_cancelled.load(Ordering::Acquire) {
            return;
        }
        match engine.submit_embedding(request) {
            Ok(id) => drop(self.0.insert(id, delivery)),
            // The handle makes the same checks and counts at least as many requests.
            Err(refusal) => delivery.end(Err(SequenceError::EngineStopped { cause: refusal.to_string() })),
        }
    }

    pub(super) fn drop_cancelled<R: Runner>(&mut self, engine: &mut Engine<R>) {
        self.0.retain(|&id, delivery| {
            let is_open = !delivery.is_cancelled.load(Ordering::Acquire);
            if !is_open {
                engine.cancel(id);
            }
            is_open
        });
    }

    pub(super) fn deliver<R: Runner>(&mut self, engine: &mut Engine<R>) {
        for (id, result) in engine.take_embedded() {
            if let Some(delivery) = self.0.remove(&id) {
                delivery.end(result);
            }
        }
    }

    pub(super) fn fail_all(&mut self, error: &SequenceError) {
        self.0.drain().for_each(|(_, delivery)| delivery.end(Err(error.clone())));
    }
}
