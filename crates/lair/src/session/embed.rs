//! Embeddings of a loaded model.

use lair_engine::{EmbedRequest, Normalization, Pooling};
use lair_text::prompt;

use super::{Session, broken, refusal};
use crate::failure::{ExitCode, Failure};

/// A text as a vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedding {
    /// Its numbers; of length 1.
    pub vector: Vec<f32>,
    /// Tokens of the text.
    pub token_count: usize,
}

impl Session {
    /// Whether the model was made to give vectors: it has no text to give, or its file says how hidden states are pooled.
    pub fn is_embedder(&self) -> bool {
        let key = self.file.architecture().map(|architecture| format!("{architecture}.pooling_type"));
        let pooling = key.ok().and_then(|key| self.file.metadata().get(&key)).and_then(lair_gguf::Value::as_integer);
        !self.engine.limits().generates || pooling.is_some_and(|pooling| pooling > 0)
    }

    /// Embeds one text as the model's file says. `dimensions` leaves the first so many numbers; a text that is too long is
    /// cut if `cuts`, else refused.
    pub fn embed(&self, text: &str, dimensions: Option<usize>, cuts: bool) -> Result<Embedding, Failure> {
        let limits = self.engine.limits();
        let mut tokens = prompt::tokens_of_input(&self.tokenizer, text);
        if cuts {
            prompt::cut_input(&self.tokenizer, &mut tokens, limits.input_length);
        }
        let token_count = tokens.len();
        let pooling = limits.embedding.map(|shape| match shape.pooling {
            Pooling::Rank => shape.classifier_pooling,
            of_model => of_model,
        });
        let request = EmbedRequest {
            inputs: vec![tokens],
            pooling: pooling.unwrap_or(Pooling::Mean),
            adapter_scales: self.adapter_scales(),
        };
        let pending = self.engine.embed(request).map_err(refusal)?;
        let mut embedded = pending.wait().map_err(|error| broken(&error))?;
        let mut vector = embedded.vectors.pop().unwrap_or_default();
        if let Some(dimensions) = dimensions {
            if !(1..=vector.len()).contains(&dimensions) {
                let cause = format!("--dimensions is {dimensions}, the model's vectors have {}", vector.len());
                return Err(Failure::new(ExitCode::Usage, cause));
            }
            vector.truncate(dimensions);
        }
        Normalization::EUCLIDEAN.apply(&mut vector);
        Ok(Embedding { vector, token_count })
    }
}
