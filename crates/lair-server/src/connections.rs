//! Connections: how many at a time, how slowly a body may come, how long an answer may lie unread.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Buf, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Connections that are told there are too many, at a time; the others are closed without a word.
const REFUSALS_MAX: usize = 64;
/// What they are told. The head of their request was not read, so it is the same for all dialects.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 53\r\n\r\n{\"error\":{\"message\":\"too many connections are open\"}}";
/// How long a refused client may take to close: closing first could take the answer from it.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes read from a refused client.
const REFUSAL_READ_MAX: usize = 64 << 10;
/// Time in which a body may come at any pace.
const BODY_GRACE: Duration = Duration::from_secs(10);
/// After that its mean pace must be at least this, in bytes a second.
const BODY_PACE_MIN: u64 = 1 << 10;
/// How long nothing may be read of an answer that is ready.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(60);

/// Places for connections.
#[derive(Clone)]
pub(crate) struct Places {
    open: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new(connections_max: usize) -> Places {
        let most = connections_max.min(Semaphore::MAX_PERMITS);
        Places { open: Arc::new(Semaphore::new(most)), refusals: Arc::new(Semaphore::new(REFUSALS_MAX)) }
    }

    /// A place for a connection, until the permit is dropped; without one left the client is told so.
    pub(crate) fn take<S>(&self, stream: S) -> Option<(S, OwnedSemaphorePermit)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Ok(permit) = Arc::clone(&self.open).try_acquire_owned() {
            return Some((stream, permit));
        }
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            tokio::spawn(async move {
                let _ = timeout(REFUSAL_TIME_MAX, refuse(stream)).await;
                drop(permit);
            });
        }
        None
    }
}

async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    let mut bytes = [0; 4096];
    let mut read_bytes = 0;
    while read_bytes < REFUSAL_READ_MAX {
        match stream.read(&mut bytes).await? {
            0 => break,
            length => read_bytes += length,
        }
    }
    Ok(())
}

/// A connection that fails when nothing can be written for [`STALL_MAX`].
pub(crate) struct Unstalled<S> {
    stream: S,
    stall: Option<Pin<Box<Sleep>>>,
    stall_max: Duration,
}

impl<S> Unstalled<S> {
    pub(crate) fn new(stream: S, stall_max: Duration) -> Unstalled<S> {
        Unstalled { stream, stall: None, stall_max }
    }

    /// Passes on what came of writing; while nothing comes of it, time runs.
    fn note<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stall = None;
            return outcome;
        }
        let stall_max = self.stall_max;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing of the answer was read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A body came too slowly, or stopped.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body comes more slowly than {BODY_PACE_MIN} bytes a second")]
pub(crate) struct SlowBody;

impl SlowBody {
    /// Whether this is why an error came about.
    pub(crate) fn in_causes_of(error: &(dyn Error + 'static)) -> Option<SlowBody> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(slow) = error.downcast_ref() {
                return Some(*slow);
            }
            cause = error.source();
        }
        None
    }
}

/// A body that fails when it comes too slowly.
pub(crate) struct PacedBody<B> {
    body: B,
    /// Since when it is waited for, and until when, by what has come.
    clock: Option<(Instant, Pin<Box<Sleep>>)>,
    received_bytes: u64,
}

impl<B> PacedBody<B> {
    pub(crate) fn new(body: B) -> PacedBody<B> {
        PacedBody { body, clock: None, received_bytes: 0 }
    }
}

impl<B> Body for PacedBody<B>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
            let length = data.map_or(0, |data| data.remaining() as u64);
            self.received_bytes += length;
            let earned = Duration::from_secs(self.received_bytes / BODY_PACE_MIN);
            if let Some((start, sleep)) = &mut self.clock {
                sleep.as_mut().reset(*start + BODY_GRACE + earned);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let (_, sleep) = self.clock.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(BODY_GRACE))));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Some(Err(SlowBody.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
