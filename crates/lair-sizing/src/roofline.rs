//! The least time that steps of a model can take on a machine (Williams et al., "Roofline: An Insightful Visual
//! Performance Model").
//!
//! A step reads every weight it needs once from memory and multiplies; both go on at the same time, so
//!
//! ```text
//! seconds of a step >= max(bytes / bandwidth, sum over kinds of numbers of multiply-adds / peak rate)
//!
//! bytes          = matrices (of experts those that are chosen) + keys and values that are seen + recurrent state
//! multiply-adds  = tokens * elements of the layers' matrices + wanted tokens * elements of the head
//!                  + pairs of token and seen position * query heads * (key_dim + value_dim)
//! ```
//!
//! Of the embedding's table a token reads one row, unless the table is the head as well. What caches keep from one step to
//! the next is not known here: a model that fits into them can be faster than its limit.

use lair_gguf::TensorType;
use lair_model::ModelCost;
use lair_model::cost::{AttentionCost, TakenBy};

use crate::hardware::ProductRates;

/// What a machine can do at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Bytes a second that can be read from memory.
    pub read_bytes_per_second: f64,
    /// Multiply-adds a second of f32 numbers.
    pub f32_macs_per_second: f64,
    /// Of 16-bit numbers.
    pub i16_macs_per_second: f64,
    /// Of 8-bit numbers with codes of 8 bits.
    pub i8_macs_per_second: f64,
    /// Of 8-bit numbers with codes of at most 7 bits.
    pub code_macs_per_second: f64,
}

impl Machine {
    /// The rate at which a type of weights can be multiplied: by the cheapest arithmetic that keeps its precision.
    pub fn macs_per_second(&self, tensor_type: TensorType) -> f64 {
        use TensorType::*;
        match tensor_type {
            F32 | F64 | I32 | I64 => self.f32_macs_per_second,
            F16 | BF16 | I16 => self.i16_macs_per_second,
            // The table of IQ4 goes from -127 to 113.
            Q8_0 | Q8_1 | Q8_K | I8 | IQ4_NL | IQ4_XS => self.i8_macs_per_second,
            _ => self.code_macs_per_second,
        }
    }
}

/// What limits a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Reading from memory.
    Memory,
    /// Multiplying.
    Compute,
}

impl Bound {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::Compute => "compute",
        }
    }
}

/// The least time that something takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Seconds.
    pub seconds: f64,
    /// What limits most of that time.
    pub bound: Bound,
}

/// A model on a machine.
#[derive(Clone, Copy, Debug)]
pub struct Roofline<'a> {
    /// What the model costs.
    pub cost: &'a ModelCost,
    /// What the machine can do.
    pub machine: Machine,
    /// Bytes of one element of keys and values; a fraction where elements share scales.
    pub kv_element_bytes: f64,
    /// Tokens of a prompt that one step computes at most.
    pub step_tokens_max: usize,
    /// What a step takes in fact, where that is known; nothing for the least that it can take.
    pub reached: Option<Reached<'a>>,
}

/// What steps take beyond the least: rates of whole products, and what is beside these.
#[derive(Clone, Copy, Debug)]
pub struct Reached<'a> {
    /// Multiply-adds a second of whole products, for types that were measured.
    pub products: &'a ProductRates,
    /// Threads that share the rows of a step.
    pub threads: usize,
    /// Seconds of one thread for an element that goes into a matrix or comes out of it.
    pub element_seconds: f64,
    /// Seconds of all threads for an element of recurrent state, for each token of a prompt.
    pub state_element_seconds: f64,
    /// Seconds of a step, whatever is in it.
    pub step_seconds: f64,
    /// How far reading and multiplying go on at once ([`Beside::overlap`](crate::hardware::Beside)).
    pub overlap: f64,
}

/// Seconds of a step, by what they are spent on.
#[derive(Clone, Copy, Debug, Default)]
struct Time {
    memory: f64,
    compute: f64,
    /// Neither, or not at the same time as one of them.
    beside: f64,
}

/// Seconds of two things that go on at once as far as `overlap` says: 1 if the one follows the other, infinite if the longer one is all.
fn both(one: f64, other: f64, overlap: f64) -> f64 {
    let (short, long) = if one < other { (one, other) } else { (other, one) };
    if long == 0.0 { 0.0 } else { long * (1.0 + (short / long).powf(overlap)).powf(1.0 / overlap) }
}

/// Steps one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    seconds: f64,
    /// Of these, in steps that memory limits.
    memory_seconds: f64,
}

