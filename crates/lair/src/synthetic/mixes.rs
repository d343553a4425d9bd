//! Which type each tensor of a quantized model gets, by the name of the mix: `Q4_K_M` and the others.
//!
//! The rules are those of llama.cpp's `llama-quantize` (commit 0c1e570, `src/llama-quant.cpp`) for dense models and
//! models of many experts, without an importance matrix, so that a synthetic file has the bytes of a real one. Not taken
//! over: what it does for single architectures, for 70B models and for models of exactly eight experts.

use lair_gguf::TensorType;
use lair_gguf::TensorType::*;

/// A mix: its name, its ordinary type, and its number in `general.file_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// What users call it.
    pub name: &'static str,
    /// The type of all tensors for which there is no other rule.
    pub base: TensorType,
    /// `general.file_type`.
    pub file_type: u32,
}

/// Every mix, by its name.
pub const MIXES: &[Mix] = &[
    mix("F32", F32, 0),
    mix("F16", F16, 1),
    mix("BF16", BF16, 32),
    mix("Q4_0", Q4_0, 2),
    mix("Q4_1", Q4_1, 3),
    mix("Q5_0", Q5_0, 8),
    mix("Q5_1", Q5_1, 9),
    mix("Q8_0", Q8_0, 7),
    mix("Q2_K", Q2_K, 10),
    mix("Q2_K_S", Q2_K, 21),
    mix("Q3_K_S", Q3_K, 11),
    mix("Q3_K_M", Q3_K, 12),
    mix("Q3_K_L", Q3_K, 13),
    mix("Q4_K_S", Q4_K, 14),
    mix("Q4_K_M", Q4_K, 15),
    mix("Q5_K_S", Q5_K, 16),
    mix("Q5_K_M", Q5_K, 17),
    mix("Q6_K", Q6_K, 18),
    mix("IQ1_S", IQ1_S, 24),
    mix("IQ1_M", IQ1_M, 31),
    mix("IQ2_XXS", IQ2_XXS, 19),
    mix("IQ2_XS", IQ2_XS, 20),
    // No slip: its ordinary tensors are of the smaller type.
    mix("IQ2_S", IQ2_XS, 28),
    mix("IQ2_M", IQ2_S, 29),
    mix("IQ3_XXS", IQ3_XXS, 23),
    mix("IQ3_XS", IQ3_S, 22),
    mix("IQ3_S", IQ3_S, 26),
    mix("IQ3_M", IQ3_S, 27),
    mix("IQ4_NL", IQ4_NL, 25),
    mix("IQ4_XS", IQ4_XS, 30),
    mix("TQ1_0", TQ1_0, 36),
    mix("TQ2_0", TQ2_0, 37),
    mix("MXFP4", MXFP4, 38),
    mix("NVFP4", NVFP4, 39),
    mix("Q1_0", Q1_0, 40),
    mix("Q2_0", Q2_0, 41),
];

const fn mix(name: &'static str, base: TensorType, file_type: u32) -> Mix {
    Mix { name, base, file_type }
}

/// What the rules look at besides a tensor's name.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Layers of the model.
    pub layer_count: usize,
    /// Query heads that share a head of keys and values.
    pub heads_a_kv_head: usize,
    /// Experts of a layer; 0 without.
    pub expert_count: usize,
    /// Whether the embedding's table is the head too.
    pub is_tied: bool,
}

