//! What a tensor is for, as far as it decides on its type; read off its name.
//!
//! Source: the categories and the list of exceptions of llama.cpp's quantizer (`llama-quant.cpp`).

/// The part that a tensor plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The embedding of the tokens, or that of each layer.
    Embedding,
    /// The head.
    Output,
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values, alone or together with others: what suffers most from few bits.
    Value,
    /// The output of attention.
    AttentionOutput,
    /// The first matrix of the feed-forward part.
    Up,
    /// Its gate.
    Gate,
    /// Its last matrix.
    Down,
    /// Any other.
    Other,
}

/// Names, or parts of names, in the order in which they are looked for.
const ROLES: &[(Match, Role)] = &[
    (Match::Whole("output.weight"), Role::Output),
    (Match::Whole("token_embd.weight"), Role::Embedding),
    (Match::Whole("per_layer_token_embd.weight"), Role::Embedding),
    (Match::Part("attn_qkv.weight"), Role::Value),
    (Match::Part("attn_kv_b.weight"), Role::Value),
    (Match::Part("attn_v.weight"), Role::Value),
    (Match::Part("attn_k.weight"), Role::Key),
    (Match::Part("attn_q.weight"), Role::Query),
    (Match::Part("attn_output.weight"), Role::AttentionOutput),
    (Match::Part("ffn_up"), Role::Up),
    (Match::Part("ffn_gate"), Role::Gate),
    (Match::Part("ffn_down"), Role::Down),
];

#[derive(Clone, Copy)]
enum Match {
    Whole(&'static str),
    Part(&'static str),
}

impl Role {
    /// The role of the tensor of this name.
    pub fn of(name: &str) -> Role {
        let matches = |pattern: &Match| match pattern {
            Match::Whole(whole) => name == *whole,
            Match::Part(part) => name.contains(part),
        };
        ROLES.iter().find(|(pattern, _)| matches(pattern)).map_or(Role::Other, |(_, role)| *role)
    }
}

/// Parts of the names of tensors that are kept as they are: small ones, or such that lose much.
const KEPT: &[&str] = &[
    "_norm.weight",
    // Which experts a token goes to.
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    // Small convolutions.
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    // Small matrices of RWKV.
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    // Relative positions, pictures and sound.
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// The same in the files of one architecture.
const KEPT_OF: &[(&str, &[&str])] = &[(
    "glm5-next",
    &[
        "hc_",
        "indexer.attn_q_b",
        "indexer.attn_k",
        "indexer.proj",
        "indexer_compressor_gate",
        "indexer_compressor_ape",
        "ssm_f_a.weight",
        "ssm_f_b.weight",
        "ssm_g_a.weight",
        "ssm_g_b.weight",
        "ssm_beta.weight",
        "attn_kv_a_mqa.weight",
        "attn_k_b.weight",
        "attn_v_b.weight",
    ],
)];

/// Parts of the names of tensors that get eight bits in every file of blocks, by the architecture.
const EIGHT_BITS_OF: &[(&str, &[&str])] = &[("glm5-next", &["attn_q_a", "attn_q_b", "nextn.eh_proj"])];

/// Whether a tensor gets eight bits wherever it is quantized.
pub fn takes_eight_bits(architecture: &str, name: &str) -> bool {
    let of_architecture = EIGHT_BITS_OF.iter().filter(|(known, _)| *known == architecture);
    of_architecture.flat_map(|(_, parts)| *parts).any(|part| name.contains(part))
}

/// Embeddings of positions and kinds of tokens, kept by their whole names.
const KEPT_WHOLE: &[&str] = &["position_embd.weight", "token_types.weight"];

/// Whether a tensor of this name and shape may be quantized at all in files of an architecture.
pub fn is_quantizable(architecture: &str, name: &str, shape: &[u64]) -> bool {
    let of_architecture = KEPT_OF.iter().filter(|(known, _)| *known == architecture).flat_map(|(_, parts)| *parts);
    // Dimensions of one at the end do not count.
    let dimensions = shape.iter().rposition(|length| *length != 1).map_or(1, |last| last + 1);
    dimensions >= 2
        && name.ends_with("weight")
        && !KEPT_WHOLE.contains(&name)
        && !KEPT.iter().chain(of_architecture).any(|part| name.contains(part))
}

/// The index of the layer in a name like `blk.3.attn_q.weight`.
pub fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_off_names() {
        for (name, role) in [
            ("output.weight", Role::Output),
            ("blk.0.attn_output.weight", Role::AttentionOutput),
            ("blk.11.attn_v.weight", Role::Value),
            ("blk.1.attn_v.bias", Role::Other),
            ("blk.1.ffn_down_exps.weight", Role::Down),
            ("blk.1.ffn_gate_shexp.weight", Role::Gate),
            ("blk.1.attn_q_a.weight", Role::Other),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
        assert_eq!(layer_of("blk.12.attn_q.weight"), Some(12));
        assert_eq!(layer_of("output.weight"), None);
    }

    #[test]
    fn vectors_norms_and_routers_are_kept() {
        let is_quantizable = |name, shape: &[u64]| is_quantizable("llama", name, shape);
        assert!(is_quantizable("blk.0.attn_q.weight", &[64, 64]));
        assert!(!is_quantizable("blk.0.attn_norm.weight", &[64, 64]));
        assert!(!is_quantizable("blk.0.ffn_gate_inp.weight", &[64, 8]));
        assert!(!is_quantizable("blk.0.attn_q.bias", &[64, 64]));
        assert!(!is_quantizable("blk.0.attn_q.weight", &[64, 1, 1]));
        assert!(is_quantizable("blk.0.ffn_down_exps.weight", &[64, 1, 4]));
    }
}
