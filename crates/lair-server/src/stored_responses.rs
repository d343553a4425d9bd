//! Answers that a client can ask for again or go on from: in memory, the oldest forgotten when there are too many. Each
//! belongs to the key that asked for it; to others it is not there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lair_engine::PrefixScope;
use serde_json::Value as Json;

use crate::caller::caller;

/// Answers that are kept.
const COUNT_MAX: usize = 1024;
/// Bytes of JSON text that are kept in all. In memory it is some times that.
const BYTES_MAX: usize = 32 << 20;

/// An answer with what led to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredResponse {
    /// As it was given.
    pub(crate) response: Json,
    /// What this one request put in, each with an id.
    pub(crate) input: Vec<Json>,
    /// The whole conversation, the answer included, in the form that templates know. Instructions are not part of it.
    pub(crate) messages: Vec<Json>,
}

/// Answers by id.
#[derive(Debug, Default)]
pub(crate) struct StoredResponses(Mutex<Kept>);

/// Whose, and which.
type Place = (PrefixScope, String);

fn place_of(id: &str) -> Place {
    (caller().scope, id.to_owned())
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<Place, (Arc<StoredResponse>, usize)>,
    /// Oldest first; may name some that are deleted.
    order: VecDeque<Place>,
    bytes: usize,
}

impl StoredResponses {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an answer for who asked for it.
    pub(crate) fn put(&self, id: &str, stored: StoredResponse) {
        let text_length = |json: &Json| json.to_string().len();
        let bytes = text_length(&stored.response)
            + stored.input.iter().map(text_length).sum::<usize>()
            + stored.messages.iter().map(text_length).sum::<usize>();
        let mut kept = self.kept();
        let place = place_of(id);
        kept.remove(&place);
        kept.bytes += bytes;
        kept.order.push_back(place.clone());
        kept.by_id.insert(place, (Arc::new(stored), bytes));
        while kept.by_id.len() > COUNT_MAX || (kept.bytes > BYTES_MAX && kept.by_id.len() > 1) {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.remove(&oldest);
        }
        // What was deleted leaves its name behind; it must not pile up.
        if kept.order.len() > 2 * COUNT_MAX {
            let Kept { by_id, order, .. } = &mut *kept;
            order.retain(|place| by_id.contains_key(place));
        }
    }

    /// An answer, if it is still there and the caller's.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<StoredResponse>> {
        self.kept().by_id.get(&place_of(id)).map(|(stored, _)| Arc::clone(stored))
    }

    /// Forgets an answer; `false` if it is not there.
    pub(crate) fn delete(&self, id: &str) -> bool {
        self.kept().remove(&place_of(id))
    }
}

impl Kept {
    fn remove(&mut self, place: &Place) -> bool {
        let removed = self.by_id.remove(place);
        self.bytes -= removed.as_ref().map_or(0, |(_, bytes)| *bytes);
        removed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Caller, as_caller};

    fn stored(text: &str) -> StoredResponse {
        StoredResponse { response: Json::from(text), input: Vec::new(), messages: Vec::new() }
    }

    #[test]
    fn an_answer_is_there_for_the_key_that_asked_for_it() {
        let responses = StoredResponses::default();
        let user = |byte| Caller { scope: PrefixScope([byte; 32]), ..Caller::default() };
        as_caller(user(1), || responses.put("a", stored("x")));
        assert!(as_caller(user(2), || responses.get("a").is_none() && !responses.delete("a")));
        assert!(responses.get("a").is_none(), "nor without a key");
        assert!(as_caller(user(1), || responses.get("a").is_some() && responses.delete("a")));
    }

    #[test]
    fn the_oldest_are_forgotten_by_count_and_by_size() {
        let responses = StoredResponses::default();
        for index in 0..COUNT_MAX + 2 {
            responses.put(&index.to_string(), stored("x"));
        }
        assert!(responses.get("1").is_none() && responses.get("2").is_some());
        let large = "x".repeat(BYTES_MAX / 2);
        responses.put("a", stored(&large));
        responses.put("b", stored(&large));
        assert!(responses.get("a").is_none() && responses.get("2").is_none());
        assert!(responses.get("b").is_some());
        assert!(responses.delete("b") && !responses.delete("b"));
        assert_eq!(responses.kept().bytes, 0);
    }
}
