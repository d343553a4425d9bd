//! The architectures that can be run: one file and one line each.

mod afmoe;
mod apertus;
mod arcee;
mod arctic;
mod baichuan;
mod bailingmoe;
mod bert;
mod bitnet;
mod bloom;
mod chameleon;
mod chatglm;
mod cohere2moe;
mod command_r;
mod dbrx;
mod deci;
mod deepseek;
mod deepseek2;
mod deepseek32;
mod deepseek4;
mod diffusion;
mod dots1;
mod dots3note;
mod ernie4_5_moe;
mod exaone4;
mod exaone_moe;
mod falcon;
mod falcon_h1;
mod gemma;
mod gemma2;
mod gemma3;
mod gemma3n;
mod gemma4;
mod glm4;
mod glm4moe;
mod glm5_next;
mod gpt2;
mod gpt_oss;
mod gptneox;
mod granite;
mod granite_hybrid;
mod granite_swa;
mod grok;
mod grovemoe;
mod hrm_text;
mod hunyuan;
mod hy_v3;
mod hy_v4;
mod jais;
mod jamba;
mod jina_bert;
mod kimi_k3;
mod kimi_linear;
mod laguna;
mod lfm2;
mod llama;
mod llama4;
mod llama_encoders;
mod llama_likes;
mod maincoder;
mod mamba;
mod mellum;
mod mimo2;
mod minicpm;
mod minicpm3;
mod minimax_01;
mod minimax_m2;
mod minimax_m3;
mod mistral3;
mod modern_bert;
mod mpt;
mod muse_glimmer;
mod nanbeige;
mod nemotron;
mod nemotron_h;
mod olmo;
mod olmo2;
mod olmoe;
mod openelm;
mod orion;
mod phi2;
mod phi3;
mod phimoe;
mod picture_models;
mod plamo;
mod plamo2;
mod qwen;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen35;
mod qwen35moe;
mod qwen3moe;
mod qwen3next;
mod qwen4exp;
mod refact;
mod rwkv;
mod seed_oss;
mod smallthinker;
mod smollm3;
mod spark2_5;
mod speech_models;
mod stablelm;
mod starcoder2;
mod step35;
mod t5;
mod talkie;

use crate::ModelError;
use crate::spec::Architecture;

