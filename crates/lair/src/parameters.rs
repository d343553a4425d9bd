//! What the parameters of a stored model or of a chat amount to: sampling, limits, stop texts, loading.
//!
//! Names and types are Ollama's, from `lair_store::modelfile`; here stands what Lair does with each.

use lair_engine::Sampling;
use lair_store::modelfile::{ModelfileError, ParameterValue, Parameters};

use crate::failure::{ExitCode, Failure};
use crate::session::LoadOptions;

/// What becomes of a parameter with some value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what it says.
    Honoured,
    /// It could change speed or memory only, and does not; the answers are the same.
    NoMatter(&'static str),
    /// Answers would have to be others, and are not.
    Refused(&'static str),
}

/// Other words for the same parameters: those of Lair's own options.
const OTHER_NAMES: [(&str, &str); 3] =
    [("max_tokens", "num_predict"), ("context_length", "num_ctx"), ("threads", "num_thread")];

/// The name that parameters are kept under.
pub fn stored_name(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('-', "_");
    OTHER_NAMES.iter().find(|(other, _)| *other == name).map_or(name, |(_, stored)| (*stored).to_owned())
}

/// What Lair does with a parameter.
pub fn standing(name: &str, value: &ParameterValue) -> Standing {
    use Standing::{Honoured, NoMatter, Refused};
    let is = |expected: f64| match value {
        ParameterValue::Whole(value) => *value as f64 == expected,
        ParameterValue::Real(value) => *value == expected,
        ParameterValue::Switch(value) => f64::from(u8::from(*value)) == expected,
        _ => false,
    };
    match name {
        "num_keep" => NoMatter("nothing is dropped from a full context: the answer ends there"),
        "num_batch" | "draft_num_predict" => NoMatter("Lair chooses it, and answers do not depend on it"),
        "num_gpu" | "main_gpu" if is(0.0) || is(-1.0) => Honoured,
        "num_gpu" | "main_gpu" => NoMatter("this build computes on the CPU"),
        "use_mmap" if is(0.0) => NoMatter("model files are always mapped"),
        "mirostat" if !(is(0.0) || is(1.0) || is(2.0)) => Refused("0, 1 or 2 expected"),
        "tfs_z" if !is(1.0) => Refused("tail-free sampling is not built; use min_p"),
        "penalize_newline" if is(0.0) => Refused("line ends are penalised like every other token"),
        "f16_kv" if is(0.0) => Refused("use --kv-type f32"),
        "low_vram" | "logits_all" | "vocab_only" | "use_mlock" | "numa" | "embedding_only" if !is(0.0) => {
            Refused("it is not built")
        }
        "num_gqa" | "rope_frequency_base" | "rope_frequency_scale" => Refused("it is read from the model file"),
        _ if matches!(value, ParameterValue::Unknown(_)) => Refused("there is no such parameter"),
        _ => Honoured,
    }
}

/// Takes what `/set parameter NAME VALUE ...` says; `stop` replaces the texts that are there. Gives what to tell the
/// user beside that it is set.
///
/// # Errors
/// An unknown name, with one that is near; a value of another type; what Lair cannot do.
pub fn set(parameters: &mut Parameters, name: &str, values: &[String]) -> Result<Option<&'static str>, String> {
    let stored = stored_name(name);
    let mut wanted = Parameters::default();
    if values.len() != 1 && stored != "stop" {
        return Err(format!("`{name}` takes one value, {} are given", values.len()));
    }
    for value in values {
        wanted.set(&stored, value).map_err(|error| describe(&error))?;
    }
    let mut note = None;
    for (name, value) in wanted.iter() {
        match standing(name, value) {
            Standing::Refused(reason) => return Err(format!("`{name}` cannot be set so: {reason}")),
            Standing::NoMatter(reason) => note = Some(reason),
            Standing::Honoured => {}
        }
        parameters.insert(name, value.clone());
    }
    Ok(note)
}

/// The error with its hint where that is not about Modelfiles.
fn describe(error: &ModelfileError) -> String {
    match error {
        ModelfileError::UnknownParameter { near: None, .. } => format!("{error}; `/? parameters` lists them"),
        _ => error.to_string(),
    }
}

/// What is to be said about the parameters of a stored model that have no effect on its answers though they could.
pub fn warnings(parameters: &Parameters) -> Vec<String> {
    let warn = |(name, value): (&str, &ParameterValue)| match standing(name, value) {
        Standing::Refused(reason) => {
            Some(format!("the model's PARAMETER {name} {} has no effect: {reason}", value.to_json()))
        }
        _ => None,
    };
    parameters.iter().filter_map(warn).collect()
}

