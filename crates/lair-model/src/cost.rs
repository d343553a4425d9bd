//! What a token costs, read off the declaration and the list of tensors: bytes of weights, multiply-adds, keys and
//! values. No weight is touched, so a model that is not there yet can be counted too.
//!
//! Counted are the products with matrices, attention, and the recurrent state. Norms, activations and additions are
//! left out: they are below one part in a hundred of the multiply-adds. What they cost besides is told from the elements
//! that go into matrices and come out of them.

use std::collections::HashMap;

use lair_compute::Mask;
use lair_gguf::{Metadata, TensorInfo, TensorType};

use crate::shapes::{AttentionShape, LatentShape, state_layers};
use crate::spec::{Architecture, ExpertsFfn, Ffn, HeadOutput, Indexer, KeyChoice, KeyUnit, KvSource, Mixer};
use crate::weights::SWITCH_WIDTH;
use crate::{ModelConfig, ModelError, Presence, architectures, tensor_needs};

/// What a model costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCost {
    /// Elements of all tensors that are used.
    pub parameters: u64,
    /// The matrices that tokens are multiplied with.
    pub matrices: Vec<MatrixCost>,
    /// The layers with attention, in order; behind one of them what chooses its keys, and compressed keys, where it has any.
    pub attention: Vec<AttentionCost>,
    /// Elements of recurrent state (f32) that each token of a sequence reads and writes.
    pub state_elements: u64,
    /// Elements of the widest row that a matrix of a layer gives, stacks of experts left out.
    pub widest_row: usize,
}

/// One matrix, or one stack of experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatrixCost {
    /// Type of the elements.
    pub tensor_type: TensorType,
    /// Elements: as many multiply-adds for each token that takes all of it.
    pub elements: u64,
    /// Bytes in the file.
    pub size_bytes: u64,
    /// Which tokens take it.
    pub taken_by: TakenBy,
    /// Elements that go in and come out for one token that takes it; 0 for stacks of experts, whose rows stay in the caches.
    pub row_elements: u64,
}

/// Which tokens a matrix is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBy {
    /// Every token.
    EveryToken,
    /// The tokens whose logits are wanted: the head, or the embedding's table where it serves as head.
    WantedTokens,
    /// A stack of experts, of which each token takes some.
    Chosen {
        /// Experts of the stack.
        expert_count: usize,
        /// Experts each token takes.
        used_count: usize,
    },
}

/// Attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionCost {
    /// Elements of keys and values that the layer keeps for each position; 0 where it uses an earlier layer's.
    pub kept_elements: usize,
    /// Elements of keys and values that are read for each position that is seen.
    pub read_elements: usize,
    /// Multiply-adds for each pair of a token and a position it sees, all heads together.
    pub macs_a_key: usize,
    /// Positions seen at most; all if `None`.
    pub window: Option<usize>,
}

impl AttentionCost {
    /// Positions that the token after `context` others sees, itself included.
    pub fn keys(&self, context: usize) -> usize {
        (context + 1).min(self.window.unwrap_or(usize::MAX))
    }
}

impl MatrixCost {
    /// Bytes that a step of `tokens` tokens reads: all of a dense matrix, the distinct experts of a stack as expected
    /// when each token chooses its own by chance.
    pub fn bytes_read(&self, tokens: usize) -> f64 {
        let share = match self.taken_by {
            TakenBy::Chosen { expert_count, used_count } => {
                let missed = 1.0 - used_count as f64 / expert_count as f64;
                1.0 - missed.powf(tokens as f64)
            }
            _ => 1.0,
        };
        self.size_bytes as f64 * share
    }

    /// Multiply-adds of one token that takes it.
    pub fn macs(&self) -> f64 {
        match self.taken_by {
            TakenBy::Chosen { expert_count, used_count } => {
                self.elements as f64 * used_count as f64 / expert_count as f64
            }
            _ => self.elements as f64,
        }
    }
}

