//! What the models of a server may take of the memory together.
//!
//! Keys and values take memory only as contexts grow, so what the system calls available says nothing of what was
//! promised to models already loaded. Each is entered here with all that it may come to take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A limit, and what is promised of it.
#[derive(Debug)]
pub struct MemoryLedger {
    limit_bytes: Option<u64>,
    promised_bytes: Mutex<u64>,
    loading: Mutex<()>,
}

/// A model's entry; dropping it gives the bytes back.
#[derive(Debug)]
pub struct Promise {
    ledger: Arc<MemoryLedger>,
    size_bytes: u64,
}

impl MemoryLedger {
    /// A ledger of so many bytes; of no bound if the system does not say what it has.
    pub fn new(limit_bytes: Option<u64>) -> Arc<MemoryLedger> {
        Arc::new(MemoryLedger { limit_bytes, promised_bytes: Mutex::new(0), loading: Mutex::new(()) })
    }

    /// Held while a model is loaded, so that two do not count on the same memory.
    pub fn begin_load(&self) -> MutexGuard<'_, ()> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are not promised: no more than `available`, what the system has.
    pub fn left(&self, available: Option<u64>) -> Option<u64> {
        let promised = *self.promised();
        let left = self.limit_bytes.map(|limit| limit.saturating_sub(promised));
        match (left, available) {
            (Some(left), Some(available)) => Some(left.min(available)),
            (left, available) => left.or(available),
        }
    }

    /// Whether nothing is promised.
    pub fn is_empty(&self) -> bool {
        *self.promised() == 0
    }

    /// Enters a model.
    pub fn promise(self: &Arc<MemoryLedger>, size_bytes: u64) -> Promise {
        *self.promised() += size_bytes;
        Promise { ledger: Arc::clone(self), size_bytes }
    }

    fn promised(&self) -> MutexGuard<'_, u64> {
        self.promised_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        *self.ledger.promised() -= self.size_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_not_there_for_others() {
        let ledger = MemoryLedger::new(Some(100));
        let first = ledger.promise(60);
        assert_eq!((ledger.left(None), ledger.left(Some(70)), ledger.left(Some(30))), (Some(40), Some(40), Some(30)));
        let second = ledger.promise(60);
        assert_eq!(ledger.left(None), Some(0));
        drop(first);
        assert_eq!(ledger.left(None), Some(40));
        drop(second);
        assert_eq!(ledger.left(None), Some(100));
        assert_eq!(MemoryLedger::new(None).left(Some(7)), Some(7));
        assert_eq!(MemoryLedger::new(None).left(None), None);
    }
}
