//! Which tensors the result has, and what each is made of.

use std::collections::BTreeSet;

use super::config::{MergeConfig, Method, Settings, Slice, Source};
use super::error::MergeError;
use super::input::{Input, in_layer, layer_of};
use super::methods::Shared;
use crate::element::ElementType;

/// A merge, checked.
pub(super) struct Plan {
    pub(super) method: Method,
    pub(super) tensors: Vec<PlannedTensor>,
    /// For each layer of the result the model and its layer that it is counted as: what says something of it.
    pub(super) layers: Vec<usize>,
    /// The model whose configuration the result has.
    pub(super) first: usize,
    /// The model whose tokenizer the result has.
    pub(super) tokenizer: usize,
    /// What the result is stored as, if that was said.
    pub(super) element: Option<ElementType>,
}

/// A tensor of the result.
pub(super) struct PlannedTensor {
    pub(super) name: String,
    /// The slowest dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) element: ElementType,
    pub(super) parts: Vec<PlannedPart>,
    pub(super) shared: Shared,
}

/// A model's part in a tensor.
pub(super) struct PlannedPart {
    pub(super) model: usize,
    pub(super) name: String,
    pub(super) is_base: bool,
    pub(super) weight: f64,
    pub(super) density: f64,
    pub(super) scale: Option<f64>,
}

/// A slice with layers of every source, and its base among them where there is one.
struct Resolved {
    sources: Vec<Source>,
    layers: Vec<(usize, usize)>,
    base: Option<usize>,
    parameters: Settings,
}

impl Plan {
    /// Plans the merge of `inputs`, the models of the configuration in its order.
    pub(super) fn new(config: &MergeConfig, inputs: &[Input]) -> Result<Plan, MergeError> {
        check_architectures(inputs)?;
        let slices: Vec<Resolved> =
            config.slices.iter().map(|slice| resolve(config, slice, inputs)).collect::<Result<_, _>>()?;
        let (Some(head), Some(tail)) = (slices.first(), slices.last()) else {
            return Err(MergeError::config("`slices`", "none", "at least one"));
        };
        let planner = Planner { config, inputs };
        let mut tensors = Vec::new();
        // What stands before the layers is of the first slice, what stands behind them of the last.
        let first_model = head.base.unwrap_or(head.sources[0].model);
        for name in inputs[first_model].tensors.keys().filter(|name| layer_of(name).is_none()) {
            let slice = if is_before_layers(name) { head } else { tail };
            let names = vec![name.clone(); slice.sources.len()];
            tensors.push(planner.tensor(name.clone(), slice, names, 0.0)?);
        }
        let mut layers = Vec::new();
        for slice in &slices {
            let count = slice.layers[0].1 - slice.layers[0].0;
            for offset in 0..count {
                let t = if count > 1 { offset as f64 / (count - 1) as f64 } else { 1.0 };
                let model = &inputs[slice.sources[0].model];
                let layer = slice.layers[0].0 + offset;
                for name in model.tensors.keys().filter(|name| layer_of(name) == Some(layer)) {
                    let names = slice.layers.iter().map(|range| in_layer(name, range.0 + offset)).collect();
                    tensors.push(planner.tensor(in_layer(name, layers.len()), slice, names, t)?);
                }
                layers.push(layer);
            }
        }
        check_nothing_is_left(&slices, inputs)?;
        let first = config.base.unwrap_or(first_model);
        Ok(Plan {
            method: config.method,
            tensors,
            layers,
            first,
            tokenizer: config.tokenizer.unwrap_or(first),
            element: config.element,
        })
    }
}

fn check_architectures(inputs: &[Input]) -> Result<(), MergeError> {
    for pair in inputs.windows(2) {
        if pair[0].architecture != pair[1].architecture {
            let cause = format!("one is `{}`, the other `{}`", pair[0].architecture, pair[1].architecture);
            return Err(mismatch(&pair[0], &pair[1], cause));
        }
    }
    Ok(())
}

/// Whether a tensor outside of layers comes before them.
fn is_before_layers(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let last = stem.rsplit('.').next().unwrap_or(stem);
    (name.contains("embed") || name.contains("embd") || ["wte", "wpe"].contains(&last)) && last != "embed_out"
}

/// Completes a slice and checks it against the method and the models.
fn resolve(config: &MergeConfig, slice: &Slice, inputs: &[Input]) -> Result<Resolved, MergeError> {
    let method = config.method;
    let base = slice.base.or(config.base);
    let mut sources = slice.sources.clone();
    if method.needs_base() {
        let base =
            base.ok_or_else(|| MergeError::config("`base_model`", "nothing", format!("one, for {}", method.name())))?;
        if !sources.iter().any(|source| source.model == base) {
            let layers = sources.first().and_then(|source| source.layers);
            sources.push(Source { model: base, layers, parameters: Settings::new() });
        }
    }
    let count = sources.len();
    let (least, most) = match method {
        Method::Slerp => (2, 2),
        Method::Passthrough => (1, 1),
        Method::Linear => (1, usize::MAX),
        _ => (2, usize::MAX),
    };
    if count < least || count > most {
        let expected = if least == most { least.to_string() } else { format!("at least {least}") };
        let found = format!("{count}, the base among them");
        return Err(MergeError::config(format!("the models of {}", method.name()), found, expected));
    }
    let mut layers = Vec::new();
    for source in &sources {
        let input = &inputs[source.model];
        let (first, end) = source.layers.unwrap_or((0, input.layer_count));
        if end > input.layer_count {
            let expected = format!("layers of the {} that `{}` has", input.layer_count, input.name);
            return Err(MergeError::config("`layer_range`", format!("[{first}, {end}]"), expected));
        }
        let length = |range: (usize, usize)| range.1 - range.0;
        if let Some(other) = layers.first().filter(|other| length(**other) != end - first) {
            let cause = format!("{} layers of one, {} of the other", length(*other), end - first);
            return Err(mismatch(&inputs[sources[0].model], input, cause));
        }
        layers.push((first, end));
    }
    Ok(Resolved { sources, layers, base: base.filter(|_| method.needs_base()), parameters: slice.parameters.clone() })
}