impl Mix {
    /// The mix of this name, in any case. Names of the K types alone mean their middle mix, as they do in
    /// `llama-quantize`.
    pub fn find(name: &str) -> Option<&'static Mix> {
        let name = name.to_ascii_uppercase();
        let meant = match name.as_str() {
            "Q3_K" | "Q4_K" | "Q5_K" => format!("{name}_M"),
            _ => name,
        };
        MIXES.iter().find(|mix| mix.name == meant)
    }

    /// The type of a tensor of this name, whose rows have `columns` elements and which has `dimensions` of more than one
    /// element.
    pub fn type_of(&self, name: &str, columns: usize, dimensions: usize, facts: &Facts) -> TensorType {
        // Norms, biases, the router, short convolutions and what else is no product's matrix keep their numbers.
        let is_matrix = dimensions >= 2 && name.ends_with(".weight");
        if !is_matrix || ["norm", "ffn_gate_inp", "ssm_conv1d"].iter().any(|part| name.contains(part)) {
            return F32;
        }
        if matches!(self.base, F32 | F16 | BF16) {
            return self.base;
        }
        let layer_index = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok()).unwrap_or(0);
        let stem = name.trim_end_matches(".weight").rsplit('.').next().unwrap_or(name);
        let wanted = match stem {
            "output" => self.of_head(columns),
            "token_embd" if facts.is_tied => self.of_head(columns),
            "token_embd" => self.of_table(),
            "attn_v" => self.of_values(layer_index, facts),
            "attn_q" | "attn_k" => self.of_queries_and_keys(),
            "attn_output" => self.of_attention_output(),
            "ffn_down" | "ffn_down_exps" => self.of_down(layer_index, facts.layer_count),
            "ffn_gate" | "ffn_up" | "ffn_gate_exps" | "ffn_up_exps" => self.of_up(layer_index, facts.layer_count),
            _ => self.base,
        };
        fitting(wanted, columns)
    }

    fn is_any(&self, names: &[&str]) -> bool {
        names.contains(&self.name)
    }

    /// The mixes of about two bits, which share their rules.
    fn is_two_bit(&self) -> bool {
        self.is_any(&["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"])
    }

    fn of_head(&self, columns: usize) -> TensorType {
        match self {
            _ if self.base == MXFP4 || !columns.is_multiple_of(self.base.block_length()) => Q8_0,
            _ if self.is_two_bit() || self.name == "IQ3_XXS" => Q5_K,
            _ if self.base == Q8_0 => Q8_0,
            _ => Q6_K,
        }
    }

    fn of_table(&self) -> TensorType {
        match self.name {
            "IQ1_S" | "IQ1_M" | "IQ2_XXS" | "IQ2_XS" => Q2_K,
            "IQ2_S" | "IQ2_M" | "IQ3_XXS" => IQ3_S,
            "TQ1_0" | "TQ2_0" | "Q2_0" => Q4_K,
            _ => self.base,
        }
    }

    fn of_values(&self, layer_index: usize, facts: &Facts) -> TensorType {
        let is_shared = facts.heads_a_kv_head >= 4;
        match self.name {
            _ if self.is_two_bit() && (is_shared || facts.expert_count >= 4) => Q4_K,
            "IQ2_S" | "IQ2_M" => IQ3_S,
            _ if self.is_two_bit() => Q2_K,
            "Q2_K" if is_shared => Q4_K,
            "Q2_K" => Q3_K,
            "Q2_K_S" | "IQ3_XS" | "IQ3_S" | "IQ3_XXS" if is_shared => Q4_K,
            "IQ3_XXS" => IQ3_S,
            "IQ3_M" => Q4_K,
            "Q3_K_M" if layer_index < 2 => Q5_K,
            "Q3_K_M" => Q4_K,
            "Q3_K_L" => Q5_K,
            "IQ4_NL" | "IQ4_XS" if is_shared => Q5_K,
            "Q4_K_M" | "Q5_K_M" if has_more_bits(layer_index, facts.layer_count) => Q6_K,
            "Q4_K_S" if layer_index < 4 => Q5_K,
            _ => self.base,
        }
    }

    fn of_queries_and_keys(&self) -> TensorType {
        match self.name {
            "IQ3_XS" => IQ3_XXS,
            "IQ3_XXS" => IQ2_S,
            _ => self.base,
        }
    }

    fn of_attention_output(&self) -> TensorType {
        match self.name {
            "IQ1_S" | "IQ1_M" => IQ2_XXS,
            "IQ2_S" | "IQ2_M" | "IQ3_XXS" => IQ3_S,
            "Q2_K" => Q3_K,
            "Q3_K_M" | "IQ3_M" => Q4_K,
            "Q3_K_L" => Q5_K,
            _ => self.base,
        }
    }

    fn of_down(&self, layer_index: usize, layer_count: usize) -> TensorType {
        let is_early = layer_index < layer_count / 8;
        match self.name {
            "IQ2_S" | "IQ2_M" if is_early => IQ3_S,
            _ if self.is_two_bit() && is_early => Q2_K,
            "Q2_K" => Q3_K,
            "Q2_K_S" | "IQ3_XXS" | "IQ3_M" if is_early => Q4_K,
            "IQ3_XXS" => Q3_K,
            "Q3_K_M" if layer_index < layer_count / 16 => Q5_K,
            "Q3_K_M" => Q4_K,
            "Q3_K_L" => Q5_K,
            "Q4_K_M" | "Q5_K_M" if has_more_bits(layer_index, layer_count) => Q6_K,
            "Q4_K_S" | "IQ4_NL" | "IQ4_XS" if is_early => Q5_K,
            _ => self.base,
        }
    }

    fn of_up(&self, layer_index: usize, layer_count: usize) -> TensorType {
        let is_middle = layer_index >= layer_count / 8 && layer_index < 7 * layer_count / 8;
        if self.name == "IQ3_XS" && is_middle { IQ3_XXS } else { self.base }
    }
}