impl ModelCost {
    /// Counts a model by its metadata and tensors, as [`crate::Model::load`] would use them.
    ///
    /// # Errors
    /// If the architecture is unknown or a hyper-parameter that gives a shape is missing or wrong.
    pub fn of(metadata: &Metadata, tensors: &[TensorInfo]) -> Result<ModelCost, ModelError> {
        let architecture = architectures::find(metadata.str("general.architecture")?)?;
        let config = ModelConfig::from_metadata(metadata)?;
        let there: HashMap<&str, &TensorInfo> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let roles = Roles::new(architecture, &config, |name| there.contains_key(name));
        let mut cost = ModelCost::default();
        for need in tensor_needs(architecture, &config)? {
            let Some(tensor) = there.get(need.name.as_str()).filter(|_| need.presence != Presence::Unused) else {
                continue;
            };
            cost.parameters += tensor.element_count();
            if let Some(taken_by) = roles.of(&need.name, &need.shape) {
                let (tensor_type, size_bytes) = (tensor.tensor_type, tensor.size_bytes);
                let elements = tensor.element_count();
                let (columns, rows) = (need.shape[0] as u64, elements / (need.shape[0] as u64).max(1));
                let count = need.shape.get(2).map_or(1, |&count| count as u64);
                let is_dense = taken_by == TakenBy::EveryToken;
                cost.widest_row = cost.widest_row.max(if is_dense { rows as usize } else { 0 });
                let is_chosen = matches!(taken_by, TakenBy::Chosen { .. });
                let row_elements = if is_chosen { 0 } else { columns * count + rows };
                let matrix = MatrixCost { tensor_type, elements, size_bytes, taken_by, row_elements };
                // Weights that several layers share are multiplied with, and read, once for each.
                let block = need.name.strip_prefix(architecture.layer_prefix).and_then(|rest| rest.split('.').nth(1));
                let uses = block
                    .and_then(|block| block.parse().ok())
                    .map_or(1, |block| architecture.layers_of_block(&config, block).max(1));
                cost.matrices.extend(std::iter::repeat_n(matrix, uses));
            }
        }
        if config.switch.is_some() && architecture.has_own_adapters {
            // Finds the token that has switched an adapter on.
            let elements = 2 * SWITCH_WIDTH;
            let search =
                AttentionCost { kept_elements: elements, read_elements: elements, macs_a_key: elements, window: None };
            cost.attention.push(search);
        }
        for layer_index in 0..config.layer_count {
            let layer = (architecture.layer)(&config, layer_index);
            let states = state_layers(&layer, &config, layer_index)?;
            cost.state_elements +=
                states.iter().map(|state| state.conv_length + state.recurrent_length).sum::<usize>() as u64;
            match &layer.mixer {
                Mixer::Attention(attention) => {
                    let shape = AttentionShape::new(attention, &config, layer_index)?;
                    let elements = shape.k_width() + shape.v_width();
                    cost.attention.push(AttentionCost {
                        kept_elements: if attention.kv_source == KvSource::Own { elements } else { 0 },
                        read_elements: elements,
                        macs_a_key: shape.head_count * (shape.key_dim + shape.value_dim),
                        window: narrower(window(attention.mask), chosen_keys(&attention.choice)),
                    });
                    cost.attention.extend(attention.choice.indexer().map(indexer_cost));
                }
                Mixer::LatentAttention(latent) => {
                    let shape = LatentShape::new(latent, &config, layer_index)?;
                    let elements = shape.key_dim();
                    cost.attention.push(AttentionCost {
                        kept_elements: elements,
                        read_elements: elements,
                        macs_a_key: shape.head_count * (shape.key_dim() + shape.kv_rank),
                        window: narrower(window(latent.mask), chosen_keys(&latent.choice)),
                    });
                    cost.attention.extend(latent.choice.indexer().map(indexer_cost));
                }
                Mixer::CompressedAttention(attention) => {
                    let (dim, heads) = (attention.head_dim, config.head_counts[layer_index]);
                    let part = |length: usize| AttentionCost {
                        kept_elements: dim,
                        read_elements: dim,
                        macs_a_key: heads * 2 * dim,
                        window: Some(length),
                    };
                    cost.attention.push(part(attention.window));
                    // Room is kept at every position.
                    let compressed = attention.compressor.map(|compressor| AttentionCost {
                        window: chosen_keys(&attention.choice),
                        macs_a_key: (heads * 2 * dim).div_ceil(compressor.length),
                        ..part(0)
                    });
                    cost.attention.extend(compressed);
                    cost.attention.extend(attention.choice.indexer().map(indexer_cost));
                }
                _ => {}
            }
        }
        Ok(cost)
    }