/// Sampling with these parameters over `base`, checked.
pub fn sampling(parameters: &Parameters, base: &Sampling, context_length: usize) -> Result<Sampling, Failure> {
    let mut sampling = base.clone();
    for (name, place) in [
        ("temperature", &mut sampling.temperature),
        ("top_p", &mut sampling.top_p),
        ("min_p", &mut sampling.min_p),
        ("typical_p", &mut sampling.typical_p),
        ("repeat_penalty", &mut sampling.repeat_penalty),
        ("presence_penalty", &mut sampling.presence_penalty),
        ("frequency_penalty", &mut sampling.frequency_penalty),
    ] {
        if let Some(value) = parameters.real(name) {
            *place = value as f32;
        }
    }
    if let Some(count) = parameters.whole("top_k") {
        // Everything below 1 means no limit.
        sampling.top_k = usize::try_from(count).unwrap_or(0);
    }
    if let Some(count) = parameters.whole("repeat_last_n") {
        // Below 0 means the whole context.
        sampling.penalty_last_n = usize::try_from(count).unwrap_or(context_length).min(context_length);
    }
    if let Some(seed) = parameters.whole("seed") {
        sampling.seed = u64::try_from(seed).ok();
    }
    let real = |name: &str| parameters.real(name).map(|value| value as f32);
    let wrong = |error| Failure::new(ExitCode::Usage, error);
    sampling.set_mirostat(parameters.whole("mirostat"), real("mirostat_tau"), real("mirostat_eta")).map_err(wrong)?;
    sampling.check().map_err(wrong)?;
    Ok(sampling)
}

/// Longest answer in tokens; `None` goes on to the end of the context, which is also what 0 and less mean.
pub fn max_tokens(parameters: &Parameters) -> Option<usize> {
    parameters.whole("num_predict").and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0)
}

/// Options with what parameters say about loading where the options leave it open.
pub fn load_options(parameters: &Parameters, options: LoadOptions) -> LoadOptions {
    // 0 leaves it to the program.
    let count = |name: &str| parameters.whole(name).and_then(|count| usize::try_from(count).ok()).filter(|n| *n > 0);
    LoadOptions {
        context_length: options.context_length.or_else(|| count("num_ctx")),
        threads: options.threads.or_else(|| count("num_thread")),
        ..options
    }
}

#[cfg(test)]
mod tests {
    use lair_engine::sampler::MirostatVersion;
    use lair_store::modelfile::{ParameterKind, known_parameters};

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_known_parameter_is_honoured_or_refused_by_name() {
        for known in known_parameters() {
            let value = if known.kind == ParameterKind::Switch { "true" } else { "1" };
            let mut parameters = Parameters::default();
            match set(&mut parameters, known.name, &words(value)) {
                Ok(_) => assert!(parameters.get(known.name).is_some(), "{}", known.name),
                Err(message) => assert!(message.contains(known.name), "{message}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_set_is_refused_and_leaves_everything_as_it_was() {
        let mut parameters = Parameters::default();
        for (name, value, word) in [
            ("temprature", "1", "`temperature`"),
            ("colour", "red", "/? parameters"),
            ("top_k", "1.5", "top_k"),
            ("temperature", "warm", "warm"),
            ("temperature", "1 2", "one value"),
            ("mirostat", "3", "mirostat"),
            ("use_mlock", "true", "use_mlock"),
        ] {
            let message = set(&mut parameters, name, &words(value)).expect_err(name);
            assert!(message.contains(word), "{message}");
        }
        assert!(parameters.is_empty());
    }

    #[test]
    fn parameters_become_sampling_and_limits() {
        let mut parameters = Parameters::default();
        for (name, value) in [
            ("temperature", "0.25"),
            ("top_k", "-1"),
            ("repeat_last_n", "-1"),
            ("seed", "7"),
            ("mirostat", "1"),
            ("mirostat_tau", "3.5"),
            ("max_tokens", "12"),
            ("stop", "one two"),
            ("stop", "three"),
            ("num_ctx", "512"),
            ("num-thread", "3"),
        ] {
            set(&mut parameters, name, &words(value)).expect(name);
        }
        let sampling = sampling(&parameters, &Sampling::default(), 4096).expect("in range");
        assert_eq!((sampling.temperature, sampling.top_k, sampling.penalty_last_n), (0.25, 0, 4096));
        let mirostat = sampling.mirostat.expect("set");
        assert_eq!((mirostat.version, mirostat.target, mirostat.rate), (MirostatVersion::One, 3.5, 0.1));
        assert_eq!((sampling.seed, max_tokens(&parameters)), (Some(7), Some(12)));
        assert_eq!(parameters.stop(), ["three"], "the last wish counts");
        let options = load_options(&parameters, LoadOptions { threads: Some(1), ..LoadOptions::default() });
        assert_eq!((options.context_length, options.threads), (Some(512), Some(1)), "what was given stays");
        set(&mut parameters, "num_predict", &words("-1")).expect("unlimited");
        set(&mut parameters, "seed", &words("-1")).expect("another each time");
        assert_eq!(max_tokens(&parameters), None);
        assert_eq!(super::sampling(&parameters, &Sampling::default(), 1).expect("in range").seed, None);
        set(&mut parameters, "top_p", &words("2")).expect("a number");
        assert!(super::sampling(&parameters, &Sampling::default(), 1).is_err(), "out of range");
    }

    #[test]
    fn a_stored_parameter_without_effect_is_named() {
        let mut parameters = Parameters::default();
        for (name, value) in [("tfs_z", "2"), ("num_keep", "24"), ("num_gpu", "1"), ("mirostat", "2")] {
            parameters.set(name, value).expect("known");
        }
        let warnings = warnings(&parameters);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("tfs_z 2"), "{warnings:?}");
    }
}
