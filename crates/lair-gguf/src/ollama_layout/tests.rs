//! Headers as Ollama writes them, and what they are read as.

use super::*;
use crate::{StringArray, TensorType};

fn tensor(name: &str, shape: &[u64]) -> TensorInfo {
    TensorInfo {
        name: name.to_string(),
        shape: shape.to_vec(),
        tensor_type: TensorType::F32,
        offset: 0,
        size_bytes: 0,
        shard: 0,
    }
}

fn file(architecture: &str, keys: &[(&str, Value)], tensors: &[(&str, &[u64])]) -> (Metadata, Vec<TensorInfo>) {
    let mut metadata = Metadata::default();
    metadata.set(ARCHITECTURE, architecture);
    for (key, value) in keys {
        metadata.set(key, value.clone());
    }
    (metadata, tensors.iter().map(|(name, shape)| tensor(name, shape)).collect())
}

fn translated(architecture: &str, keys: &[(&str, Value)], tensors: &[(&str, &[u64])]) -> (Metadata, Vec<String>) {
    let (mut metadata, mut tensors) = file(architecture, keys, tensors);
    translate(&mut metadata, &mut tensors);
    (metadata, tensors.into_iter().map(|info| info.name).collect())
}

#[test]
fn gpt_oss_gets_its_name_its_keys_and_its_tensors() {
    let (metadata, names) = translated(
        "gptoss",
        &[("gptoss.block_count", 24u32.into()), ("tokenizer.ggml.model", "gpt2".into())],
        &[
            ("blk.0.attn_out.weight", &[4, 4]),
            ("blk.0.attn_out.bias", &[4]),
            ("blk.0.attn_sinks", &[4]),
            ("blk.0.ffn_norm.weight", &[4]),
            ("blk.0.ffn_gate_exps.weight", &[4, 32, 2]),
            ("blk.0.attn_output_scale.weight", &[1]),
        ],
    );
    assert_eq!(metadata.get(ARCHITECTURE).and_then(Value::as_str), Some("gpt-oss"));
    assert_eq!(metadata.get("gpt-oss.block_count"), Some(&Value::U32(24)));
    assert_eq!(metadata.get("gpt-oss.expert_feed_forward_length"), Some(&Value::U32(32)));
    assert!(!metadata.contains("gptoss.block_count"));
    let expected = [
        "blk.0.attn_output.weight",
        "blk.0.attn_output.bias",
        "blk.0.attn_sinks.weight",
        "blk.0.post_attention_norm.weight",
        "blk.0.ffn_gate_exps.weight",
        "blk.0.attn_output_scale.weight",
    ];
    assert_eq!(names, expected);
}

#[test]
fn gemma_3_gets_what_was_left_out_and_loses_its_tower() {
    let tokens: StringArray = ["a", "b", "<image_soft_token>"].into_iter().collect();
    let (metadata, names) = translated(
        "gemma3",
        &[
            ("gemma3.context_length", 131_072u32.into()),
            ("gemma3.rope.global.freq_base", 500_000.0f32.into()),
            ("tokenizer.ggml.tokens", tokens.into()),
            ("tokenizer.ggml.scores", vec![0.0f32, 1.0, 2.0].into()),
            ("tokenizer.ggml.token_type", vec![1i32, 1, 3].into()),
        ],
        &[("token_embd.weight", &[8, 2]), ("v.blk.0.attn_q.weight", &[2, 2]), ("mm.input_projection.weight", &[2, 2])],
    );
    assert_eq!(names, ["token_embd.weight"]);
    assert_eq!(metadata.get("gemma3.rope.freq_base"), Some(&Value::F32(500_000.0)));
    assert_eq!(metadata.get("gemma3.rope.freq_base_swa"), Some(&Value::F32(10_000.0)));
    assert_eq!(metadata.get("gemma3.attention.layer_norm_rms_epsilon"), Some(&Value::F32(1e-6)));
    assert_eq!(metadata.get("gemma3.rope.scaling.factor"), Some(&Value::F32(8.0)));
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
        assert_eq!(metadata.get(key).and_then(Value::as_array).map(Array::len), Some(2), "{key}");
    }
}

