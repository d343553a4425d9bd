//! What a model takes of a machine and how fast it will be there, told from its header.
//!
//! ```text
//! memory  = weights + keys and values + recurrent state + buffers of a step
//! keys and values = kept elements a position * bytes an element * positions (a window's at most, where a layer has one)
//! seconds = the roofline of a machine that reads and multiplies at the rates that the engine reaches
//! ```
//!
//! The derivation of each formula, and well-known wrong ones, are in `docs/concepts/fit.md`.

use lair_gguf::{Metadata, TensorInfo};
use lair_model::{ModelConfig, ModelCost, ModelError};

use crate::fit::RESERVE_BYTES;
use crate::{Machine, Roofline};

/// Rows that a step of the engine has at most: prompts are computed in pieces of this length.
pub const STEP_ROWS: usize = 512;
/// Of what the machine can do at most, what the engine's steps reach (`bench/results`): of reading, 76 to 80 % of a plain read
/// that takes turns with its steps (example `decode_limit` of `lair-engine`); of multiplying, what the kernels reach with
/// scales and minima taken in, less norms and what else a step does.
const READ_SHARE: f64 = 0.78;
const FLOAT_SHARE: f64 = 0.6;
const BYTE_SHARE: f64 = 0.45;
const CODE_SHARE: f64 = 0.5;
/// The part of the memory that is there of which nothing else should need any.
const COMFORTABLE_SHARE: f64 = 0.9;
/// A context in which a conversation can be held.
const USEFUL_CONTEXT_LENGTH: usize = 2048;
/// Decoding below this is slower than one reads.
const READING_TOKENS_PER_SECOND: f64 = 4.0;

/// How a model is to be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// Positions of each conversation.
    pub context_length: usize,
    /// Conversations at once.
    pub users: usize,
    /// Bytes of an element of keys and values; a fraction where elements share scales.
    pub kv_element_bytes: f64,
    /// Bytes that an activation is multiplied as, where weights are quantized: 2 in narrow models.
    pub activation_bytes: usize,
    /// Bytes of memory that can be had; `None` if the system does not say.
    pub available_bytes: Option<u64>,
}

/// Bytes, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeeds {
    /// Tensors as they lie in the file; packing them for the machine takes as much.
    pub weights_bytes: u64,
    /// Keys and values of all users' contexts.
    pub kv_bytes: u64,
    /// Recurrent state of all users.
    pub state_bytes: u64,
    /// Buffers of a step and the logits.
    pub step_bytes: u64,
    /// Vocabulary, templates and the like: what is not tensors in the file, as it is kept in memory.
    pub other_bytes: u64,
}

impl MemoryNeeds {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        [self.kv_bytes, self.state_bytes, self.step_bytes, self.other_bytes]
            .into_iter()
            .fold(self.weights_bytes, u64::saturating_add)
    }
}

/// Tokens a second, and what limits them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speeds {
    /// Of a prompt of 512 tokens.
    pub prefill: f64,
    /// Of the first tokens of an answer, one conversation alone.
    pub decode: f64,
    /// Behind a full context.
    pub decode_at_context: f64,
    /// Of all users together, at half their contexts.
    pub all_users: f64,
    /// Seconds to the first token of a prompt of 2,000 tokens (of the whole context where that is shorter).
    pub first_token_seconds: f64,
}

/// Whether a model can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With memory to spare.
    WorksWell,
    /// It fits, but hardly anything else does.
    Tight,
    /// Only with a shorter context.
    ShorterContext,
    /// Not even with a short one.
    DoesNotFit,
}

impl Verdict {
    /// The words for it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::WorksWell => "works well",
            Verdict::Tight => "tight",
            Verdict::ShorterContext => "fits with a shorter context",
            Verdict::DoesNotFit => "does not fit",
        }
    }
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Its memory.
    pub memory: MemoryNeeds,
    /// Bytes of keys and values of one more position, before any window is full.
    pub kv_position_bytes: f64,
    /// The longest context of each user that fits, at most the model's.
    pub context_length_max: usize,
    /// How fast it is.
    pub speeds: Speeds,
    /// Whether it can be used.
    pub verdict: Verdict,
    /// Why, in sentences.
    pub reasons: Vec<String>,
}

