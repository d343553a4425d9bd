//! What schemas say of values without parts, put together with "and" and "or".

/// Sets that can be joined and cut.
pub(super) trait Algebra: Clone {
    /// Everything of its kind.
    fn all() -> Self;
    /// Nothing.
    fn none() -> Self;
    /// What is in both.
    fn and(self, other: Self) -> Self;
    /// What is in one of them.
    fn or(self, other: Self) -> Self;
    /// Whether it is everything; it may be without being known to.
    fn is_all(&self) -> bool;
    /// Whether it is nothing; it may be without being known to.
    fn is_none(&self) -> bool;
    /// How many parts it has, to bound its growth.
    fn size(&self) -> usize;
}

/// `null`, `false` and `true`: which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words(pub(super) u8);

impl Words {
    /// The bits of a word, if it is one.
    pub(super) fn of(value: &serde_json::Value) -> Option<Words> {
        match value {
            serde_json::Value::Null => Some(Words(1)),
            serde_json::Value::Bool(false) => Some(Words(2)),
            serde_json::Value::Bool(true) => Some(Words(4)),
            _ => None,
        }
    }

    /// The others.
    pub(super) fn others(self) -> Words {
        Words(!self.0 & 7)
    }

    /// How they are spelled.
    pub(super) fn spelled(self) -> impl Iterator<Item = &'static str> {
        ["null", "false", "true"]
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, word)| word)
    }
}

impl Algebra for Words {
    fn all() -> Words {
        Words(7)
    }

    fn none() -> Words {
        Words(0)
    }

    fn and(self, other: Words) -> Words {
        Words(self.0 & other.0)
    }

    fn or(self, other: Words) -> Words {
        Words(self.0 | other.0)
    }

    fn is_all(&self) -> bool {
        self.0 == 7
    }

    fn is_none(&self) -> bool {
        self.0 == 0
    }

    fn size(&self) -> usize {
        1
    }
}