#[test]
fn other_families_change_in_few_places() {
    let sections = || vec![16i32, 24, 24].into();
    let (metadata, names) = translated(
        "qwen25vl",
        &[("qwen25vl.rope.mrope_section", sections()), ("qwen25vl.block_count", 2u32.into())],
        &[("blk.0.attn_q.weight", &[2, 2]), ("v.patch_embd.weight", &[2])],
    );
    assert_eq!(metadata.get(ARCHITECTURE).and_then(Value::as_str), Some("qwen2vl"));
    assert_eq!(metadata.get("qwen2vl.rope.dimension_sections"), Some(&vec![16i32, 24, 24, 0].into()));
    assert_eq!(names, ["blk.0.attn_q.weight"]);

    let (metadata, names) = translated(
        "qwen35",
        &[
            ("qwen35.image_token_id", 1u32.into()),
            ("qwen35.attention.head_count_kv", vec![0u32, 0, 0, 4].into()),
            ("qwen35.rope.dimension_sections", sections()),
        ],
        &[("blk.0.ssm_dt", &[2]), ("mtp.fc.weight", &[2]), ("blk.0.ssm_dt_proj.weight", &[2])],
    );
    assert_eq!(metadata.get("qwen35.attention.head_count_kv"), Some(&Value::U32(4)));
    assert_eq!(metadata.get("qwen35.rope.dimension_sections"), Some(&vec![16i32, 24, 24, 0].into()));
    assert_eq!(names, ["blk.0.ssm_dt.bias", "blk.0.ssm_dt_proj.weight"]);

    let (metadata, _) = translated("olmo3", &[("olmo3.block_count", 2u32.into())], &[]);
    assert_eq!(metadata.get("olmo2.block_count"), Some(&Value::U32(2)));

    let (metadata, names) = translated(
        "lfm2",
        &[("lfm2.feed_forward_length", 12_288u32.into())],
        &[("output_norm.weight", &[2]), ("blk.0.ffn_gate.weight", &[2048, 8192])],
    );
    assert_eq!(metadata.get("lfm2.feed_forward_length"), Some(&Value::U32(8192)));
    assert_eq!(names[0], "token_embd_norm.weight");
}

#[test]
fn files_of_others_stay_as_they_are() {
    let epsilon = ("gemma3.attention.layer_norm_rms_epsilon", Value::F32(1e-6));
    for (architecture, keys, tensors) in [
        ("llama", vec![], vec!["blk.0.attn_out.weight", "v.x"]),
        ("gemma3", vec![epsilon], vec!["token_embd.weight"]),
        ("qwen35", vec![], vec!["blk.0.ssm_dt.bias"]),
        ("lfm2", vec![], vec!["token_embd_norm.weight"]),
        ("gpt-oss", vec![], vec!["blk.0.post_attention_norm.weight"]),
        ("mistral3", vec![], vec!["blk.0.attn_q.weight"]),
    ] {
        let shape: &[u64] = &[2];
        let rows: Vec<(&str, &[u64])> = tensors.iter().map(|name| (*name, shape)).collect();
        let (metadata, tensors) = file(architecture, &keys, &rows);
        let (mut edited, mut edited_tensors) = (metadata.clone(), tensors.clone());
        translate(&mut edited, &mut edited_tensors);
        assert_eq!((edited, edited_tensors), (metadata, tensors), "{architecture}");
    }
    let mut nothing = (Metadata::default(), Vec::new());
    translate(&mut nothing.0, &mut nothing.1);
    assert!(nothing.0.is_empty());
}

#[test]
fn strange_files_are_no_danger() {
    let text = || Value::from("x");
    let (metadata, names) = translated(
        "gemma3",
        &[
            ("tokenizer.ggml.tokens", text()),
            ("gemma3.context_length", text()),
            ("gemma3.rope.global.freq_base", text()),
        ],
        &[("token_embd.weight", &[8])],
    );
    assert_eq!((names.len(), metadata.get("tokenizer.ggml.tokens")), (1, Some(&text())));
    let (metadata, _) = translated("qwen25vl", &[("qwen25vl.rope.mrope_section", vec![0.5f32].into())], &[]);
    assert!(!metadata.contains("qwen2vl.rope.dimension_sections"));
    let taken: &[(&str, &[u64])] = &[("blk.0.ffn_norm.weight", &[1]), ("blk.0.post_attention_norm.weight", &[1])];
    let (_, names) = translated("gptoss", &[], taken);
    assert_eq!(names, ["blk.0.ffn_norm.weight", "blk.0.post_attention_norm.weight"]);
}

