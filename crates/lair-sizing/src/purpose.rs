//! What a model is for: how long its contexts are, and how fast it must be to be of use.

/// A kind of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Conversations.
    #[default]
    Chat,
    /// Writing and changing code, with files in the prompt.
    Code,
    /// Answers from passages that were found.
    Rag,
}

/// All of them.
pub const PURPOSES: &[Purpose] = &[Purpose::Chat, Purpose::Code, Purpose::Rag];

impl Purpose {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Chat => "chat",
            Purpose::Code => "code",
            Purpose::Rag => "rag",
        }
    }

    /// Positions that most of it needs.
    pub fn context_length(self) -> usize {
        match self {
            Purpose::Chat => 4096,
            Purpose::Code => 16_384,
            Purpose::Rag => 8192,
        }
    }

    /// Tokens of a prompt as it comes.
    pub fn prompt_tokens(self) -> usize {
        match self {
            Purpose::Chat => 500,
            Purpose::Code => 4000,
            Purpose::Rag => 6000,
        }
    }

    /// Tokens a second below which one waits: what one reads, and what one skims.
    pub fn tokens_per_second_min(self) -> f64 {
        match self {
            Purpose::Chat | Purpose::Rag => 4.0,
            Purpose::Code => 10.0,
        }
    }

    /// Seconds to the first token above which one goes away.
    pub fn first_token_seconds_max(self) -> f64 {
        match self {
            Purpose::Chat => 15.0,
            Purpose::Code | Purpose::Rag => 60.0,
        }
    }
}