impl Estimate {
    /// Estimates a model by its metadata and tensors. `metadata_bytes` is what the file has besides tensors.
    ///
    /// # Errors
    /// If the architecture is unknown or a hyper-parameter that gives a shape is missing or wrong.
    pub fn of(
        metadata: &Metadata,
        tensors: &[TensorInfo],
        metadata_bytes: u64,
        machine: Machine,
        wanted: Use,
    ) -> Result<Estimate, ModelError> {
        let config = ModelConfig::from_metadata(metadata)?;
        let cost = ModelCost::of(metadata, tensors)?;
        let weights_bytes = tensors.iter().map(|tensor| tensor.size_bytes).sum();
        let context_length = wanted.context_length.clamp(1, config.context_length.max(1));
        let users = wanted.users.max(1);
        let memory_at = |context_length: usize| MemoryNeeds {
            weights_bytes,
            kv_bytes: (kv_elements(&cost, context_length) * wanted.kv_element_bytes) as u64 * users as u64,
            state_bytes: 4 * cost.state_elements * users as u64,
            step_bytes: step_bytes(&config, &cost),
            // Read into tables: pieces, their bytes and the way to find them take some three times the file's.
            other_bytes: 4 * metadata_bytes,
        };
        let memory = memory_at(context_length);
        let room = wanted.available_bytes.map(|bytes| bytes.saturating_sub(RESERVE_BYTES));
        let fits = |context_length: usize| room.is_none_or(|room| memory_at(context_length).total_bytes() <= room);
        let context_length_max = longest(config.context_length.max(1), fits);
        let (verdict, mut reasons) = judge(&memory, context_length, context_length_max, room);
        let speeds =
            speeds(&cost, as_used(machine, wanted.activation_bytes), context_length, users, wanted.kv_element_bytes);
        if speeds.decode < READING_TOKENS_PER_SECOND {
            reasons.push(format!("it writes {:.1} tokens a second, slower than one reads", speeds.decode));
        }
        if wanted.context_length > config.context_length {
            let (asked, own) = (wanted.context_length, config.context_length);
            reasons.push(format!("a context of {asked} is asked for, the model was trained for {own}"));
        }
        let kv_position_bytes = cost.kept_elements() as f64 * wanted.kv_element_bytes;
        Ok(Estimate { memory, kv_position_bytes, context_length_max, speeds, verdict, reasons })
    }
}

/// Elements of keys and values that one conversation keeps. Windows are not cut off yet: every layer keeps all positions.
fn kv_elements(cost: &ModelCost, context_length: usize) -> f64 {
    cost.kept_elements() as f64 * context_length as f64
}

/// Buffers of a step: `STEP_ROWS` rows in f32 of the residual stream (twice), queries, keys, values and what attention gives, and
/// three as wide as the widest product; of the latter also two coded in bytes with a scale for 32.
fn step_bytes(config: &ModelConfig, cost: &ModelCost) -> u64 {
    let ffn_size = config.ffn_sizes.iter().copied().max().unwrap_or(0);
    let attention = cost.attention.iter().map(|layer| layer.macs_a_key + layer.read_elements).max().unwrap_or(0);
    let widest = ffn_size.max(config.hidden_size).max(attention / 2);
    let elements = 2 * config.hidden_size + attention + 3 * widest;
    let coded = 2 * widest * 36 / 32;
    (STEP_ROWS * (4 * elements + coded) + 4 * config.vocabulary_size) as u64
}

/// The greatest length from 0 to `max` that fits; what fits, fits shorter too.
fn longest(max: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, max);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

fn judge(
    memory: &MemoryNeeds,
    context_length: usize,
    context_length_max: usize,
    room: Option<u64>,
) -> (Verdict, Vec<String>) {
    let Some(room) = room else {
        return (Verdict::WorksWell, vec!["how much memory there is, the system does not say".into()]);
    };
    let (total, mib) = (memory.total_bytes(), |bytes: u64| bytes >> 20);
    let numbers = format!("{} MiB of {} MiB", mib(total), mib(room));
    if total as f64 <= COMFORTABLE_SHARE * room as f64 {
        (Verdict::WorksWell, vec![format!("it takes {numbers}")])
    } else if total <= room {
        (Verdict::Tight, vec![format!("it takes {numbers}: little is left for anything else")])
    } else if context_length_max >= USEFUL_CONTEXT_LENGTH.min(context_length) {
        let reason =
            format!("with a context of {context_length} it would take {numbers}; {context_length_max} positions fit");
        (Verdict::ShorterContext, vec![reason])
    } else {
        (Verdict::DoesNotFit, vec![format!("it would take {numbers}")])
    }
}

/// What the engine makes of a machine. Weights of 16 bits are multiplied as numbers of 32.
fn as_used(machine: Machine, activation_bytes: usize) -> Machine {
    let rows = activation_bytes.max(1) as f64;
    Machine {
        read_bytes_per_second: READ_SHARE * machine.read_bytes_per_second,
        f32_macs_per_second: FLOAT_SHARE * machine.f32_macs_per_second,
        i16_macs_per_second: FLOAT_SHARE * machine.f32_macs_per_second,
        i8_macs_per_second: BYTE_SHARE * machine.i8_macs_per_second / rows,
        code_macs_per_second: CODE_SHARE * machine.code_macs_per_second / rows,
    }
}

