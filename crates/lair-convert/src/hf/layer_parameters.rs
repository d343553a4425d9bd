//! Hyper-parameters that differ layer by layer, or between layers with a window and those without.

use lair_model::spec::source::Parameter;
use serde_json::Value as Json;

use super::config::{HfConfig, LayerKind};
use super::parameters::Keys;

/// More layers than a model can have; what says more is cut, and refused when the model is read.
const LAYERS_MAX: usize = 1 << 16;

/// Sets what a parameter of layers says.
pub(super) fn of_layers(keys: &mut Keys<'_>, parameter: Parameter, config: &HfConfig) {
    match parameter {
        Parameter::CountOfLayers(key, name) => {
            let count = |entry: &Json| entry.as_u64().and_then(|count| i32::try_from(count).ok());
            let counts = listed(config, name).and_then(|list| list.iter().map(count).collect::<Option<Vec<i32>>>());
            keys.set(key, counts);
        }
        Parameter::CountOfWindows(key, names, of_window) => {
            let own = config.count(names);
            if let (Some(own), Some(window)) = (own, config.window_count(of_window).or(own)) {
                let count = |has_window: &bool| if *has_window { window } else { own } as i32;
                let counts: Vec<i32> = config.windows().iter().take(layer_count(config)).map(count).collect();
                keys.set(key, Some(counts).filter(|counts| !counts.is_empty()));
            }
        }
        Parameter::WindowCount(key, names) => keys.set(key, config.window_count(names)),
        Parameter::WindowSum(key, [one, other]) => {
            let sum = |one: u32| one.checked_add(config.window_count(other)?);
            keys.set(key, config.window_count(one).and_then(sum));
        }
        Parameter::RopeDimensionsOfKinds => rope_dimensions(keys, config),
        Parameter::LeadingDense => keys.set("leading_dense_block_count", leading_dense(config)),
        Parameter::NumberOfLayers(key, name) => {
            let number = |entry: &Json| entry.as_f64().unwrap_or(0.0) as f32;
            let mut numbers = listed(config, name).map(|list| list.iter().map(number).collect::<Vec<f32>>());
            if let Some(numbers) = &mut numbers {
                numbers.resize(layer_count(config), 0.0);
            }
            keys.set(key, numbers);
        }
        Parameter::NumberRepeated(key, name) => {
            let number = config.number(&[name]).filter(|number| *number > 0.0);
            keys.set(key, number.map(|number| vec![number as f32; layer_count(config)]));
        }
        Parameter::FlagOfWords(key, name, words) => {
            let flag = |entry: &Json| entry.as_str().is_some_and(|word| words.contains(&word));
            keys.set(key, listed(config, name).map(|list| list.iter().map(flag).collect::<Vec<bool>>()));
        }
        Parameter::Places(key, name) => {
            let place = |entry: &Json| entry.as_u64()?.checked_sub(1).and_then(|place| i32::try_from(place).ok());
            let list = config.first(&[name]).and_then(Json::as_array).filter(|list| list.len() <= LAYERS_MAX);
            let places = list.and_then(|list| list.iter().map(place).collect::<Option<Vec<i32>>>());
            keys.set(key, places.filter(|places| !places.is_empty()));
        }
        Parameter::StackRuns => {
            let runs = config.count(&["L_cycles"]).and_then(|fast| fast.checked_add(1));
            let runs = runs.and_then(|runs| runs.checked_mul(config.count(&["H_cycles"])?));
            keys.set("block_count", runs.and_then(|runs| runs.checked_mul(config.stack_length()?)));
        }
        Parameter::KvHeadsOfWindows(name) => {
            let own = config.kv_head_count();
            let window = config.count(&[name]).or_else(|| own?.checked_mul(2));
            if let (Some(own), Some(window)) = (own, window) {
                let count = |has_window: &bool| if *has_window { window } else { own } as i32;
                let counts: Vec<i32> = config.windows().iter().take(layer_count(config)).map(count).collect();
                keys.set("attention.head_count_kv", Some(counts).filter(|counts| !counts.is_empty()));
            }
        }
        Parameter::GrownBase => {
            let (alpha, base) = (config.rope_number("alpha"), config.rope_number("rope_theta").unwrap_or(10_000.0));
            let dim = config.head_dim().map(f64::from).filter(|dim| *dim > 2.0);
            let grown = alpha.zip(dim).map(|(alpha, dim)| (base * alpha.powf(dim / (dim - 2.0))) as f32);
            keys.set("rope.freq_base", grown);
        }
        Parameter::NgramRows => {
            let width = config.count(&["ple_embed_dim", "hidden_size"]);
            let hashes = config.count(&["ngram_size"]).and_then(|size| size.checked_sub(1));
            let hashes = hashes.and_then(|lengths| lengths.checked_mul(config.count(&["heads_per_ngram"])?));
            keys.set("embedding_length_per_layer_input", hashes.and_then(|hashes| width?.checked_div(hashes)));
        }
        Parameter::LatentLayers => {
            let count = |kind: &LayerKind| i32::from(*kind == LayerKind::Attention);
            let counts: Vec<i32> = config.all_layer_kinds().iter().map(count).collect();
            keys.set("attention.head_count_kv", Some(counts));
        }
        // What is said once for a model is set elsewhere; a word that must be one of some was looked at before.
        _ => {}
    }
}

fn layer_count(config: &HfConfig) -> usize {
    (config.layer_count().unwrap_or(0) as usize).min(LAYERS_MAX)
}

/// A list with an entry for each layer; entries for layers that predict further tokens are cut.
fn listed<'c>(config: &'c HfConfig, name: &str) -> Option<&'c [Json]> {
    let list = config.first(&[name])?.as_array()?;
    Some(&list[..list.len().min(layer_count(config))])
}

/// Elements of a head that are turned, by the share of each kind of layers.
fn rope_dimensions(keys: &mut Keys<'_>, config: &HfConfig) {
    let turned = |share: f64, dim: Option<u32>| dim.map(|dim| (share * f64::from(dim)) as u32);
    let share = config.rope_number("partial_rotary_factor").unwrap_or(1.0);
    keys.set("rope.dimension_count", turned(share, config.head_dim()));
    let share = config.number(&["rope_parameters.sliding_attention.partial_rotary_factor"]);
    let dim = config.window_count(&["swa_head_dim"]).or_else(|| config.head_dim());
    keys.set("rope.dimension_count_swa", share.and_then(|share| turned(share, dim)));
}

/// First layers that have one network in place of experts.
fn leading_dense(config: &HfConfig) -> Option<u32> {
    if let Some(count) = config.count(&["first_k_dense_replace"]) {
        return Some(count);
    }
    let run = |is_dense: &dyn Fn(&Json) -> bool, list: &[Json]| list.iter().take_while(|entry| is_dense(entry)).count();
    if let Some(types) = listed(config, "mlp_layer_types") {
        return u32::try_from(run(&|kind| kind == "dense", types)).ok();
    }
    if let Some(steps) = listed(config, "moe_layer_freq") {
        return u32::try_from(run(&|step| step.as_u64() == Some(0), steps)).ok();
    }
    // The layers with experts as a text: `3,4,5`.
    let first = config.first(&["moe_layers_enum"])?.as_str()?.split(',').next()?;
    first.trim().parse().ok()
}
