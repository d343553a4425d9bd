//! Why a grammar is not used.

use std::fmt;

/// What a grammar was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrammarKind {
    /// A JSON schema.
    Schema,
    /// A regular expression.
    Regex,
    /// A list of texts.
    Choice,
    /// A grammar in llguidance's variant of Lark.
    Lark,
    /// A grammar in llama.cpp's notation.
    Gbnf,
    /// Free text with parts that have a form.
    StructuralTag,
}

impl fmt::Display for GrammarKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Schema => "schema",
            Self::Regex => "regular expression",
            Self::Choice => "choice",
            Self::Lark => "Lark grammar",
            Self::Gbnf => "GBNF grammar",
            Self::StructuralTag => "structural tag",
        })
    }
}

/// Why a grammar cannot be used, or cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A keyword of JSON Schema that cannot be enforced while tokens are chosen.
    #[error("the schema uses `{keyword}` at {pointer}, which is not supported")]
    UnsupportedKeyword {
        /// Which.
        keyword: String,
        /// Where: a JSON pointer into the schema.
        pointer: String,
    },
    /// A keyword of JSON Schema that must not hold, and what does not fulfil it cannot be said in a grammar.
    #[error(
        "the schema at {pointer} must not hold, or holds in one case of several, and `{keyword}` there cannot be enforced so"
    )]
    UnsupportedNegation {
        /// Which.
        keyword: String,
        /// Where: a JSON pointer to the schema that has it.
        pointer: String,
    },
    /// A value in a schema that is not what its keyword takes.
    #[error("the schema has at {pointer} {found}, {expected} is expected")]
    WrongValue {
        /// Where: a JSON pointer into the schema.
        pointer: String,
        /// What is there.
        found: String,
        /// What may be.
        expected: &'static str,
    },
    /// A reference in a schema that leads nowhere, or out of the schema.
    #[error("the schema refers at {pointer} to `{reference}`, which {problem}")]
    Reference {
        /// Where: a JSON pointer into the schema.
        pointer: String,
        /// What it says.
        reference: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Larger or deeper than is taken.
    #[error("the {kind} has {found} {what}, at most {limit} are taken")]
    TooLarge {
        /// What was written.
        kind: GrammarKind,
        /// Of what there is too much.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much may be.
        limit: usize,
    },
    /// It cannot be compiled within the limits of work and memory.
    #[error("the {kind} is too complex: {cause}")]
    TooComplex {
        /// What was written.
        kind: GrammarKind,
        /// Which limit.
        cause: String,
    },
    /// Nothing fulfils it.
    #[error("nothing fulfils the {kind}: {cause}")]
    Impossible {
        /// What was written.
        kind: GrammarKind,
        /// Why.
        cause: String,
    },
    /// It is not well formed.
    #[error("the {kind} is not valid: {cause}")]
    Invalid {
        /// What was written.
        kind: GrammarKind,
        /// What is wrong, and where.
        cause: String,
    },
    /// The vocabulary cannot be used for grammars.
    #[error("grammars cannot be used with this vocabulary: {cause}")]
    Vocabulary {
        /// Why.
        cause: String,
    },
    /// The grammar cannot go on from where it is.
    #[error("the grammar cannot go on: {cause}")]
    Stuck {
        /// Why.
        cause: String,
    },
}

impl GrammarError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnsupportedKeyword { .. } | Self::UnsupportedNegation { .. } => {
                "say the same with supported keywords, or leave it out and check the answer afterwards"
            }
            Self::Reference { .. } => "refer to parts of the same schema, as `#/$defs/name`",
            Self::TooLarge { .. } | Self::TooComplex { .. } => {
                "make it smaller, or split the task into several requests"
            }
            Self::Impossible { .. } => "relax what contradicts itself",
            Self::Stuck { .. } => "relax the grammar or schema",
            Self::WrongValue { .. } | Self::Invalid { .. } | Self::Vocabulary { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