/// The first eighth of the layers, the last eighth, and every third between.
fn has_more_bits(layer_index: usize, layer_count: usize) -> bool {
    let eighth = layer_count / 8;
    layer_index < eighth || layer_index >= 7 * layer_count / 8 || (layer_index - eighth) % 3 == 2
}

/// The type itself, or one of shorter blocks where a row is no whole number of its blocks.
fn fitting(wanted: TensorType, columns: usize) -> TensorType {
    let fits = |tensor_type: TensorType| columns.is_multiple_of(tensor_type.block_length());
    let smaller = match wanted {
        _ if fits(wanted) => wanted,
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
        Q2_K | Q3_K | TQ1_0 | TQ2_0 | Q2_0 => Q4_0,
        Q4_K => Q5_0,
        Q5_K => Q5_1,
        Q6_K => Q8_0,
        other => other,
    };
    if fits(smaller) { smaller } else { F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_give_the_layers_their_well_known_types() {
        let facts = Facts { layer_count: 32, heads_a_kv_head: 4, expert_count: 0, is_tied: false };
        let layers = |mix: &str, stem: &str, tensor_type: TensorType| -> Vec<usize> {
            let mix = Mix::find(mix).expect("a mix");
            let of_layer = |layer: &usize| mix.type_of(&format!("blk.{layer}.{stem}.weight"), 4096, 2, &facts);
            (0..32).filter(|layer| of_layer(layer) == tensor_type).collect()
        };
        // Llama 3.1 8B Q4_K_M as it is published.
        let more_bits = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31];
        assert_eq!(layers("Q4_K_M", "attn_v", Q6_K), more_bits);
        assert_eq!(layers("Q4_K_M", "ffn_down", Q6_K), more_bits);
        assert_eq!(layers("Q4_K_M", "ffn_up", Q4_K).len(), 32);
        assert_eq!(layers("Q4_K_S", "attn_v", Q5_K), [0, 1, 2, 3]);
        assert_eq!(layers("Q3_K_M", "ffn_down", Q5_K), [0, 1]);
        assert_eq!(layers("Q2_K", "attn_output", Q3_K).len(), 32);
        assert_eq!(layers("Q8_0", "attn_v", Q8_0).len(), 32);
        let of = |mix: &str, name: &str| Mix::find(mix).expect("a mix").type_of(name, 4096, 2, &facts);
        assert_eq!([of("Q4_0", "output.weight"), of("Q4_0", "token_embd.weight")], [Q6_K, Q4_0]);
        assert_eq!([of("Q8_0", "output.weight"), of("F16", "output.weight")], [Q8_0, F16]);
        assert_eq!([of("q4_k", "blk.0.attn_norm.weight"), of("Q4_K_M", "blk.0.ffn_gate_inp.weight")], [F32, F32]);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_get_shorter_blocks() {
        let facts = Facts { layer_count: 24, heads_a_kv_head: 7, expert_count: 0, is_tied: true };
        let of = |mix: &str, name: &str, columns| Mix::find(mix).expect("a mix").type_of(name, columns, 2, &facts);
        assert_eq!(of("Q4_K_M", "blk.5.attn_q.weight", 896), Q5_0);
        assert_eq!(of("Q4_K_M", "blk.0.attn_v.weight", 896), Q8_0);
        assert_eq!(of("Q4_K_M", "token_embd.weight", 896), Q8_0);
        assert_eq!(of("IQ4_XS", "blk.5.attn_q.weight", 896), IQ4_NL);
        assert_eq!(of("Q4_0", "blk.5.attn_q.weight", 40), F16);
    }

    #[test]
    fn every_mix_has_its_own_name_and_number() {
        for (index, mix) in MIXES.iter().enumerate() {
            assert_eq!(Mix::find(&mix.name.to_lowercase()), Some(mix));
            assert!(MIXES[..index].iter().all(|other| other.file_type != mix.file_type));
        }
        assert_eq!(Mix::find("Q9_Z"), None);
    }
}