/// Every declared architecture.
pub const ALL: &[&Architecture] = &[
    &afmoe::AFMOE,
    &apertus::APERTUS,
    &arcee::ARCEE,
    &arctic::ARCTIC,
    &baichuan::BAICHUAN,
    &bailingmoe::BAILINGMOE,
    &bailingmoe::BAILINGMOE2,
    &bert::BERT,
    &bert::NOMIC_BERT,
    &bert::NOMIC_BERT_MOE,
    &jina_bert::JINA_BERT_V2,
    &jina_bert::JINA_BERT_V3,
    &bitnet::BITNET,
    &bloom::BLOOM,
    &chameleon::CHAMELEON,
    &chatglm::CHATGLM,
    &cohere2moe::COHERE2MOE,
    &command_r::COMMAND_R,
    &command_r::COHERE2,
    &dbrx::DBRX,
    &deci::DECI,
    &deepseek::DEEPSEEK,
    &deepseek::DEEPSEEK2_OCR,
    &deepseek2::DEEPSEEK2,
    &deepseek2::MISTRAL4,
    &deepseek32::DEEPSEEK32,
    &deepseek32::GLM_DSA,
    &deepseek4::DEEPSEEK4,
    &diffusion::DREAM,
    &diffusion::LLADA,
    &diffusion::LLADA_MOE,
    &diffusion::RND1,
    &dots1::DOTS1,
    &dots3note::DOTS3NOTE,
    &ernie4_5_moe::ERNIE4_5_MOE,
    &exaone4::EXAONE4,
    &exaone_moe::EXAONE_MOE,
    &falcon::FALCON,
    &falcon_h1::FALCON_H1,
    &gemma::GEMMA,
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &gemma3::GEMMA_EMBEDDING,
    &gemma3n::GEMMA3N,
    &gemma4::GEMMA4,
    &glm4::GLM4,
    &glm4moe::GLM4MOE,
    &glm5_next::GLM5_NEXT,
    &gpt2::GPT2,
    &gpt2::STARCODER,
    &gpt_oss::GPT_OSS,
    &gptneox::GPTNEOX,
    &granite::GRANITE,
    &granite::GRANITEMOE,
    &granite::GRANITE_SWITCH,
    &granite_hybrid::GRANITE_HYBRID,
    &granite_swa::GRANITE_SWA,
    &grok::GROK,
    &grovemoe::GROVEMOE,
    &hunyuan::HUNYUAN_DENSE,
    &hunyuan::HUNYUAN_VL,
    &hunyuan::HUNYUAN_MOE,
    &hy_v3::HY_V3,
    &hy_v4::HY_V4,
    &jais::JAIS,
    &jamba::JAMBA,
    &hrm_text::HRM_TEXT,
    &kimi_linear::KIMI_LINEAR,
    &kimi_k3::KIMI_K3,
    &kimi_linear::BAILINGMOE3,
    &laguna::LAGUNA,
    &lfm2::LFM2,
    &lfm2::LFM2MOE,
    &llama::LLAMA,
    &llama4::LLAMA4,
    &llama_encoders::EUROBERT,
    &llama_encoders::NEO_BERT,
    &llama_encoders::LLAMA_EMBED,
    &llama_likes::INTERNLM2,
    &llama_likes::ERNIE4_5,
    &llama_likes::EXAONE,
    &qwen2::PANGU_EMBEDDED,
    &openelm::OPENELM,
    &llama_likes::XVERSE,
    &llama_likes::QWEN2VL,
    &llama_likes::QWEN3VL,
    &llama_likes::QWEN3VLMOE,
    &maincoder::MAINCODER,
    &mamba::MAMBA,
    &mamba::MAMBA2,
    &mellum::MELLUM,
    &mellum::MAPLE,
    &mimo2::MIMO2,
    &minicpm::MINICPM,
    &minicpm3::MINICPM3,
    &minicpm3::PLM,
    &minimax_01::MINIMAX_01,
    &minimax_m2::MINIMAX_M2,
    &minimax_m3::MINIMAX_M3,
    &mistral3::MISTRAL3,
    &modern_bert::MODERN_BERT,
    &mpt::MPT,
    &muse_glimmer::MUSE_GLIMMER,
    &nanbeige::NANBEIGE,
    &nemotron::NEMOTRON,
    &nemotron::JAIS2,
    &nemotron_h::NEMOTRON_H,
    &nemotron_h::NEMOTRON_H_MOE,
    &olmo::OLMO,
    &olmo2::OLMO2,
    &olmoe::OLMOE,
    &orion::ORION,
    &phi2::PHI2,
    &phi3::PHI3,
    &phimoe::PHIMOE,
    &picture_models::COGVLM,
    &picture_models::PADDLEOCR,
    &plamo::PLAMO,
    &plamo::PLAMO3,
    &plamo2::PLAMO2,
    &qwen::QWEN,
    &qwen2::QWEN2,
    &qwen2moe::QWEN2MOE,
    &qwen3::QWEN3,
    &qwen35::QWEN35,
    &qwen35moe::QWEN35MOE,
    &qwen3moe::QWEN3MOE,
    &qwen3next::QWEN3NEXT,
    &qwen4exp::QWEN4EXP,
    &refact::REFACT,
    &rwkv::RWKV6,
    &rwkv::RWKV7,
    &rwkv::ARWKV7,
    &seed_oss::SEED_OSS,
    &smallthinker::SMALLTHINKER,
    &smollm3::SMOLLM3,
    &spark2_5::SPARK2_5,
    &speech_models::QWEN3TTS,
    &speech_models::POCKETTTS,
    &stablelm::STABLELM,
    &starcoder2::STARCODER2,
    &starcoder2::CODESHELL,
    &step35::STEP35,
    &t5::T5,
    &t5::T5ENCODER,
    &talkie::TALKIE,
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
        check("llamma", Some("llama"));
        check("wavelet", None);
        check("", None);
        check(&"x".repeat(1 << 20), None);
    }
}
