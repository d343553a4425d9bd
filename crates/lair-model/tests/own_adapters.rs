//! Adapters that a model has in its own file and that tokens of the prompt switch on (Granite Switch).

mod runner;

use lair_compute::KvElement;
use lair_compute::cpu::{Cpu, CpuOptions};
use lair_gguf::{GgufFile, Metadata};
use lair_model::{LoadOptions, Model, ModelConfig, ModelError};
use lair_testkit::normalised_mean_squared_error;
use lair_testkit::tiny_models::TinyModel;
use runner::Runner;

/// The tokens of the tiny model that switch its two adapters on, and what is embedded in the stead of the second.
const SWITCHES: [u32; 2] = [100, 101];
const EMBEDDED: u32 = 6;

fn runner(tiny: &TinyModel, threads: usize, element: KvElement) -> Runner<Cpu> {
    let backend = Cpu::new(CpuOptions { threads: Some(threads), ..CpuOptions::default() });
    let backend = backend.expect("threads can be started");
    let file = GgufFile::open(tiny.path()).expect("tiny models are valid");
    let model = Model::load(&file, &backend, LoadOptions::default()).expect("the model can be run");
    Runner::keeping(model, backend, element, (tiny.tokens.len(), tiny.tokens.len()))
}

#[test]
fn the_adapter_is_found_whatever_keys_are_kept_in_and_however_tokens_are_fed() {
    let Some(tiny) = TinyModel::make("graniteswitch") else { return };
    let place = tiny.tokens.iter().position(|token| SWITCHES.contains(token)).expect("one switches");
    assert_eq!(tiny.tokens[place], SWITCHES[1]);
    let behind = |logits: &[f32]| logits[(place + 1) * tiny.width..].to_vec();
    let mut others = tiny.tokens.clone();
    others[place] = SWITCHES[0];
    let by_other = behind(&runner(&tiny, 1, KvElement::F32).step(&others));
    for element in [KvElement::F32, KvElement::F16, KvElement::Q8_0, KvElement::Q4_0] {
        let whole = runner(&tiny, 1, element).step(&tiny.tokens);
        let error = normalised_mean_squared_error(&behind(&whole), &behind(&tiny.expected));
        let from_other = normalised_mean_squared_error(&behind(&whole), &by_other);
        eprintln!("{element:?}: {error:.2e}, {from_other:.2e} from what the other adapter gives");
        assert!(element != KvElement::F32 || error <= 1e-7, "{error:e}");
        // Coarse keys change all attention.
        assert!(error < from_other / 3.0, "{element:?}: {error:e}, {from_other:e} from what the other adapter gives");
        let mut parts = runner(&tiny, 2, element);
        // The token that switches stands at the end of a step, and tokens after it in steps of their own.
        let (before, after) = tiny.tokens.split_at(place + 1);
        let mut logits = parts.step(before);
        after.chunks(5).for_each(|chunk| logits.extend(parts.step(chunk)));
        assert!(logits == whole, "{element:?}: two threads or chunks change the outputs");
    }
}

#[test]
fn a_token_that_switches_changes_itself_and_what_follows_only() {
    let Some(tiny) = TinyModel::make("graniteswitch") else { return };
    let with = |token: u32| {
        let mut tokens = tiny.tokens[..40].to_vec();
        tokens[20] = token;
        runner(&tiny, 1, KvElement::F32).step(&tokens)
    };
    let (plain, switched) = (with(EMBEDDED), with(SWITCHES[1]));
    let before = 20 * tiny.width;
    assert!(plain[..before] == switched[..before], "rows before the token are as they were");
    for (row, (plain, switched)) in
        plain[before..].chunks_exact(tiny.width).zip(switched[before..].chunks_exact(tiny.width)).enumerate()
    {
        let apart = normalised_mean_squared_error(switched, plain);
        assert!(apart > 1e-4, "row {row} behind the token is computed with the adapter: {apart:e}");
    }
}

#[test]
fn adapters_that_do_not_fit_their_tokens_are_refused_by_name() {
    let Some(tiny) = TinyModel::make("graniteswitch") else { return };
    let file = GgufFile::open(tiny.path()).expect("tiny models are valid");
    let read = |change: &dyn Fn(&mut Metadata)| {
        let mut metadata = file.metadata().clone();
        change(&mut metadata);
        ModelConfig::from_metadata(&metadata).map(|_| ())
    };
    let refused = |result: Result<(), ModelError>, name: &str| {
        assert!(matches!(&result, Err(ModelError::Parameter { key, .. }) if key.ends_with(name)), "{result:?}");
    };
    assert!(read(&|_| {}).is_ok());
    let count = |metadata: &mut Metadata| metadata.set("graniteswitch.adapters.count", 3u32);
    refused(read(&count), "adapters.token_ids_activate");
    let tokens = |metadata: &mut Metadata| metadata.set("graniteswitch.adapters.token_ids_substitute", vec![5u32, 128]);
    refused(read(&tokens), "adapters.token_ids_substitute");
}
