//! The weights of attention to a window and to compressed keys.

use lair_compute::{
    Attention, Backend, CompressedKeys, CompressedStorage, KeyStorage, KvLayerLayout, Linear, Mask, NormGroup,
    NormOrder, OutputGate, RopeTable,
};

use super::indexer::{CompressorWeights, IndexerWeights};
use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::shapes::check_compressed;
use crate::spec::{self, KeyChoice};

/// Such attention of one layer, and which of the model's buffers it uses.
pub(crate) struct CompressedWeights<B: Backend> {
    pub(crate) q_down: Adapted<B>,
    pub(crate) q_down_norm: Option<lair_compute::Norm<B>>,
    pub(crate) q_up: Adapted<B>,
    pub(crate) kv: Adapted<B>,
    pub(crate) compressor: Option<CompressorWeights<B>>,
    pub(crate) indexer: Option<Box<IndexerWeights<B>>>,
    /// Whether it reads some of the compressed keys only.
    pub(crate) reads_chosen: bool,
    pub(crate) region: lair_compute::CompressedAttention<B>,
    /// Narrow queries before and after their norm, keys and values, results of the heads.
    pub(crate) rooms: [usize; 4],
    pub(crate) q_buffer: usize,
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn compressed_attention(
        &mut self,
        mixer: &spec::CompressedAttention,
        prefix: &str,
        layer_index: usize,
        state_layer: usize,
    ) -> Result<CompressedWeights<B>, ModelError> {
        let head_count = check_compressed(mixer, self.config, layer_index)?;
        let (dim, stem) = (mixer.head_dim, |name: &str| format!("{prefix}{name}"));
        let rope_first = dim - mixer.rope.dimension_count;
        let kv_layer = self.latent_rows(dim, layer_index);
        let rooms = self.widths.rooms([mixer.q_rank, mixer.q_rank, dim, head_count * dim]);
        let (mut compressor, mut compressed) = (None, None);
        if let Some(declared) = &mixer.compressor {
            self.memory.kv.push(KvLayerLayout { kv_head_count: 1, key_dim: 0, value_dim: dim });
            let beside = self.memory.kv.len() - 1;
            let layers = (beside, state_layer, CompressedStorage::Value);
            compressor = Some(self.compressor(declared, (dim, rope_first), prefix, layers, &rooms)?);
            compressed = Some(CompressedKeys { kv_layer: beside, length: declared.length });
        }
        let state_layer = state_layer + usize::from(compressor.is_some());
        let indexer = self.indexer(&mixer.choice, prefix, state_layer, &rooms)?;
        let rope = self.rope_behind(Some(mixer.rope), rope_first)?;
        let turned_back = rope.clone().map(|rope| RopeTable {
            frequencies: rope.frequencies.iter().map(|frequency| -frequency).collect(),
            ..rope
        });
        let attention = Attention {
            kv_layer,
            head_count,
            kv_head_count: 1,
            key_dim: dim,
            value_dim: dim,
            q_norm: self.norm_of(prefix, mixer.q_norm, NormGroup::Run(dim))?,
            k_norm: self.norm_of(prefix, mixer.kv_norm, NormGroup::Row)?,
            v_norm: None,
            norm_order: NormOrder::BeforeRope,
            rope,
            scale: 1.0 / (dim as f32).sqrt(),
            clamp: None,
            softcap: None,
            mask: Mask::Window(mixer.window),
            sinks: self.sinks(mixer.sinks, prefix)?,
            key_constant: None,
            relative_bias: None,
            alibi_slopes: None,
            key_storage: KeyStorage::BehindValue,
            temperature: None,
            gate: OutputGate::SIGMOID,
        };
        let weight = self.stack(&format!("{}.weight", stem(mixer.group_output)), mixer.group_count)?;
        let group_output = Linear { weight, bias: None, scale: 1.0 };
        let (group_count, rank) = (mixer.group_count, mixer.group_rank);
        Ok(CompressedWeights {
            q_down: self.adapted(&stem(mixer.q_down))?,
            q_down_norm: self.norm(prefix, mixer.q_down_norm)?,
            q_up: self.adapted(&stem(mixer.q_up))?,
            kv: self.adapted(&stem(mixer.kv))?,
            compressor,
            indexer,
            reads_chosen: mixer.choice != KeyChoice::All,
            region: lair_compute::CompressedAttention {
                attention,
                turned_back,
                compressed,
                group_output,
                group_count,
                rank,
            },
            rooms,
            q_buffer: width_index(&mut self.widths.q, head_count * dim),
            mixed_buffer: width_index(&mut self.widths.mixed, group_count * rank),
        })
    }

    /// The layer of the cache that keeps rows which are keys and values.
    fn latent_rows(&mut self, dim: usize, layer_index: usize) -> usize {
        self.memory.kv.push(KvLayerLayout { kv_head_count: 1, key_dim: 0, value_dim: dim });
        self.memory.kv_of_layer[layer_index] = Some(self.memory.kv.len() - 1);
        self.memory.kv.len() - 1
    }
}