fn speeds(cost: &ModelCost, machine: Machine, context_length: usize, users: usize, kv_element_bytes: f64) -> Speeds {
    let roofline = Roofline { cost, machine, kv_element_bytes, step_tokens_max: STEP_ROWS };
    let prompt = STEP_ROWS.min(context_length);
    let long_prompt = context_length.min(2000);
    let decode = |context: usize| 1.0 / roofline.decode(context, 1).seconds;
    // What one more token of every user takes: a stream with it less a stream without.
    let half = (context_length / 2).max(1);
    let step = roofline.streams(users, half, 2).seconds - roofline.streams(users, half, 1).seconds;
    Speeds {
        prefill: prompt as f64 / roofline.prefill(1, prompt).seconds,
        decode: decode(0),
        decode_at_context: decode(context_length - 1),
        all_users: users as f64 / step,
        first_token_seconds: roofline.prefill(1, long_prompt).seconds,
    }
}

#[cfg(test)]
mod tests {
    use lair_gguf::TensorType;

    use super::*;

    const MACHINE: Machine = Machine {
        read_bytes_per_second: 33e9,
        f32_macs_per_second: 101e9,
        i16_macs_per_second: 165e9,
        i8_macs_per_second: 195e9,
        code_macs_per_second: 320e9,
    };

    /// A decoder of these numbers, its tensors all of one type.
    struct Shape {
        layers: u32,
        hidden: u64,
        heads: u32,
        kv_heads: u32,
        head_dim: u64,
        ffn: u64,
        vocabulary: u64,
        tensor_type: TensorType,
    }

    impl Shape {
        fn parts(&self) -> (Metadata, Vec<TensorInfo>) {
            let mut metadata = Metadata::default();
            metadata.set("general.architecture", "llama");
            metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
            for (key, value) in [
                ("block_count", self.layers),
                ("context_length", 131_072),
                ("embedding_length", self.hidden as u32),
                ("feed_forward_length", self.ffn as u32),
                ("attention.head_count", self.heads),
                ("attention.head_count_kv", self.kv_heads),
                ("attention.key_length", self.head_dim as u32),
                ("attention.value_length", self.head_dim as u32),
                ("vocab_size", self.vocabulary as u32),
            ] {
                metadata.set(&format!("llama.{key}"), value);
            }
            let mut tensors = Vec::new();
            let mut add = |name: String, shape: &[u64]| {
                let elements = shape.iter().product();
                tensors.push(TensorInfo {
                    name,
                    shape: shape.to_vec(),
                    tensor_type: self.tensor_type,
                    offset: 0,
                    size_bytes: self.tensor_type.size_bytes(elements).expect("whole blocks"),
                    shard: 0,
                });
            };
            let (q, kv) = (u64::from(self.heads) * self.head_dim, u64::from(self.kv_heads) * self.head_dim);
            add("token_embd.weight".into(), &[self.hidden, self.vocabulary]);
            add("output.weight".into(), &[self.hidden, self.vocabulary]);
            for layer in 0..self.layers {
                for (stem, columns, rows) in [
                    ("attn_q", self.hidden, q),
                    ("attn_k", self.hidden, kv),
                    ("attn_v", self.hidden, kv),
                    ("attn_output", q, self.hidden),
                    ("ffn_gate", self.hidden, self.ffn),
                    ("ffn_up", self.hidden, self.ffn),
                    ("ffn_down", self.ffn, self.hidden),
                ] {
                    add(format!("blk.{layer}.{stem}.weight"), &[columns, rows]);
                }
            }
            (metadata, tensors)
        }

        fn estimate(&self, wanted: Use) -> Estimate {
            let (metadata, tensors) = self.parts();
            Estimate::of(&metadata, &tensors, 0, MACHINE, wanted).expect("it can be estimated")
        }
    }

    const fn use_of(context_length: usize) -> Use {
        Use { context_length, users: 1, kv_element_bytes: 2.0, activation_bytes: 1, available_bytes: None }
    }

    /// Llama 3 8B: the model card's configuration.
    const LLAMA_3_8B: Shape = Shape {
        layers: 32,
        hidden: 4096,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        ffn: 14_336,
        vocabulary: 128_256,
        tensor_type: TensorType::F16,
    };

