//! Models that could be fetched: what a search finds, before anything is downloaded.

/// A model that a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// What to pull; of a repository with several files, its name without one of them.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The licence of its weights, where that is known.
    pub licence: Option<String>,
    /// Bytes to fetch, where there is only one choice.
    pub size_bytes: Option<u64>,
    /// Bytes of memory to use it in comfort.
    pub needs_bytes: Option<u64>,
    /// How often it was fetched lately.
    pub downloads: Option<u64>,
    /// Whether its authors ask for conditions to be accepted first.
    pub is_gated: bool,
    /// Whether it has several files to choose from.
    pub has_choices: bool,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The models.
    pub offers: Vec<Offer>,
    /// What kept others from being found, the hub that did not answer for example.
    pub note: Option<String>,
    /// Bytes of memory that are available.
    pub available_bytes: Option<u64>,
}

/// One of several files of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferedFile {
    /// What to pull.
    pub name: String,
    /// Bytes to fetch.
    pub size_bytes: u64,
    /// Bytes of memory to use it in comfort.
    pub needs_bytes: u64,
}
