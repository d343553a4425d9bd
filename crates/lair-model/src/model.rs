//! A loaded model: immutable, shareable, made of a declaration and its weights.

use lair_compute::{Backend, KvElement, KvLayout, Norm, StateLayout};
use lair_gguf::GgufFile;

use crate::adapter::{Adapter, AdapterSummary};
use crate::config::{Pooling, SwitchConfig};
use crate::forward::{Activations, EncoderFrame};
use crate::pooled_head::PooledHead;
use crate::spec::Architecture;
use crate::tensor_source::TensorSource;
use crate::weights::{
    AdapterParts, AdapterWidths, BufferWidths, Builder, EmbeddingWeights, EncoderWeights, GatedStreamWeights,
    HeadWeights, LayerWeights, MemoryLayers, MixerWeights, StreamMixWeights, StreamWeights, SwitchWeights,
};
use crate::{ModelConfig, ModelError, architectures, check_support, tensor_needs};

/// A model whose weights lie in the layout of the backend `B`. Nothing in it changes: share it in an `Arc`.
pub struct Model<B: Backend> {
    architecture: &'static Architecture,
    config: ModelConfig,
    pub(crate) embedding: EmbeddingWeights<B>,
    pub(crate) encoder: Option<EncoderWeights<B>>,
    pub(crate) streams: Option<StreamWeights<B>>,
    /// The scores by which the head reads a mean of states of the residual stream.
    pub(crate) banked_head: Option<Norm<B>>,
    /// How the head reads streams.
    pub(crate) gated_head: Option<GatedStreamWeights<B>>,
    /// What finds out which of its own adapters a row uses.
    pub(crate) switch: Option<SwitchWeights<B>>,
    /// What the head reads of streams that layers read and write by learned factors.
    pub(crate) hyper_head: Option<StreamMixWeights<B>>,
    pub(crate) layers: Vec<LayerWeights<B>>,
    pub(crate) head: HeadWeights<B>,
    needs_whole_sequences: bool,
    memory: MemoryLayers,
    widths: BufferWidths,
    ignored_tensors: Vec<String>,
    pooled_head: PooledHead,
    adapters: Vec<AdapterSummary>,
    adapter_widths: AdapterWidths,
}

/// What is decided when a model is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// The longest context that sequences will have; what the model was trained for if `None`. Some models turn
    /// queries and keys differently for long contexts (LongRoPE), some can only be run up to the original context length.
    pub context_length: Option<usize>,
}

impl<B: Backend> Model<B> {
    /// Loads a model: reads its hyper-parameters, checks every tensor against its declaration, and only then hands
    /// weights to the backend.
    ///
    /// # Errors
    /// If the architecture is unknown or has parts that cannot be run, a hyper-parameter is wrong, a tensor is missing,
    /// misshapen or of no declared part, or the backend refuses a weight.
    pub fn load(file: &GgufFile, backend: &B, options: LoadOptions) -> Result<Model<B>, ModelError> {
        Model::load_with_adapters(file, &[], backend, options)
    }

    /// Loads a model as [`Model::load`] does, with low-rank adapters, each of which a step can use with a factor of its own
    /// ([`lair_compute::SequenceRows::adapter_scales`]).
    ///
    /// # Errors
    /// As [`Model::load`], and [`ModelError::Adapter`] if an adapter is none or changes what the model does not have.
    pub fn load_with_adapters(
        file: &GgufFile,
        adapters: &[GgufFile],
        backend: &B,
        options: LoadOptions,
    ) -> Result<Model<B>, ModelError> {
        let architecture = architectures::find(file.architecture()?)?;
        let config = ModelConfig::from_metadata(file.metadata())?;
        let context_length = options.context_length.unwrap_or(config.context_length);
        check_support(architecture, &config)?;
        let needs = tensor_needs(architecture, &config)?;
        let source = TensorSource::new(file, architecture, &config, &needs)?;

        let adapters = adapters.iter().map(|file| Adapter::new(file, &config, &needs));
        let adapters = AdapterParts { adapters: adapters.collect::<Result<_, _>>()?, ..AdapterParts::default() };
        let mut builder = Builder::new(backend, source, &config, context_length, adapters);
        builder.shares_blocks =
            (0..config.layer_count).any(|layer_index| (architecture.block_of)(&config, layer_index) != layer_index);
        let declared_embedding = (architecture.embedding)(&config);
        let (head, is_tied) = builder.head(architecture, &declared_embedding)?;
        let embedding = builder.embedding(&declared_embedding, is_tied)?;
        let streams = builder.streams(&declared_embedding, &(architecture.head)(&config))?;
        let banked_head = builder.banked_head(&(architecture.head)(&config))?;
        let gated_head = match &(architecture.head)(&config).gated {
            Some(stream) => Some(builder.gated_stream(stream, "")?),
            None => None,
        };
        let hyper_head = (architecture.head)(&config).hyper;
        let hyper_head = hyper_head.map(|mix| builder.stream_mix(&mix, "")).transpose()?;
        let encoder = builder.encoder(architecture)?;
        let layers = (0..config.layer_count)
            .map(|layer_index| builder.layer(architecture, layer_index))
            .collect::<Result<Vec<_>, ModelError>>()?;
        let switch = config.switch.as_ref().filter(|_| architecture.has_own_adapters);
        let switch = switch.map(|switch| builder.switch(switch)).transpose()?;
        let pooled_head = PooledHead::load(file, &config, architecture)?;
        let Builder { source, mut widths, memory, adapters, .. } = builder;
        let summaries = adapters.adapters.iter().map(Adapter::summary).collect::<Result<_, _>>()?;
        let adapter_widths = adapters.widths.into_inner();
        widths.note_widest(config.hidden_size);
        widths.keeps_input = layers.iter().any(|layer| layer.keeps_input() || layer.sums_apart());
        widths.keeps_embedding = layers.iter().any(|layer| layer.embedding_skip.is_some());
        let sees_what_follows = |layer: &LayerWeights<B>| match &layer.mixer {
            MixerWeights::Attention(attention) => attention.region.mask.sees_what_follows(),
            MixerWeights::Latent(latent) => latent.region.attention.mask.sees_what_follows(),
            _ => false,
        };
        Ok(Model {
            architecture,
            needs_whole_sequences: layers.iter().any(sees_what_follows),
            ignored_tensors: source.ignored,
            config,
            embedding,
            encoder,
            streams,
            banked_head,
            gated_head,
            hyper_head,
            switch,
            layers,
            head,
            memory,
            widths,
            pooled_head,
            adapters: summaries,
            adapter_widths,
        })
    }