#[test]
fn embedding_gemma_is_told_from_the_chat_model() {
    let (metadata, names) = translated(
        "gemma3",
        &[("gemma3.embedding_length", 768u32.into()), ("gemma3.attention.causal", false.into())],
        &[
            ("dense.0.weight", &[768, 3072]),
            ("dense.1.weight", &[3072, 768]),
            ("norm.weight", &[768]),
            ("blk.0.attn_norm.weight", &[768]),
        ],
    );
    assert_eq!(metadata.get(ARCHITECTURE).and_then(Value::as_str), Some("gemma-embedding"));
    assert_eq!(metadata.get("gemma-embedding.embedding_length"), Some(&Value::U32(768)));
    assert_eq!(metadata.get("gemma-embedding.dense_2_feat_out"), Some(&Value::U32(3072)));
    assert_eq!(metadata.get("gemma-embedding.dense_3_feat_in"), Some(&Value::U32(3072)));
    assert!(!metadata.contains("gemma-embedding.attention.causal"));
    assert_eq!(names, ["dense_2.weight", "dense_3.weight", "output_norm.weight", "blk.0.attn_norm.weight"]);
}

#[test]
fn gemma_3n_has_as_many_pieces_as_rows_for_each_layer() {
    let tokens: StringArray = ["<bos>", "<0x0A>", "<unused3>", "<image>"].into_iter().collect();
    let (mut metadata, mut tensors) = file(
        "gemma3n",
        &[("tokenizer.ggml.tokens", tokens.into()), ("tokenizer.ggml.token_type", vec![3i32, 3, 3, 3].into())],
        &[("token_embd.weight", &[8, 4]), ("per_layer_token_embd.weight", &[16, 3])],
    );
    tensors[0].size_bytes = 8 * 4 * 4;
    translate(&mut metadata, &mut tensors);
    assert_eq!((tensors[0].shape.as_slice(), tensors[0].size_bytes), (&[8, 3][..], 8 * 3 * 4));
    assert_eq!(metadata.get("tokenizer.ggml.token_type"), Some(&vec![3i32, 6, 1].into()));
    assert_eq!(metadata.get("tokenizer.ggml.model").and_then(Value::as_str), Some("llama"));
    assert_eq!(metadata.get("tokenizer.ggml.eot_token_id"), Some(&Value::U32(106)));
}

#[test]
fn towers_of_the_same_file_are_not_seen() {
    for (architecture, hidden) in [
        ("gemma4", &["a.blk.0.x", "v.blk.0.x", "mm.x", "model.vision_tower.x"][..]),
        ("llama4", &["v.blk.0.x", "mm.x"]),
        ("qwen3vl", &["v.blk.0.x", "mm.x"]),
        ("mistral3", &["v.blk.0.x", "mm.x"]),
        ("deepseekocr", &["s.blk.0.x", "v.blk.0.x", "mm.x"]),
    ] {
        let shape: &[u64] = &[2];
        let all = ["blk.0.attn_q.weight"].iter().chain(hidden).map(|name| (*name, shape)).collect::<Vec<_>>();
        let (_, names) = translated(architecture, &[], &all);
        assert_eq!(names, ["blk.0.attn_q.weight"], "{architecture}");
    }
}