struct Planner<'p> {
    config: &'p MergeConfig,
    inputs: &'p [Input],
}

impl Planner<'_> {
    /// Plans the tensor `name`, made of the tensors `names` of the sources.
    fn tensor(&self, name: String, slice: &Resolved, names: Vec<String>, t: f64) -> Result<PlannedTensor, MergeError> {
        let lead = &self.inputs[slice.sources[0].model];
        let facts = |index: usize| {
            let input = &self.inputs[slice.sources[index].model];
            input.tensors.get(&names[index]).ok_or_else(|| {
                mismatch(lead, input, format!("`{}` is in one of them only", crate::error::printable(&names[index])))
            })
        };
        let first = facts(0)?.clone();
        let mut parts = Vec::new();
        for (index, source) in slice.sources.iter().enumerate() {
            let input = &self.inputs[source.model];
            let tensor = facts(index)?;
            if tensor.shape != first.shape {
                let cause =
                    format!("`{}` is {:?} in one and {:?} in the other", names[index], first.shape, tensor.shape);
                return Err(mismatch(lead, input, cause));
            }
            let own = [&source.parameters, &slice.parameters, &self.config.parameters];
            let number = |key: &str| own.iter().find_map(|settings| settings.get(key)?.number(&tensor.filter_name, t));
            let is_base = slice.base == Some(source.model);
            let weight = match (number("weight"), self.config.method) {
                (Some(weight), _) => weight,
                _ if is_base => 0.0,
                (None, Method::Slerp | Method::Passthrough) => 1.0,
                (None, _) => {
                    let of = format!("`{}` of `{}`", tensor.filter_name, input.name);
                    return Err(MergeError::config("`weight`", format!("none for {of}"), "a number"));
                }
            };
            let density = number("density").unwrap_or(1.0);
            if !(0.0..=1.0).contains(&density) {
                return Err(MergeError::config("`density`", density, "0 to 1"));
            }
            parts.push(PlannedPart {
                model: source.model,
                name: names[index].clone(),
                is_base,
                weight,
                density,
                scale: number("scale"),
            });
        }
        let shared = self.shared(slice, &first.filter_name, t, &parts)?;
        let element = parts.iter().position(|part| part.is_base).map_or(Ok(&first), facts)?.element;
        Ok(PlannedTensor { name, shape: first.shape, element, parts, shared })
    }

    fn shared(&self, slice: &Resolved, name: &str, t: f64, parts: &[PlannedPart]) -> Result<Shared, MergeError> {
        let method = self.config.method;
        let of_all = [&slice.parameters, &self.config.parameters];
        let number = |key: &str| of_all.iter().find_map(|settings| settings.get(key)?.number(name, t));
        let flag = |key: &str| of_all.iter().find_map(|settings| settings.get(key)?.flag(name, t));
        let place = match (number("t"), method) {
            (None, Method::Slerp) => return Err(MergeError::config("`t`", format!("none for `{name}`"), "a number")),
            (place, _) => place.unwrap_or(0.0),
        };
        let normalize = flag("normalize").unwrap_or(matches!(method, Method::Linear | Method::Ties));
        let sum: f64 = parts.iter().map(|part| part.weight).sum();
        if method == Method::Linear && normalize && sum.abs() < 1e-8 {
            return Err(MergeError::config(
                "`weight`",
                format!("weights of `{name}` that sum to {sum}"),
                "another sum",
            ));
        }
        Ok(Shared {
            t: place,
            normalize,
            rescale: flag("rescale").unwrap_or(matches!(method, Method::DareTies | Method::DareLinear)),
            lambda: number("lambda").unwrap_or(1.0) as f32,
        })
    }
}

/// Tensors of the others that the first does not have would be lost.
fn check_nothing_is_left(slices: &[Resolved], inputs: &[Input]) -> Result<(), MergeError> {
    for slice in slices {
        let lead = &inputs[slice.sources[0].model];
        for source in &slice.sources[1..] {
            let input = &inputs[source.model];
            let known: BTreeSet<&String> = lead.tensors.keys().collect();
            let is_kept = |name: &&String| known.contains(name) || layer_of(name).is_some();
            if let Some(name) = input.tensors.keys().find(|name| !is_kept(name)) {
                let cause = format!("`{}` is in one of them only", crate::error::printable(name));
                return Err(mismatch(lead, input, cause));
            }
        }
    }
    Ok(())
}

fn mismatch(first: &Input, second: &Input, cause: String) -> MergeError {
    MergeError::Mismatch { first: first.name.clone(), second: second.name.clone(), cause }
}