    /// The declaration it was made by.
    pub fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// Its hyper-parameters.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Tokens of the vocabulary: the width of logits.
    pub fn vocabulary_size(&self) -> usize {
        self.config.vocabulary_size
    }

    /// Positions the model was trained for.
    pub fn context_length(&self) -> usize {
        self.config.context_length
    }

    /// Whether the model gives a score for each token of the vocabulary; else it gives hidden states only, from which
    /// embeddings are pooled.
    pub fn has_logits(&self) -> bool {
        matches!(self.head, HeadWeights::Logits(_))
    }

    /// The tokens around what the encoder reads, in a model that has one. Files that leave the decoder's first one out pad
    /// with token 0, which T5 begins with.
    pub fn encoder_frame(&self) -> Option<EncoderFrame> {
        let decoder_start = self.config.decoder_start_token.unwrap_or(0);
        self.has_encoder().then_some(EncoderFrame { prompt_end: self.config.prompt_end_token, decoder_start })
    }

    /// Whether text can be generated token by token: not by models that only give hidden states, not by those that see
    /// what follows and replace masked tokens, and not without what an encoder has made of the prompt.
    pub fn generates_one_by_one(&self) -> bool {
        self.has_logits() && !self.architecture.is_diffusion && !self.has_encoder()
    }

    /// Whether tokens see those that follow them: a sequence then has to be computed in one step.
    pub fn needs_whole_sequences(&self) -> bool {
        self.needs_whole_sequences
    }

    /// How hidden states become one vector if nobody says otherwise: as the file says, else their mean.
    pub fn pooling(&self) -> Pooling {
        self.config.pooling.unwrap_or(Pooling::Mean)
    }

    /// What is made of a pooled hidden state.
    pub fn pooled_head(&self) -> &PooledHead {
        &self.pooled_head
    }

    /// The adapters that steps can use, in the order they were given.
    pub fn adapters(&self) -> &[AdapterSummary] {
        &self.adapters
    }

    /// Tensors of the file that no token needs and that were left out.
    pub fn ignored_tensors(&self) -> &[String] {
        &self.ignored_tensors
    }

    /// Whether the embedding's table serves the head too.
    pub fn has_tied_embedding(&self) -> bool {
        self.embedding.table.is_none()
    }

    /// What a cache of `page_count` pages of this model holds.
    pub fn kv_layout(&self, element: KvElement, page_count: usize) -> KvLayout {
        KvLayout { layers: self.memory.kv.clone(), element, page_count }
    }

    /// What `slot_count` slots of recurrent state hold; `None` for a model without recurrent layers.
    pub fn state_layout(&self, slot_count: usize) -> Option<StateLayout> {
        (!self.memory.states.is_empty()).then(|| StateLayout { layers: self.memory.states.clone(), slot_count })
    }

    /// Makes the buffers for steps of up to `rows_max` rows, and has the backend reserve its own.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn activations(&self, backend: &mut B, rows_max: usize) -> Result<Activations<B>, ModelError> {
        for layer in &self.layers {
            if let Some(weights) = layer.ffn.experts() {
                backend.reserve_experts(rows_max, &weights.experts)?;
            }
        }
        // As many as the builder has counted, whether the declaration uses them or not.
        let own = self.config.switch.as_ref().map_or(0, SwitchConfig::slot_count);
        let counts = (own, self.adapters.len());
        Activations::new(backend, &self.widths, (counts, &self.adapter_widths), self.config.hidden_size, rows_max)
    }
}

/// Checks hyper-parameters and tensors of a model against the declaration of its architecture; touches no weight.
///
/// # Errors
/// As [`Model::load`], but for what only a backend refuses.
pub fn check_tensors(file: &GgufFile) -> Result<(), ModelError> {
    let architecture = architectures::find(file.architecture()?)?;
    let config = ModelConfig::from_metadata(file.metadata())?;
    TensorSource::new(file, architecture, &config, &tensor_needs(architecture, &config)?).map(|_| ())
}

/// Checks that every logit, `[rows, vocabulary_size]`, is a finite number.
///
/// # Errors
/// [`ModelError::NonFiniteLogits`] names the first that is not: weights are damaged.
pub fn check_logits(logits: &[f32], vocabulary_size: usize) -> Result<(), ModelError> {
    match logits.iter().position(|logit| !logit.is_finite()) {
        Some(index) => {
            Err(ModelError::NonFiniteLogits { row: index / vocabulary_size, token: index % vocabulary_size })
        }
        None => Ok(()),
    }
}