    /// Bytes of weights that a step of `tokens` tokens reads, of which `wanted` want logits.
    pub fn weight_bytes(&self, tokens: usize, wanted: usize) -> f64 {
        let read = |matrix: &&MatrixCost| wanted > 0 || matrix.taken_by != TakenBy::WantedTokens;
        self.matrices.iter().filter(read).map(|matrix| matrix.bytes_read(tokens)).sum()
    }

    /// Multiply-adds with the layers' matrices for one token: what each token of a prompt costs.
    pub fn layer_macs(&self) -> f64 {
        let of_layers = self.matrices.iter().filter(|matrix| matrix.taken_by != TakenBy::WantedTokens);
        of_layers.map(MatrixCost::macs).sum()
    }

    /// Elements that go into the layers' matrices and come out of them for one token.
    pub fn row_elements(&self) -> u64 {
        let of_layers = self.matrices.iter().filter(|matrix| matrix.taken_by != TakenBy::WantedTokens);
        of_layers.map(|matrix| matrix.row_elements).sum()
    }

    /// Elements of keys and values that all layers keep for each position.
    pub fn kept_elements(&self) -> usize {
        self.attention.iter().map(|layer| layer.kept_elements).sum()
    }
}

/// Positions that a mask lets through at most; all if `None`.
fn window(mask: Mask) -> Option<usize> {
    match mask {
        Mask::Window(length) | Mask::Chunk(length) => Some(length),
        Mask::Around(reach) => Some(2 * reach + 1),
        Mask::Causal | Mask::Bidirectional => None,
    }
}