    #[test]
    fn keys_and_values_of_known_models() {
        // Layers, key/value heads, elements of a head: bytes a position in F16, from the models' configurations. Grouped
        // heads are why Llama 3 8B takes a quarter of Llama 2 7B.
        for (name, layers, kv_heads, head_dim, expected) in [
            ("Llama 2 7B", 32, 32, 128, 524_288.0),
            ("Llama 2 70B", 80, 8, 128, 327_680.0),
            ("Llama 3 8B", 32, 8, 128, 131_072.0),
            ("Llama 3.2 1B", 16, 8, 64, 32_768.0),
            ("Llama 3.2 3B", 28, 8, 128, 114_688.0),
            ("Mistral 7B", 32, 8, 128, 131_072.0),
            ("Qwen2.5 0.5B", 24, 2, 64, 12_288.0),
            ("Qwen2.5 7B", 28, 4, 128, 57_344.0),
            ("TinyLlama 1.1B", 22, 4, 64, 22_528.0),
            ("SmolLM2 135M", 30, 3, 64, 23_040.0),
        ] {
            let shape = Shape { layers, kv_heads, head_dim, heads: 4 * kv_heads, ..LLAMA_3_8B };
            assert_eq!(shape.estimate(use_of(16)).kv_position_bytes, expected, "{name}");
        }
    }

    #[test]
    fn llama_3_8b_takes_what_its_card_says() {
        let estimate = LLAMA_3_8B.estimate(use_of(8192));
        // 8,030,261,248 parameters less those of norms in 16 bits, 1 GiB of keys and values for 8,192 positions.
        assert_eq!(estimate.memory.weights_bytes, 2 * (8_030_261_248 - 65 * 4096));
        assert_eq!(estimate.memory.kv_bytes, 1 << 30);
        assert_eq!(estimate.context_length_max, 131_072);
        // A token reads 15 GB (the embedding's table is one row): 33 GB/s allow 2.2 a second.
        assert!((estimate.speeds.decode / (READ_SHARE * 33e9 / 15.01e9) - 1.0).abs() < 0.01, "{:?}", estimate.speeds);
        assert!(estimate.reasons.iter().any(|reason| reason.contains("slower than one reads")));
        let half = LLAMA_3_8B.estimate(Use { kv_element_bytes: 34.0 / 32.0, ..use_of(8192) });
        assert_eq!(half.memory.kv_bytes, (1 << 30) * 34 / 64);
    }

    #[test]
    fn verdicts_follow_the_memory_there_is() {
        let of = |available_bytes: u64, context_length| {
            let wanted = Use { available_bytes: Some(available_bytes), ..use_of(context_length) };
            LLAMA_3_8B.estimate(wanted)
        };
        let gib = |count: u64| count << 30;
        assert_eq!(of(gib(24), 8192).verdict, Verdict::WorksWell);
        assert_eq!(of(gib(17), 8192).verdict, Verdict::Tight);
        let shorter = of(gib(17), 65_536);
        assert_eq!(shorter.verdict, Verdict::ShorterContext);
        // What is said to fit does, and one more position does not.
        let at = |context_length| of(gib(17), context_length).memory.total_bytes() + RESERVE_BYTES;
        assert!(at(shorter.context_length_max) <= gib(17) && at(shorter.context_length_max + 1) > gib(17));
        let never = of(gib(8), 8192);
        assert_eq!((never.verdict, never.context_length_max), (Verdict::DoesNotFit, 0));
    }

    #[test]
    fn users_share_the_weights() {
        let one = LLAMA_3_8B.estimate(use_of(4096));
        let eight = LLAMA_3_8B.estimate(Use { users: 8, ..use_of(4096) });
        assert_eq!(eight.memory.kv_bytes, 8 * one.memory.kv_bytes);
        assert_eq!(eight.memory.weights_bytes, one.memory.weights_bytes);
        // Weights are read once for all; multiplying limits eight users of weights in 16 bits.
        assert!(eight.speeds.all_users > 4.0 * one.speeds.all_users);
    }

    #[test]
    fn the_worked_example_of_175_billion_parameters() {
        // Brown et al., "Language Models are Few-Shot Learners", table 2.1: 96 layers, 12,288 wide, 96 heads of 128.
        let shape = Shape {
            layers: 96,
            hidden: 12_288,
            heads: 96,
            kv_heads: 96,
            head_dim: 128,
            // Gate and up of the same parameters as two products of four times the width.
            ffn: 32_768,
            vocabulary: 50_257,
            tensor_type: TensorType::F32,
        };
        let estimate = shape.estimate(use_of(2048));
        // 700 GB in F32; keys and values of 2,048 positions in F16 are 9.7 GB.
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        assert!((gigabytes(estimate.memory.weights_bytes) / 700.0 - 1.0).abs() < 0.01, "{:?}", estimate.memory);
        assert!((gigabytes(estimate.memory.kv_bytes) - 9.66).abs() < 0.01);
        // A token takes twice its parameters in operations, whatever the context's length would suggest: 0.35 TFLOP.
        let (metadata, tensors) = shape.parts();
        let cost = ModelCost::of(&metadata, &tensors).expect("it can be counted");
        let operations =
            2.0 * Roofline { cost: &cost, machine: MACHINE, kv_element_bytes: 2.0, step_tokens_max: 1 }.macs_a_token(0);
        assert!((operations / 0.35e12 - 1.0).abs() < 0.01, "{operations}");
    }
}