#[test]
fn keys_get_the_names_and_values_that_are_missing() {
    let text = |metadata: &Metadata, key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_string);
    let count = |metadata: &Metadata, key: &str| metadata.get(key).and_then(Value::as_integer);

    let (metadata, names) = translated(
        "gemma4",
        &[("tokenizer.ggml.model", "llama".into())],
        &[("blk.0.ffn_gate_inp.per_expert_scale", &[4]), ("blk.0.ffn_gate_inp.weight", &[4])],
    );
    assert_eq!(text(&metadata, "tokenizer.ggml.model").as_deref(), Some("gemma4"));
    assert_eq!(names, ["blk.0.ffn_down_exps.scale", "blk.0.ffn_gate_inp.weight"]);

    let (metadata, _) = translated(
        "mistral3",
        &[
            ("mistral3.rope.scaling.beta_fast", 32.0f32.into()),
            ("mistral3.rope.scaling.mscale_all_dim", 1.0f32.into()),
            ("mistral3.rope.scaling_beta", 0.1f32.into()),
            ("tokenizer.ggml.pre", "default".into()),
        ],
        &[],
    );
    assert_eq!(metadata.get("mistral3.rope.scaling.yarn_beta_fast"), Some(&Value::F32(32.0)));
    assert_eq!(metadata.get("mistral3.rope.scaling.yarn_log_multiplier"), Some(&Value::F32(1.0)));
    assert_eq!(metadata.get("mistral3.attention.temperature_scale"), Some(&Value::F32(0.1)));
    assert_eq!(text(&metadata, "tokenizer.ggml.pre").as_deref(), Some("tekken"));

    let indexes = || vec![8i32, 16, 24].into();
    let (metadata, _) = translated("qwen3vlmoe", &[("qwen3vlmoe.vision.deepstack_visual_indexes", indexes())], &[]);
    assert_eq!(metadata.get("qwen3vlmoe.rope.dimension_sections"), Some(&vec![24i32, 20, 20, 0].into()));
    assert_eq!(count(&metadata, "qwen3vlmoe.n_deepstack_layers"), Some(3));

    let (metadata, names) = translated(
        "qwen3next",
        &[("qwen3next.attention.head_count_kv", vec![0u32, 2].into())],
        &[("blk.0.ssm_dt", &[2])],
    );
    assert_eq!(
        (count(&metadata, "qwen3next.attention.head_count_kv"), names[0].as_str()),
        (Some(2), "blk.0.ssm_dt.bias")
    );

    let experts: &[(&str, &[u64])] =
        &[("blk.1.ffn_down_exps.weight", &[896, 1280, 64]), ("blk.1.ffn_down_shexp.weight", &[1792, 1280])];
    let (metadata, _) = translated("deepseekocr", &[("deepseekocr.block_count", 12u32.into())], experts);
    assert_eq!(text(&metadata, ARCHITECTURE).as_deref(), Some("deepseek2-ocr"));
    assert_eq!(count(&metadata, "deepseek2-ocr.expert_feed_forward_length"), Some(896));
    assert_eq!(count(&metadata, "deepseek2-ocr.expert_shared_count"), Some(2));

    let (metadata, names) =
        translated("laguna", &[("laguna.rope.swa.freq_base", 10_000.0f32.into())], &[("blk.0.attn_g.weight", &[4])]);
    assert_eq!(metadata.get("laguna.rope.freq_base_swa"), Some(&Value::F32(10_000.0)));
    assert_eq!(names, ["blk.0.attn_gate.weight"]);

    let (metadata, _) = translated("gptoss", &[("tokenizer.ggml.pre", "default".into())], &[]);
    assert_eq!(text(&metadata, "tokenizer.ggml.pre").as_deref(), Some("gpt-4o"));
    assert_eq!(text(&metadata, "gpt-oss.rope.scaling.type").as_deref(), Some("yarn"));

    let (metadata, _) = translated("clip", &[("clip.has_llava_projector", true.into())], &[]);
    assert_eq!(text(&metadata, "clip.projector_type").as_deref(), Some("mlp"));
}