/// The lesser of two limits.
fn narrower(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Positions that a query reads at most where keys are chosen.
fn chosen_keys(choice: &KeyChoice) -> Option<usize> {
    let indexer = choice.indexer()?;
    Some(match indexer.unit {
        KeyUnit::Key | KeyUnit::Compressed { .. } => indexer.chosen_count,
        KeyUnit::Pool { length, .. } | KeyUnit::Block { length, .. } => indexer.chosen_count.saturating_mul(length),
    })
}

/// What an indexer keeps and computes beside the attention it chooses for.
fn indexer_cost(indexer: &Indexer) -> AttentionCost {
    AttentionCost {
        kept_elements: indexer.head_dim,
        read_elements: indexer.head_dim,
        macs_a_key: indexer.head_count * indexer.head_dim,
        window: None,
    }
}

/// What tensors are used for, as far as it cannot be seen from their shape.
struct Roles {
    head: Option<String>,
    /// Tables of which a token takes one row.
    tables: Vec<String>,
    /// Stacks of experts, with the experts each token takes.
    stacks: HashMap<String, usize>,
}

impl Roles {
    fn new(architecture: &Architecture, config: &ModelConfig, is_there: impl Fn(&str) -> bool) -> Roles {
        let embedding = (architecture.embedding)(config);
        let mut tables = vec![format!("{}.weight", embedding.table)];
        tables.extend(embedding.positions.stem().map(|stem| format!("{stem}.weight")));
        tables.extend(embedding.token_types.map(|(stem, _)| format!("{stem}.weight")));
        tables.extend(embedding.per_layer.map(|per_layer| format!("{}.weight", per_layer.table)));
        let ngrams = (0..config.layer_count).find_map(|layer_index| (architecture.layer)(config, layer_index).ngrams);
        tables.extend(ngrams.map(|ngrams| format!("{}.weight", ngrams.table)));
        let head = match (architecture.head)(config).output {
            HeadOutput::HiddenState => None,
            HeadOutput::Logits(stem) => {
                let own = format!("{stem}.weight");
                Some(if is_there(&own) { own } else { tables[0].clone() })
            }
        };
        let mut stacks = HashMap::new();
        for layer_index in 0..config.layer_count {
            let experts: Option<ExpertsFfn> = match (architecture.layer)(config, layer_index).ffn {
                Ffn::Experts(experts) | Ffn::ExpertsIfThere { experts, .. } => Some(experts),
                Ffn::DenseAndExperts(both) => Some(both.experts),
                Ffn::None | Ffn::Dense(_) | Ffn::ChannelMix(_) => None,
            };
            let (Some(experts), Some(counts)) = (experts, &config.experts) else { continue };
            let used_count = counts.expert_used_counts[layer_index];
            let prefix = architecture.prefix_of(config, layer_index);
            tables.extend(experts.table.map(|name| format!("{prefix}{name}")));
            let mut add = |stem: &str, used_count: usize| {
                stacks.insert(format!("{prefix}{stem}.weight"), used_count);
            };
            for stem in [experts.gate, Some(experts.up), experts.fused, Some(experts.down)].into_iter().flatten() {
                add(stem, used_count);
            }
            if let Some(adjugates) = &experts.adjugates {
                let used_count = used_count.min(counts.expert_count / adjugates.group_size.max(1));
                [adjugates.gate, adjugates.up, adjugates.down].into_iter().for_each(|stem| add(stem, used_count));
            }
        }
        Roles { head, tables, stacks }
    }

    /// Which tokens this tensor is multiplied with; `None` for tables, norms, biases and factors.
    fn of(&self, name: &str, shape: &[usize]) -> Option<TakenBy> {
        if self.head.as_deref() == Some(name) {
            return Some(TakenBy::WantedTokens);
        }
        if self.tables.iter().any(|table| table == name) {
            return None;
        }
        if let Some(&used_count) = self.stacks.get(name) {
            return Some(TakenBy::Chosen { expert_count: shape[2], used_count });
        }
        (name.ends_with(".weight") && shape.len() >= 2).then_some(TakenBy::EveryToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model's file as far as this needs it: keys, and the tensors of these names with their shapes and types.
    fn count(keys: &[(&str, u32)], architecture: &str, tensors: &[(&str, &[u64], TensorType)]) -> ModelCost {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", architecture);
        metadata.set(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5f32);
        for (key, value) in keys {
            metadata.set(&format!("{architecture}.{key}"), *value);
        }
        let info = |&(name, shape, tensor_type): &(&str, &[u64], TensorType)| TensorInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            tensor_type,
            offset: 0,
            size_bytes: tensor_type.size_bytes(shape.iter().product()).expect("whole blocks"),
            shard: 0,
        };
        ModelCost::of(&metadata, &tensors.iter().map(info).collect::<Vec<_>>()).expect("it can be counted")
    }

    const SMALL: [(&str, u32); 7] = [
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", 256),
        ("feed_forward_length", 512),
        ("vocab_size", 1000),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ];

    #[test]
    fn a_dense_layer_counts_its_matrices_and_not_its_norms() {
        use TensorType::{F32, Q4_K, Q6_K};
        let tensors: [(&str, &[u64], TensorType); 11] = [
            ("token_embd.weight", &[256, 1000], Q4_K),
            ("blk.0.attn_norm.weight", &[256], F32),
            ("blk.0.attn_q.weight", &[256, 256], Q4_K),
            ("blk.0.attn_k.weight", &[256, 128], Q4_K),
            ("blk.0.attn_v.weight", &[256, 128], Q4_K),
            ("blk.0.attn_output.weight", &[256, 256], Q4_K),
            ("blk.0.ffn_norm.weight", &[256], F32),
            ("blk.0.ffn_gate.weight", &[256, 512], Q4_K),
            ("blk.0.ffn_up.weight", &[256, 512], Q4_K),
            ("blk.0.ffn_down.weight", &[512, 256], Q6_K),
            ("output_norm.weight", &[256], F32),
        ];
        let layer = 256 * (256 + 128 + 128 + 256 + 3 * 512);
        let cost = count(&SMALL, "llama", &tensors);
        assert_eq!(cost.layer_macs(), f64::from(layer));
        assert_eq!(cost.parameters, layer as u64 + 256_000 + 3 * 256);
        // The tied table is the head: read as a whole, but only where logits are wanted.
        let (down, rest) = (512 * 210, (layer as usize - 512 * 256) / 256 * 144);
        assert_eq!(cost.weight_bytes(1, 0), (down + rest) as f64);
        assert_eq!(cost.weight_bytes(1, 1), (down + rest + 1000 * 144) as f64);
        assert_eq!(cost.weight_bytes(100, 1), cost.weight_bytes(1, 1));
        // With a head of its own the table is one row a token.
        let untied = count(&SMALL, "llama", &[&tensors[..], &[("output.weight", &[256, 1000], Q6_K)]].concat());
        assert_eq!(untied.weight_bytes(1, 1), (down + rest + 1000 * 210) as f64);
        assert_eq!(untied.layer_macs(), cost.layer_macs());
        // Two heads of keys and values of 64 elements; four query heads compare and sum 64 each.
        let attention = AttentionCost { kept_elements: 256, read_elements: 256, macs_a_key: 512, window: None };
        assert_eq!(cost.attention, [attention]);
        assert_eq!((cost.kept_elements(), attention.keys(0), attention.keys(99)), (256, 1, 100));
        assert_eq!(AttentionCost { window: Some(8), ..attention }.keys(99), 8);
    }

    #[test]
    fn latent_attention_keeps_the_compressed_row_once() {
        let keys = [
            &SMALL[..],
            &[("attention.kv_lora_rank", 64), ("attention.key_length", 80), ("attention.value_length", 64)],
            &[("attention.key_length_mla", 48), ("attention.value_length_mla", 32), ("rope.dimension_count", 16)],
            &[("attention.head_count_kv", 1)],
        ];
        let tensors: [(&str, &[u64], TensorType); 2] = [
            ("blk.0.attn_k_b.weight", &[32, 64, 4], TensorType::F32),
            ("blk.0.attn_v_b.weight", &[64, 32, 4], TensorType::F32),
        ];
        let cost = count(&keys.concat(), "deepseek2", &tensors);
        // Four heads compare 80 elements and sum 64; the row is 64 latents and 16 that are turned.
        let expected = AttentionCost { kept_elements: 80, read_elements: 80, macs_a_key: 4 * 144, window: None };
        assert_eq!(cost.attention, [expected]);
        assert_eq!(cost.layer_macs(), f64::from(2 * 4 * 32 * 64));
    }

    #[test]
    fn of_experts_only_the_chosen_ones_count() {
        use TensorType::{F32, Q4_0};
        let keys = [
            &SMALL[..],
            &[("expert_count", 8), ("expert_used_count", 2), ("expert_feed_forward_length", 64)],
            &[("attention.key_length", 64), ("attention.value_length", 64)],
        ];
        let cost = count(
            &keys.concat(),
            "qwen3moe",
            &[
                ("blk.0.ffn_gate_inp.weight", &[256, 8], F32),
                ("blk.0.ffn_gate_exps.weight", &[256, 64, 8], Q4_0),
                ("blk.0.ffn_down_exps.weight", &[64, 256, 8], Q4_0),
            ],
        );
        let stack = 256 * 64 * 8;
        assert_eq!(cost.layer_macs(), f64::from(256 * 8 + 2 * stack / 4));
        let stack_bytes = f64::from(stack / 32 * 18);
        let router_bytes = f64::from(256 * 8 * 4);
        assert_eq!(cost.weight_bytes(1, 0), router_bytes + 2.0 * stack_bytes / 4.0);
        // Two tokens choose the same expert now and then: 1 - (3/4)^2 of all are read.
        assert_eq!(cost.weight_bytes(2, 0), router_bytes + 2.0 * stack_bytes * 7.0 / 16.0);
        assert!((cost.weight_bytes(1000, 0) - router_bytes - 2.0 * stack_bytes).abs() < 1e-6);
    }
}
