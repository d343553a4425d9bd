//! Adapters that a model's file has for itself.

use super::keys::Keys;
use super::limits;
use crate::ModelError;

/// Adapters that a model of this kind can have.
const ADAPTER_COUNT_MAX: usize = 4096;

/// Low-rank adapters in the model's own file, which tokens of the prompt switch on (Granite Switch).
#[derive(Clone, Debug, PartialEq)]
pub struct SwitchConfig {
    /// Rank of their products.
    pub rank: usize,
    /// How far the key of a token that switches stands out from those of the others.
    pub gain: f32,
    /// For each adapter the token that switches it on, and the one that is embedded in its stead.
    pub tokens: Vec<(u32, u32)>,
}

impl SwitchConfig {
    pub(super) fn read(keys: &Keys<'_>, vocabulary_size: usize) -> Result<Option<SwitchConfig>, ModelError> {
        let Some(count) = keys.count("adapters.count", 1..=ADAPTER_COUNT_MAX)? else { return Ok(None) };
        let tokens = |key: &str| {
            let tokens = keys.counts(key, count, 0..=vocabulary_size.saturating_sub(1))?;
            match tokens.len() == count {
                true => Ok(tokens),
                false => Err(keys.wrong(
                    key,
                    format!("{} tokens", tokens.len()),
                    format!("one for each of {count} adapters"),
                )),
            }
        };
        let (switching, embedded) = (tokens("adapters.token_ids_activate")?, tokens("adapters.token_ids_substitute")?);
        Ok(Some(SwitchConfig {
            rank: keys.required_count("adapters.lora_rank", 1..=limits::HIDDEN_SIZE_MAX)?,
            gain: keys.number("adapters.router_gain", 0.0..=1e4)?.unwrap_or(15.0),
            tokens: switching.into_iter().zip(embedded).map(|(token, other)| (token as u32, other as u32)).collect(),
        }))
    }

    /// What a row can use: one of the adapters, or what is there for rows before the first token that switches.
    pub fn slot_count(&self) -> usize {
        self.tokens.len() + 1
    }
}