impl Total {
    fn add(&mut self, step: Time, overlap: f64) {
        self.seconds += both(step.memory, step.compute, overlap) + step.beside;
        if step.memory >= step.compute {
            self.memory_seconds += step.memory;
        }
    }

    fn limit(self) -> Limit {
        let bound = if 2.0 * self.memory_seconds >= self.seconds { Bound::Memory } else { Bound::Compute };
        Limit { seconds: self.seconds, bound }
    }
}

impl Roofline<'_> {
    /// `prompts` prompts of `tokens` tokens each, computed in steps that are as full as may be, up to the logits of
    /// each last token.
    pub fn prefill(&self, prompts: usize, tokens: usize) -> Limit {
        self.prefill_total(prompts, tokens).limit()
    }

    /// `tokens` further tokens after `context`, one a step.
    pub fn decode(&self, context: usize, tokens: usize) -> Limit {
        self.decode_total(1, context, tokens).limit()
    }

    /// One step of a token of each of `streams` sequences, each behind `context` others.
    pub fn step(&self, streams: usize, context: usize) -> Limit {
        self.decode_total(streams, context, 1).limit()
    }

    /// `streams` sequences at once: their prompts of `prompt` tokens, and `answer` tokens for each. The first token of
    /// an answer comes of its prompt.
    pub fn streams(&self, streams: usize, prompt: usize, answer: usize) -> Limit {
        let mut total = self.prefill_total(streams, prompt);
        let decode = self.decode_total(streams, prompt, answer.saturating_sub(1));
        total.seconds += decode.seconds;
        total.memory_seconds += decode.memory_seconds;
        total.limit()
    }

    /// Bytes that one token after `context` others reads.
    pub fn bytes_a_token(&self, context: usize) -> f64 {
        self.cost.weight_bytes(1, 1) + self.kv_bytes(context) + self.state_bytes()
    }

    /// Multiply-adds of one token after `context` others, with its logits.
    pub fn macs_a_token(&self, context: usize) -> f64 {
        let matrices: f64 = self.cost.matrices.iter().map(|matrix| matrix.macs()).sum();
        matrices + self.attention_macs(|layer| layer.keys(context) as f64)
    }

    fn prefill_total(&self, prompts: usize, tokens: usize) -> Total {
        let mut total = Total::default();
        let rows = prompts * tokens;
        let mut start = 0;
        while start < rows {
            let count = self.step_tokens_max.max(1).min(rows - start);
            let range = start..start + count;
            // Prompts follow each other: row `r` is token `r % tokens` of its prompt.
            let seen = |layer: &AttentionCost| range.clone().map(|row| layer.keys(row % tokens) as f64).sum::<f64>();
            let wanted = (range.end / tokens) - (range.start / tokens);
            let mut step = self.matrices(count, wanted);
            step.compute += self.attention_macs(seen) / self.attention_rate();
            // Each prompt's earlier keys and values are read once a step.
            let first = range.start / tokens..range.end.div_ceil(tokens);
            let bytes: f64 = first.map(|prompt| self.kv_bytes((range.end - prompt * tokens).min(tokens) - 1)).sum();
            step.memory += bytes / self.machine.read_bytes_per_second;
            total.add(step, self.overlap());
            start += count;
        }
        total
    }

    fn decode_total(&self, streams: usize, context: usize, tokens: usize) -> Total {
        let mut total = Total::default();
        for position in context..context + tokens {
            let mut step = self.matrices(streams, streams);
            let bytes = streams as f64 * (self.kv_bytes(position) + self.state_bytes());
            step.memory += bytes / self.machine.read_bytes_per_second;
            let macs = self.attention_macs(|layer| layer.keys(position) as f64);
            step.compute += streams as f64 * macs / self.attention_rate();
            total.add(step, self.overlap());
        }
        total
    }

    /// The matrices' part of a step of `tokens` tokens, of which `wanted` want logits.
    fn matrices(&self, tokens: usize, wanted: usize) -> Time {
        let memory = self.cost.weight_bytes(tokens, wanted) / self.machine.read_bytes_per_second;
        let taken = |by: TakenBy| if by == TakenBy::WantedTokens { wanted as f64 } else { tokens as f64 };
        let rate = |tensor_type: TensorType| {
            // A few rows are no whole product: they wait for memory, and what they take besides is small.
            let measured = self.reached.and_then(|reached| reached.products.of(tensor_type));
            measured.unwrap_or_else(|| self.machine.macs_per_second(tensor_type))
        };
        let matrices = self.cost.matrices.iter();
        let seconds = matrices.map(|matrix| matrix.macs() * taken(matrix.taken_by) / rate(matrix.tensor_type));
        Time { memory, compute: seconds.sum(), beside: self.reached.map_or(0.0, |it| self.beside(&it, tokens, wanted)) }
    }

    /// Rows are shared by threads; a row is not. What tokens do to recurrent state is hidden behind reading it where each is a
    /// sequence's only one.
    fn beside(&self, reached: &Reached<'_>, tokens: usize, wanted: usize) -> f64 {
        let rows = tokens as f64 / tokens.clamp(1, reached.threads.max(1)) as f64;
        let of_state = tokens.saturating_sub(wanted) as f64 * self.cost.state_elements as f64;
        rows * self.cost.row_elements() as f64 * reached.element_seconds
            + of_state * reached.state_element_seconds
            + reached.step_seconds
    }

    fn overlap(&self) -> f64 {
        self.reached.map_or(f64::INFINITY, |reached| reached.overlap)
    }

    /// Multiply-adds of attention, by the positions seen in each layer.
    fn attention_macs(&self, seen: impl Fn(&AttentionCost) -> f64) -> f64 {
        self.cost.attention.iter().map(|layer| layer.macs_a_key as f64 * seen(layer)).sum()
    }

    /// Keys and values allow the arithmetic of weights that are as wide.
    fn attention_rate(&self) -> f64 {
        let machine = &self.machine;
        match self.kv_element_bytes {
            bytes if bytes > 2.0 => machine.f32_macs_per_second,
            bytes if bytes > 1.5 => machine.i16_macs_per_second,
            bytes if bytes > 0.9 => machine.i8_macs_per_second,
            _ => machine.code_macs_per_second,
        }
    }

    fn kv_bytes(&self, context: usize) -> f64 {
        let elements: f64 =
            self.cost.attention.iter().map(|layer| layer.read_elements as f64 * layer.keys(context) as f64).sum();
        elements * self.kv_element_bytes
    }

    /// Recurrent state is read and written, in f32.
    fn state_bytes(&self) -> f64 {
        2.0 * 4.0 * self.cost.state_elements as f64
    }
}

