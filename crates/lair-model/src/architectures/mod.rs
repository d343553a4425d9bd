//! The architectures that can be run: one file and one line each.

mod arcee;
mod bert;
mod bloom;
mod command_r;
mod dots1;
mod ernie4_5_moe;
mod exaone4;
mod falcon_h1;
mod gemma;
mod gemma2;
mod gemma3;
mod glm4;
mod glm4moe;
mod gpt2;
mod gpt_oss;
mod gptneox;
mod granite;
mod granite_hybrid;
mod hunyuan;
mod jamba;
mod lfm2;
mod llama;
mod llama_encoders;
mod llama_likes;
mod mamba;
mod minimax_01;
mod minimax_m2;
mod mistral3;
mod modern_bert;
mod nemotron;
mod nemotron_h;
mod olmo2;
mod olmoe;
mod orion;
mod phi2;
mod phi3;
mod plamo2;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen35;
mod qwen35moe;
mod qwen3moe;
mod qwen3next;
mod rwkv;
mod seed_oss;
mod smollm3;
mod starcoder2;

use crate::ModelError;
use crate::spec::Architecture;

/// Every declared architecture.
pub const ALL: &[&Architecture] = &[
    &arcee::ARCEE,
    &bert::BERT,
    &bert::NOMIC_BERT,
    &bert::NOMIC_BERT_MOE,
    &bert::JINA_BERT_V2,
    &bert::JINA_BERT_V3,
    &bloom::BLOOM,
    &command_r::COMMAND_R,
    &command_r::COHERE2,
    &dots1::DOTS1,
    &ernie4_5_moe::ERNIE4_5_MOE,
    &exaone4::EXAONE4,
    &falcon_h1::FALCON_H1,
    &gemma::GEMMA,
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &gemma3::GEMMA_EMBEDDING,
    &glm4::GLM4,
    &glm4moe::GLM4MOE,
    &gpt2::GPT2,
    &gpt2::STARCODER,
    &gpt_oss::GPT_OSS,
    &gptneox::GPTNEOX,
    &granite::GRANITE,
    &granite::GRANITEMOE,
    &granite_hybrid::GRANITE_HYBRID,
    &hunyuan::HUNYUAN_DENSE,
    &hunyuan::HUNYUAN_VL,
    &hunyuan::HUNYUAN_MOE,
    &jamba::JAMBA,
    &lfm2::LFM2,
    &lfm2::LFM2MOE,
    &llama::LLAMA,
    &llama_encoders::EUROBERT,
    &llama_encoders::NEO_BERT,
    &llama_encoders::LLAMA_EMBED,
    &llama_likes::INTERNLM2,
    &llama_likes::ERNIE4_5,
    &llama_likes::EXAONE,
    &llama_likes::PANGU_EMBEDDED,
    &llama_likes::OPENELM,
    &llama_likes::XVERSE,
    &llama_likes::QWEN2VL,
    &llama_likes::QWEN3VL,
    &llama_likes::QWEN3VLMOE,
    &mamba::MAMBA,
    &mamba::MAMBA2,
    &minimax_01::MINIMAX_01,
    &minimax_m2::MINIMAX_M2,
    &mistral3::MISTRAL3,
    &modern_bert::MODERN_BERT,
    &nemotron::NEMOTRON,
    &nemotron::JAIS2,
    &nemotron_h::NEMOTRON_H,
    &nemotron_h::NEMOTRON_H_MOE,
    &olmo2::OLMO2,
    &olmoe::OLMOE,
    &orion::ORION,
    &phi2::PHI2,
    &phi3::PHI3,
    &plamo2::PLAMO2,
    &qwen2::QWEN2,
    &qwen2moe::QWEN2MOE,
    &qwen3::QWEN3,
    &qwen35::QWEN35,
    &qwen35moe::QWEN35MOE,
    &qwen3moe::QWEN3MOE,
    &qwen3next::QWEN3NEXT,
    &rwkv::RWKV6,
    &rwkv::RWKV7,
    &rwkv::ARWKV7,
    &seed_oss::SEED_OSS,
    &smollm3::SMOLLM3,
    &starcoder2::STARCODER2,
    &starcoder2::CODESHELL,
];

/// The declaration of this `general.architecture`.
///
/// # Errors
/// [`ModelError::UnknownArchitecture`] with all known names and the nearest one.
pub fn find(gguf_name: &str) -> Result<&'static Architecture, ModelError> {
    if let Some(architecture) = ALL.iter().find(|architecture| architecture.gguf_name == gguf_name) {
        return Ok(architecture);
    }
    let supported: Vec<&str> = ALL.iter().map(|architecture| architecture.gguf_name).collect();
    // A file can hold a name of any length; beyond this none is near.
    let name: String = gguf_name.chars().take(64).collect();
    let near = supported
        .iter()
        .map(|known| (edit_distance(&name, known), *known))
        .filter(|(distance, known)| *distance <= known.len() / 2)
        // Of two that are equally near the longer one has more in common.
        .min_by_key(|(distance, known)| (*distance, std::cmp::Reverse(known.len())))
        .map(|(_, known)| known);
    Err(ModelError::UnknownArchitecture { name, near, supported })
}

/// Insertions, deletions and replacements between two names (Levenshtein).
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_declared_architecture_by_its_name() {
        for architecture in ALL {
            let found = find(architecture.gguf_name).expect("declared");
            assert_eq!(found.gguf_name, architecture.gguf_name);
        }
        let names: std::collections::HashSet<&str> = ALL.iter().map(|architecture| architecture.gguf_name).collect();
        assert_eq!(names.len(), ALL.len(), "two declarations have the same name");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_known_one() {
        let check = |name: &str, expected: Option<&str>| match find(name) {
            Err(ModelError::UnknownArchitecture { near, supported, .. }) => {
                assert_eq!(near, expected, "{name}");
                assert_eq!(supported.len(), ALL.len());
            }
            _ => panic!("`{name}` is known"),
        };
        check("qwen36", Some("qwen35"));
        check("llama9", Some("llama"));
        check("ssm", None);
        check("", None);
        check(&"x".repeat(1 << 20), None);
    }
}