#[test]
fn glm_4_7_flash_becomes_a_deepseek_2() {
    let (metadata, _) = translated(
        "glm4moelite",
        &[
            ("glm4moelite.attention.head_count_kv", 20u32.into()),
            ("glm4moelite.attention.key_length", 256u32.into()),
            ("glm4moelite.attention.value_length", 256u32.into()),
            ("glm4moelite.attention.key_length_mla", 576u32.into()),
            ("glm4moelite.attention.kv_lora_rank", 512u32.into()),
            ("glm4moelite.rope.dimension_count", 64u32.into()),
            ("tokenizer.ggml.eos_token_ids", vec![7i32, 8, 9].into()),
        ],
        &[],
    );
    assert_eq!(metadata.get(ARCHITECTURE).and_then(Value::as_str), Some("deepseek2"));
    for (key, value) in [
        ("attention.head_count_kv", 1),
        ("attention.key_length", 576),
        ("attention.value_length", 512),
        ("attention.key_length_mla", 256),
        ("attention.value_length_mla", 256),
        ("expert_group_count", 1),
        ("expert_group_used_count", 1),
    ] {
        assert_eq!(metadata.get(&format!("deepseek2.{key}")), Some(&Value::U32(value)), "{key}");
    }
    assert_eq!(metadata.get("tokenizer.ggml.eot_token_id"), Some(&Value::U32(8)));
    assert_eq!(metadata.get("tokenizer.ggml.eom_token_id"), Some(&Value::U32(9)));
    assert_eq!(metadata.get("tokenizer.ggml.pre").and_then(Value::as_str), Some("glm4"));
}

#[test]
fn nemotron_is_text_of_its_kind_with_latent_experts() {
    let (metadata, names) = translated(
        "nemotron_h_omni",
        &[
            ("nemotron_h_omni.expert_count", 128u32.into()),
            ("nemotron_h_omni.vision.block_count", 32u32.into()),
            ("nemotron_h_omni.block_count", 52u32.into()),
        ],
        &[
            ("v.blk.0.x", &[2]),
            ("blk.3.ffn_latent_in.weight", &[64, 16]),
            ("blk.3.ffn_latent_out.weight", &[16, 64]),
            ("mtp.x", &[2]),
        ],
    );
    assert_eq!(metadata.get(ARCHITECTURE).and_then(Value::as_str), Some("nemotron_h_moe"));
    assert_eq!(metadata.get("nemotron_h_moe.block_count"), Some(&Value::U32(52)));
    assert_eq!(metadata.get("nemotron_h_moe.moe_latent_size"), Some(&Value::U32(16)));
    assert!(!metadata.contains("nemotron_h_moe.vision.block_count"));
    assert_eq!(names, ["blk.3.ffn_latent_down.weight", "blk.3.ffn_latent_up.weight"]);
    let (metadata, _) =
        translated("nemotron_h_omni", &[("nemotron_h_omni.expert_count", 0u32.into())], &[("a.x", &[2])]);
    assert_eq!(metadata.get(ARCHITECTURE).and_then(Value::as_str), Some("nemotron_h"));
}

#[test]
fn llama_3_ends_its_turns() {
    let words = |count: usize| -> StringArray {
        (0..count)
            .map(|index| match index {
                128_006 => "<|start_header_id|>",
                128_009 => "<|eot_id|>",
                _ => "x",
            })
            .collect()
    };
    let (metadata, _) = translated(
        "llama",
        &[("tokenizer.ggml.tokens", words(128_010).into()), ("tokenizer.ggml.eos_token_id", 128_001u32.into())],
        &[],
    );
    assert_eq!(metadata.get("tokenizer.ggml.pre").and_then(Value::as_str), Some("llama-bpe"));
    assert_eq!(metadata.get("tokenizer.ggml.eos_token_id"), Some(&Value::U32(128_009)));
    assert_eq!(metadata.get("tokenizer.ggml.eot_token_id"), Some(&Value::U32(128_009)));
    let (metadata, _) = translated("llama", &[("tokenizer.ggml.tokens", words(300).into())], &[]);
    assert!(!metadata.contains("tokenizer.ggml.pre"), "another vocabulary stays as it is");
}

#[test]
fn a_table_of_characters_is_bytes() {
    let letters: StringArray = ["a", "G", "k", "="].into_iter().collect();
    let key = "tokenizer.ggml.precompiled_charsmap";
    let keys = |letters: StringArray| [("tokenizer.ggml.model", Value::from("t5")), (key, letters.into())];
    let (metadata, _) = translated("bert", &keys(letters), &[]);
    assert_eq!(metadata.get(key), Some(&vec![b'h', b'i'].into()));
    let strange: StringArray = ["aG", "é", "="].into_iter().collect();
    let (metadata, _) = translated("bert", &keys(strange.clone()), &[]);
    assert_eq!(metadata.get(key), Some(&strange.into()), "what is no base64 stays");
}