#[cfg(test)]
mod tests {
    use lair_model::cost::MatrixCost;

    use super::*;

    const MACHINE: Machine = Machine {
        read_bytes_per_second: 33e9,
        f32_macs_per_second: 101e9,
        i16_macs_per_second: 165e9,
        i8_macs_per_second: 195e9,
        code_macs_per_second: 320e9,
    };

    /// The shape of TinyLlama 1.1B in Q4_0 with its head in Q6_K: 22 layers, 32 heads on 4 of keys and values.
    fn tiny_llama() -> ModelCost {
        let matrix = |tensor_type: TensorType, elements: u64, taken_by| MatrixCost {
            tensor_type,
            elements,
            size_bytes: tensor_type.size_bytes(elements).expect("whole blocks"),
            taken_by,
            row_elements: elements / 1000,
        };
        let layers = 22 * (2048 * (2048 + 256 + 256 + 2048) + 3 * 2048 * 5632);
        ModelCost {
            parameters: 1_100_048_384,
            matrices: vec![
                matrix(TensorType::Q4_0, layers, TakenBy::EveryToken),
                matrix(TensorType::Q6_K, 2048 * 32_000, TakenBy::WantedTokens),
            ],
            attention: vec![
                AttentionCost { kept_elements: 512, read_elements: 512, macs_a_key: 32 * 128, window: None };
                22
            ],
            state_elements: 0,
            widest_row: 5632,
        }
    }

