//! What Gemma 3n and 4 have besides: embeddings for each layer, several residual streams, a narrow path beside the mixer.

use super::Norm;

/// Embeddings that every layer adds: `sum_scale * (scale * table[token] + norm(projection_scale * projection(x)))`, a part for
/// each layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayerEmbedding {
    /// Stem of the table, `[vocabulary_size, layer_count * size]`.
    pub table: &'static str,
    /// Factor on its rows.
    pub scale: f32,
    /// Stem of the projection of the embedding, `[layer_count * size, hidden_size]`.
    pub projection: &'static str,
    /// Factor on what it gives.
    pub projection_scale: f32,
    /// Norm of the projection, for each layer by itself.
    pub norm: Norm,
    /// Factor on the sum of both.
    pub sum_scale: f32,
    /// Elements for each layer.
    pub size: usize,
}

/// `x += norm(projection(gelu(gate(x)) * per_layer_embedding))`; with several streams, read from the first and added to the
/// others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayerInput {
    /// Stem of the gate, `[size, hidden_size]`.
    pub gate: &'static str,
    /// Stem of the projection back, `[hidden_size, size]`.
    pub projection: &'static str,
    /// Norm of what is added.
    pub norm: Norm,
    /// Elements of the layer's embedding.
    pub size: usize,
}

/// Further residual streams: products of the embedding, each as long as the embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEmbedding {
    /// Stem of the products, `[count - 1, hidden_size, hidden_size]`.
    pub projection: &'static str,
    /// All streams, the embedding's included.
    pub count: usize,
}

/// How several residual streams pass through a layer that computes only one (Baykal et al., "Alternating Updates"). The
/// others are predicted before, and corrected by what the layer has made of the first:
///
/// ```text
/// m = tanh(router(norm(s[0])) / hidden_size);   p[i] = s[i] + sum over j of (predict m)[i, j] * s[j]
/// y = layer(p[0]);   n = tanh(router(norm(y)) / hidden_size);   s[i] = p[i] + (1 + (correct n)[i]) * (y - p[0])
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AltUp {
    /// How many streams there are.
    pub count: usize,
    /// Stem of `[count, hidden_size]`.
    pub router: &'static str,
    /// Norm of what it reads.
    pub router_norm: Norm,
    /// Stem of `[count * count, count]`.
    pub predict: &'static str,
    /// Stem of `[count, count]`.
    pub correct: &'static str,
    /// Stem of what multiplies the first stream where the layer's embedding reads it, `[hidden_size]`.
    pub correct_scale: &'static str,
}

/// `x = (mixer + x + laurel) / sqrt(2)` with `laurel = n + norm(right(left(n)))`, `n` the mixer's input after its norm
/// (Menghani et al., "LAuReL").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Laurel {
    /// Stem of the narrowing product, `[rank, hidden_size]`.
    pub left: &'static str,
    /// Stem of the widening product, `[hidden_size, rank]`.
    pub right: &'static str,
    /// Norm of what it gives.
    pub norm: Norm,
    /// Width between.
    pub rank: usize,
}
