//! What a model file may hold: every tensor declared and there, every hyper-parameter within its rules.

mod runner;
mod small_llama;

use lair_compute::reference::Reference;
use lair_gguf::Value;
use lair_model::{LoadOptions, Model, ModelConfig, ModelError};
use runner::Runner;
use small_llama::{HIDDEN_SIZE, SmallLlama, VOCABULARY_SIZE};

fn load(model: &SmallLlama) -> Result<Model<Reference>, ModelError> {
    Model::load(&model.open(), &Reference, LoadOptions::default())
}

fn refusal(model: &SmallLlama) -> ModelError {
    match load(model) {
        Ok(_) => panic!("the model is loaded"),
        Err(error) => error,
    }
}

fn logits(model: &SmallLlama) -> Vec<f32> {
    Runner::new(&model.open(), Reference, 8, 8).step(&[1, 5, 3, 3, 20])
}

#[test]
fn refuses_hyper_parameters_that_break_a_rule() {
    let check = |key: &str, value: Value, expected: &str| {
        let mut model = SmallLlama::new();
        model.metadata.set(key, value);
        let message = match ModelConfig::from_metadata(&model.metadata) {
            Ok(_) => panic!("{key} is accepted"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(key), "{message}");
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
    };
    check("llama.block_count", 0u32.into(), "1 to 1024");
    check("llama.block_count", 4_000_000_000u32.into(), "1 to 1024");
    check("llama.block_count", "two".into(), "string");
    check("llama.block_count", (-1i32).into(), "-1");
    check("llama.embedding_length", 0u32.into(), "1 to");
    check("llama.context_length", 0u32.into(), "1 to");
    check("llama.attention.head_count", 5u32.into(), "a divisor of the embedding_length 32");
    check("llama.attention.head_count_kv", 3u32.into(), "a divisor of the 2 query heads of layer 0");
    check("llama.attention.head_count_kv", vec![1u32].into(), "one for each of the 2 layers");
    check("llama.attention.head_count_kv", vec![1u32, 7].into(), "a divisor of the 2 query heads of layer 1");
    check("llama.attention.head_count", vec![2u32, 0].into(), "more than 0 in layer 1");
    check("llama.feed_forward_length", vec![48u32, 48, 48].into(), "one for each of the 2 layers");
    check("llama.attention.key_length", 0u32.into(), "1 to");
    check("llama.rope.dimension_count", 15u32.into(), "an even number");
    check("llama.rope.dimension_count", 64u32.into(), "0 to 16");
    check("llama.rope.freq_base", 0.0f32.into(), "1.001 to");
    check("llama.rope.freq_base", f32::NAN.into(), "1.001 to");
    check("llama.rope.scaling.type", "spiral".into(), "`yarn`");
    check("llama.rope.scaling.factor", (-2.0f32).into(), "0 to");
    check("llama.attention.layer_norm_rms_epsilon", f32::INFINITY.into(), "0 to 1");
    check("llama.expert_count", 4u32.into(), "expert_used_count");
    check("llama.attention.sliding_window_pattern", vec![true].into(), "2 layers");
}

/// Hyper-parameters that some architecture reads, with usable values.
fn usable_keys() -> Vec<(&'static str, Value)> {
    vec![
        ("block_count", 2u32.into()),
        ("context_length", 64u32.into()),
        ("embedding_length", 32u32.into()),
        ("feed_forward_length", 48u32.into()),
        ("vocab_size", 24u32.into()),
        ("attention.head_count", 2u32.into()),
        ("attention.head_count_kv", 1u32.into()),
        ("attention.key_length", 16u32.into()),
        ("attention.value_length", 16u32.into()),
        ("attention.layer_norm_rms_epsilon", 1e-5f32.into()),
        ("attention.layer_norm_epsilon", 1e-5f32.into()),
        ("attention.sliding_window", 8u32.into()),
        ("attention.sliding_window_pattern", 2u32.into()),
        ("attention.recurrent_layers", vec![true, false].into()),
        ("attention.scale", 0.5f32.into()),
        ("attention.temperature_scale", 0.1f32.into()),
        ("attention.temperature_length", 16u32.into()),
        ("attention.output_scale", 0.5f32.into()),
        ("attention.value_scale", 0.5f32.into()),
        ("attention.q_lora_rank", 8u32.into()),
        ("attention.kv_lora_rank", 8u32.into()),
        ("attention.indexer.top_k", 64u32.into()),
        ("attention.indexer.block_size", 4u32.into()),
        ("swiglu_clamp_exp", 7.0f32.into()),
        ("swiglu_clamp_shexp", 7.0f32.into()),
        ("interleave_moe_layer_step", 2u32.into()),
        ("rope.dimension_count", 16u32.into()),
        ("rope.dimension_sections", vec![4u32, 2, 2, 0].into()),
        ("rope.freq_base", 10_000.0f32.into()),
        ("rope.freq_base_swa", 10_000.0f32.into()),
        ("rope.scaling.type", "yarn".into()),
        ("rope.scaling.factor", 4.0f32.into()),
        ("rope.scaling.original_context_length", 16u32.into()),
        ("rope.scaling.yarn_log_multiplier", 1.0f32.into()),
        ("expert_count", 4u32.into()),
        ("expert_used_count", 2u32.into()),
        ("expert_feed_forward_length", 16u32.into()),
        ("expert_shared_count", 1u32.into()),
        ("expert_shared_feed_forward_length", 16u32.into()),
        ("expert_group_count", 2u32.into()),
        ("expert_group_used_count", 1u32.into()),
        ("expert_gating_func", 2u32.into()),
        ("leading_dense_block_count", 1u32.into()),
        ("hyper_connection.count", 2u32.into()),
        ("hyper_connection.sinkhorn_iterations", 2u32.into()),
        ("attention.indexer.head_count", 1u32.into()),
        ("attention.indexer.key_length", 32u32.into()),
        ("attention.indexer.local_blocks", 1u32.into()),
        ("attention.indexer.kpool", 4u32.into()),
        ("attention.indexer.kpool_select_tail", true.into()),
        ("attention.compress_ratios", 4u32.into()),
        ("attention.compress_rope_freq_base", 10_000.0f32.into()),
        ("attention.output_group_count", 2u32.into()),
        ("attention.output_lora_rank", 8u32.into()),
        ("hash_layer_count", 0u32.into()),
        ("adapters.count", 1u32.into()),
        ("adapters.lora_rank", 4u32.into()),
        ("adapters.router_gain", 15.0f32.into()),
        ("adapters.token_ids_activate", vec![3u32].into()),
        ("adapters.token_ids_substitute", vec![4u32].into()),
        ("hyper_connection.low_rank", 4u32.into()),
        ("activation.situ_beta", 4f32.into()),
        ("kda.head_dim", 16u32.into()),
        ("kda.gate_lower_bound", (-5f32).into()),
        ("hrm.layers_per_stack", 1u32.into()),
        ("hrm.h_cycles", 1u32.into()),
        ("hrm.l_cycles", 1u32.into()),
        ("moe_every_n_layers", 2u32.into()),
        ("nextn_predict_layers", 0u32.into()),
        ("wkv.head_size", 16u32.into()),
        ("rescale_every_n_layers", 6u32.into()),
        ("time_mix_extra_dim", 8u32.into()),
        ("time_decay_extra_dim", 8u32.into()),
        ("attention.decay_lora_rank", 8u32.into()),
        ("attention.iclr_lora_rank", 8u32.into()),
        ("attention.value_residual_mix_lora_rank", 8u32.into()),
        ("attention.gate_lora_rank", 8u32.into()),
        ("full_attention_interval", 2u32.into()),
        ("ssm.conv_kernel", 4u32.into()),
        ("ssm.inner_size", 32u32.into()),
        ("ssm.state_size", 16u32.into()),
        ("ssm.time_step_rank", 2u32.into()),
        ("ssm.group_count", 1u32.into()),
        ("logit_scale", 2.0f32.into()),
        ("embedding_scale", 2.0f32.into()),
        ("residual_scale", 2.0f32.into()),
    ]
}

/// Values that some key of a damaged or hostile file may hold.
fn hostile_values() -> Vec<Value> {
    vec![
        0u32.into(),
        1u32.into(),
        3u32.into(),
        u32::MAX.into(),
        u64::MAX.into(),
        (-1i32).into(),
        f32::NAN.into(),
        f32::INFINITY.into(),
        (-0.0f32).into(),
        1e-38f32.into(),
        "".into(),
        true.into(),
        Vec::<u32>::new().into(),
        vec![u32::MAX; 2].into(),
        vec![0u32, 0].into(),
        vec![1u32; 5000].into(),
        vec![f32::NAN; 2].into(),
    ]
}

#[test]
fn no_hyper_parameter_makes_a_declaration_panic() {
    for architecture in lair_model::architectures::ALL {
        let mut metadata = lair_gguf::Metadata::default();
        metadata.set("general.architecture", architecture.gguf_name);
        let full = |key: &str| format!("{}.{key}", architecture.gguf_name);
        for (key, value) in usable_keys() {
            metadata.set(&full(key), value);
        }
        let list = |metadata: &lair_gguf::Metadata| -> Result<usize, ModelError> {
            let config = ModelConfig::from_metadata(metadata)?;
            lair_model::check_support(architecture, &config)?;
            Ok(lair_model::tensor_needs(architecture, &config)?.len())
        };
        if matches!(list(&metadata), Err(ModelError::Unsupported { .. })) {
            // Its models with experts cannot be run yet.
            metadata.remove(&full("expert_count"));
        }
        for (key, _) in usable_keys() {
            for value in hostile_values() {
                let mut hostile = metadata.clone();
                hostile.set(&full(key), value);
                // Whether it is refused is not the question here, only that nothing worse happens.
                let _ = list(&hostile);
            }
            let mut without = metadata.clone();
            without.remove(&full(key));
            let _ = list(&without);
        }
        // The keys are usable: what was tried above was not all refused for another reason.
        match list(&metadata) {
            Ok(count) => assert!(count > 5, "{}: {count} tensors", architecture.gguf_name),
            // Gemma 4's experts.
            Err(ModelError::Unsupported { .. }) => {}
            Err(error) => panic!("{}: {error}", architecture.gguf_name),
        }
    }
}

#[test]
fn refuses_experts_that_do_not_add_up() {
    let check = |used: u32, groups: u32, key: &str| {
        let mut model = SmallLlama::new();
        model.metadata.set("llama.expert_count", 4u32);
        model.metadata.set("llama.expert_used_count", used);
        model.metadata.set("llama.expert_group_count", groups);
        let message = ModelConfig::from_metadata(&model.metadata).expect_err("refused").to_string();
        assert!(message.contains(key), "{message}");
    };
    check(0, 0, "llama.expert_used_count");
    check(5, 0, "llama.expert_used_count");
    check(2, 3, "llama.expert_group_count");
    check(2, 2, "llama.expert_group_count");
}

#[test]
fn names_a_missing_key() {
    for key in ["block_count", "context_length", "embedding_length", "vocab_size"] {
        let mut model = SmallLlama::new();
        model.metadata.remove(&format!("llama.{key}"));
        let error = ModelConfig::from_metadata(&model.metadata).expect_err("refused");
        assert!(matches!(&error, ModelError::MissingKey { key: found, .. } if found.ends_with(key)), "{error}");
    }
    for key in ["attention.head_count", "feed_forward_length", "attention.layer_norm_rms_epsilon"] {
        let mut model = SmallLlama::new();
        model.metadata.remove(&format!("llama.{key}"));
        let message = refusal(&model).to_string();
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn names_a_missing_tensor_with_its_shape() {
    let mut model = SmallLlama::new();
    model.remove("blk.1.ffn_down.weight");
    let error = refusal(&model);
    assert_eq!(error.to_string(), "the tensor `blk.1.ffn_down.weight` of shape [48, 32] is missing");
    assert!(error.hint().is_some());
}

#[test]
fn names_a_tensor_of_the_wrong_shape() {
    let mut model = SmallLlama::new();
    model.remove("blk.0.attn_k.weight");
    model.add("blk.0.attn_k.weight", &[HIDDEN_SIZE, 32]);
    let message = refusal(&model).to_string();
    assert_eq!(message, "the tensor `blk.0.attn_k.weight` has shape [32, 32], expected [32, 16]");
}

#[test]
fn refuses_a_tensor_that_no_declaration_names() {
    let mut model = SmallLlama::new();
    model.add("blk.0.attn_q_norm.weight", &[16]);
    assert!(matches!(refusal(&model), ModelError::UnusedTensors { count: 1, first, .. } if first.contains("q_norm")));
    // Beyond the last layer there is none.
    let mut model = SmallLlama::new();
    model.add("blk.2.attn_norm.weight", &[HIDDEN_SIZE]);
    assert!(matches!(refusal(&model), ModelError::UnusedTensors { .. }));
}

#[test]
fn lists_what_it_leaves_out() {
    let mut model = SmallLlama::new();
    model.add("v.patch_embd.weight", &[HIDDEN_SIZE]);
    let model = load(&model).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.ignored_tensors(), ["v.patch_embd.weight"]);
}

#[test]
fn names_an_unknown_architecture() {
    let mut model = SmallLlama::new();
    model.metadata.set("general.architecture", "lama");
    let error = refusal(&model);
    assert!(error.to_string().starts_with("the architecture `lama` is unknown; known are "), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("`llama`")));
}

#[test]
fn factors_that_angles_cannot_be_divided_by_are_refused() {
    let mut model = SmallLlama::new();
    model.add("rope_freqs.weight", &[8]);
    assert!(load(&model).is_ok());
    model.values_mut("rope_freqs.weight")[3] = 0.0;
    assert!(matches!(refusal(&model), ModelError::Parameter { .. }));
}

#[test]
fn the_context_asked_for_chooses_the_factors_of_the_angles() {
    let mut by_context = SmallLlama::new();
    by_context.metadata.set("llama.rope.scaling.type", "longrope");
    by_context.metadata.set("llama.rope.scaling.original_context_length", 16u32);
    by_context.metadata.set("llama.rope.scaling.attn_factor", 1.25f32);
    let factors = |start: f32| -> Vec<f32> { (0..8).map(|pair| start + pair as f32).collect() };
    for (name, start) in [("rope_factors_short.weight", 1.5), ("rope_factors_long.weight", 4.0)] {
        by_context.add(name, &[8]);
        *by_context.values_mut(name) = factors(start);
    }
    let with_context = |context_length: usize| {
        let options = LoadOptions { context_length: Some(context_length) };
        let model = Model::load(&by_context.open(), &Reference, options).unwrap_or_else(|error| panic!("{error}"));
        Runner::of(model, Reference, 8, 8).step(&[1, 5, 3, 3, 20])
    };
    let with_one_tensor = |start: f32| {
        let mut model = SmallLlama::new();
        model.metadata.set("llama.rope.scaling.attn_factor", 1.25f32);
        model.add("rope_freqs.weight", &[8]);
        *model.values_mut("rope_freqs.weight") = factors(start);
        logits(&model)
    };
    assert_eq!(with_context(16), with_one_tensor(1.5));
    assert_eq!(with_context(17), with_one_tensor(4.0));
    assert_ne!(with_one_tensor(1.5), with_one_tensor(4.0));
}

#[test]
fn a_temperature_changes_what_stands_behind_its_length_only() {
    let mut model = SmallLlama::new();
    let keys: Vec<(String, Value)> =
        model.metadata.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    for (key, value) in keys {
        model.metadata.set(&key.replace("llama.", "mistral3."), value);
    }
    model.metadata.set("general.architecture", "mistral3");
    model.metadata.set("mistral3.rope.scaling.original_context_length", 32u32);
    let tokens: Vec<u32> = (0..40).map(|index| index * 7 % 24).collect();
    let logits = |model: &SmallLlama| {
        let loaded = Model::load(&model.open(), &Reference, LoadOptions::default());
        Runner::of(loaded.unwrap_or_else(|error| panic!("{error}")), Reference, 40, 40).step(&tokens)
    };
    let plain = logits(&model);
    model.metadata.set("mistral3.attention.temperature_scale", 0.1f32);
    let warm = logits(&model);
    let width = plain.len() / tokens.len();
    assert_eq!(plain[..32 * width], warm[..32 * width]);
    for row in 32..40 {
        assert_ne!(plain[row * width..][..width], warm[row * width..][..width], "row {row}");
    }
}

#[test]
fn the_embedding_serves_as_the_head_where_the_file_has_none() {
    let mut tied = SmallLlama::new();
    tied.remove("output.weight");
    assert!(load(&tied).is_ok_and(|model| model.has_tied_embedding()));
    let mut copied = SmallLlama::new();
    *copied.values_mut("output.weight") = copied.values_mut("token_embd.weight").clone();
    assert!(load(&copied).is_ok_and(|model| !model.has_tied_embedding()));
    assert_eq!(logits(&tied), logits(&copied));
}

#[test]
fn a_fused_projection_is_the_same_as_three() {
    let mut separate = SmallLlama::new();
    let mut fused = SmallLlama::new();
    for part in ["q", "k", "v"] {
        separate.add(&format!("blk.0.attn_{part}.bias"), &[if part == "q" { 32 } else { 16 }]);
    }
    let mut gather = |ending: &str, shape: &[u64]| {
        let parts = ["q", "k", "v"].map(|part| format!("blk.0.attn_{part}.{ending}"));
        let values: Vec<f32> = parts.iter().flat_map(|name| separate.values_mut(name).clone()).collect();
        let name = format!("blk.0.attn_qkv.{ending}");
        fused.add(&name, shape);
        *fused.values_mut(&name) = values;
    };
    gather("weight", &[HIDDEN_SIZE, 64]);
    gather("bias", &[64]);
    for part in ["q", "k", "v"] {
        fused.remove(&format!("blk.0.attn_{part}.weight"));
    }
    assert_eq!(logits(&separate), logits(&fused));
}

#[test]
fn a_weight_that_is_not_finite_is_told() {
    let mut model = SmallLlama::new();
    model.values_mut("blk.1.ffn_down.weight")[7] = f32::NAN;
    let logits = std::panic::catch_unwind(|| logits(&model));
    assert!(logits.is_err(), "the runner checks logits");
    let row = vec![0.0; VOCABULARY_SIZE as usize];
    let mut rows = [row.clone(), row].concat();
    assert!(lair_model::check_logits(&rows, VOCABULARY_SIZE as usize).is_ok());
    rows[VOCABULARY_SIZE as usize + 2] = f32::NEG_INFINITY;
    let error = lair_model::check_logits(&rows, VOCABULARY_SIZE as usize).expect_err("not finite");
    assert!(matches!(error, ModelError::NonFiniteLogits { row: 1, token: 2 }));
}