    fn roofline(cost: &ModelCost) -> Roofline<'_> {
        Roofline { cost, machine: MACHINE, kv_element_bytes: 2.0, step_tokens_max: 512, reached: None }
    }

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 0.01, "{found} instead of {expected}");
    }

    #[test]
    fn decode_is_limited_by_the_bytes_of_a_token() {
        let cost = tiny_llama();
        let roofline = roofline(&cost);
        // 0.600 GB at 33 GB/s: 55 tokens/s.
        near(roofline.bytes_a_token(0), 0.600e9);
        let limit = roofline.decode(0, 1);
        assert_eq!(limit.bound, Bound::Memory);
        near(1.0 / limit.seconds, 55.0);
        // 22.5 KB of keys and values a position: 8192 of them are 185 MB.
        near(roofline.bytes_a_token(8191) - roofline.bytes_a_token(0), 8191.0 * 22_528.0);
        near(roofline.decode(8191, 1).seconds, (0.600e9 + 8192.0 * 22_528.0) / 33e9);
        // Many tokens are the sum of each.
        near(roofline.decode(100, 2).seconds, roofline.decode(100, 1).seconds + roofline.decode(101, 1).seconds);
    }

    #[test]
    fn prefill_is_limited_by_multiply_adds() {
        let cost = tiny_llama();
        let roofline = roofline(&cost);
        near(cost.layer_macs(), 0.969e9);
        // 0.969 G at 320 G/s, and 22 layers * 4096 * 256.5 positions at 165 G/s; one row of the head.
        let attention = 22.0 * 4096.0 * 256.5;
        let expected = 512.0 * (0.969e9 / 320e9 + attention / 165e9) + 65.5e6 / 320e9;
        let limit = roofline.prefill(1, 512);
        assert_eq!(limit.bound, Bound::Compute);
        near(limit.seconds, expected);
        near(roofline.macs_a_token(0), 0.969e9 + 65.5e6);
        // Two steps read the weights twice; a step of one token is as decoding.
        near(roofline.prefill(1, 1).seconds, roofline.decode(0, 1).seconds);
        assert_eq!(roofline.prefill(1, 0).seconds, 0.0);
    }

    #[test]
    fn streams_share_the_weights() {
        let cost = tiny_llama();
        let roofline = roofline(&cost);
        let one = roofline.streams(1, 125, 64);
        near(one.seconds, roofline.prefill(1, 125).seconds + roofline.decode(125, 63).seconds);
        let four = roofline.streams(4, 125, 64);
        // Four prompts cost four times as much; the tokens of the answers cost hardly more than one stream's.
        let prefill = roofline.prefill(4, 125).seconds;
        near(prefill, 4.0 * roofline.prefill(1, 125).seconds);
        assert!(four.seconds - prefill < 1.1 * roofline.decode(125, 63).seconds);
        assert_eq!(roofline.streams(64, 1, 64).bound, Bound::Compute);
    }

    #[test]
    fn what_is_beside_the_products_is_added() {
        let cost = tiny_llama();
        let products = ProductRates::new(vec![(TensorType::Q4_0, 160e9)]);
        let reached = Reached {
            products: &products,
            threads: 2,
            element_seconds: 1e-9,
            state_element_seconds: 0.0,
            step_seconds: 1e-3,
            overlap: 1.0,
        };
        let least = roofline(&cost);
        let real = Roofline { reached: Some(reached), ..least };
        // One row is computed by one thread; what is read and what is multiplied add up.
        let elements = 0.969e9 / 1000.0 * 1e-9;
        let multiplied = 0.969e9 / 160e9 + 65.5e6 / 320e9;
        near(real.decode(0, 1).seconds, 0.600e9 / 33e9 + multiplied + elements + 1e-3);
        // Many rows are shared by two; the type that was measured is half as fast as it could be.
        let longer = real.prefill(1, 512).seconds - least.prefill(1, 512).seconds;
        let read = cost.weight_bytes(512, 1) / 33e9 + 511.0 * 22_528.0 / 33e9;
        near(longer, 512.0 * (0.969e9 / 320e9 + elements / 2.0) + 1e-3 + read);
    }

    #[test]
    fn what_goes_on_at_once_takes_between_the_longer_one_and_the_sum() {
        for (one, other) in [(3.0, 4.0), (4.0, 3.0), (5.0, 5.0), (0.0, 2.0), (2.0, 0.0)] {
            assert_eq!(both(one, other, f64::INFINITY), f64::max(one, other));
            near(both(one, other, 1.0), one + other);
            let partly = both(one, other, 1.5);
            assert!((f64::max(one, other)..=one + other).contains(&partly), "{one} and {other}: {partly}");
        }
        near(both(3.0, 4.0, 2.0), 5.0);
        assert_eq!(both(0.0, 0.0, 1.5), 0.0);
    }

    #[test]
    fn wider_numbers_are_slower() {
        let rate = |tensor_type| MACHINE.macs_per_second(tensor_type);
        assert!(rate(TensorType::F32) < rate(TensorType::F16));
        assert!(rate(TensorType::F16) < rate(TensorType::Q8_0));
        assert!(rate(TensorType::Q8_0) < rate(TensorType::Q4_K));
        assert_eq!(rate(TensorType::IQ4_XS), rate(TensorType::Q8_0));
        let cost = tiny_llama();
        let wide = Roofline { kv_element_bytes: 4.0, ..roofline(&cost) };
        assert!(wide.prefill(1, 512).seconds > roofline(&cost).prefill(1, 512).seconds);
        assert!(wide.bytes_a_token(100) > roofline(&cost).bytes_a_token(100));
    }
}
