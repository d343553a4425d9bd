//! What grammars may cost. They come with requests, so each of these bounds what one request can take.

use std::time::Duration;

/// Bytes of a schema, grammar or expression: far above what people write, little to parse.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Levels of nesting in a schema or grammar, each of which takes stack in the compiler.
pub const DEPTH_MAX: usize = 64;
/// Parts of a schema.
pub const SCHEMA_NODES_MAX: usize = 50_000;
/// Texts in a list of choices.
pub const CHOICES_MAX: usize = 10_000;
/// Times that one thing may be repeated in a regular expression or grammar: each takes memory.
pub const REPETITIONS_MAX: usize = 1_000;
/// Wall-clock time of a compilation; work is bounded before that by counting, this is for what the count does not see.
pub(super) const COMPILE_TIME_MAX: Duration = Duration::from_secs(10);
/// Stack of the thread that compiles. Only what is used of it takes memory.
pub(super) const COMPILE_STACK_BYTES: usize = 512 << 20;
/// Compilations at the same time.
pub(super) const COMPILATIONS_MAX: usize = 2;
/// States of a grammar's lexer, of 1 to 2 kB each.
pub(super) const LEXER_STATES_MAX: usize = 50_000;
/// Symbols in a compiled grammar.
pub(super) const GRAMMAR_SYMBOLS_MAX: usize = 500_000;
/// Compiled grammars that a vocabulary keeps.
pub(super) const CACHED_MAX: usize = 32;
/// Bytes of their sources together.
pub(super) const CACHED_BYTES_MAX: usize = 4 << 20;
