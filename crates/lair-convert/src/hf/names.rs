//! From the tensors of a checkpoint to those of a model: names, changes, stacks of experts.

use std::collections::BTreeMap;

use lair_gguf::TensorType;
use lair_model::spec::Source;
use lair_model::spec::source::{Change, End, Layers, NormOffset, Renaming, Values};

use super::config::{HfConfig, LayerKind};
use super::derived;
use super::facts::{Facts, layer_of};
use super::values;
use crate::error::{ConvertError, printable};
use crate::latent::latent_part;
use crate::matrix::{Piece, SourceTensor};
use crate::recipe::{Recipe, ValueChange};
use crate::reshape::reshaped;

/// Ends of tensors that older programs stored and that no model needs: angles that can be computed.
const LEFT_OUT_EVERYWHERE: [&str; 2] = [".rotary_emb.inv_freq", ".rope.freqs"];

/// What a checkpoint's tensors make.
pub(crate) struct Planned {
    /// The tensors of the model, by name.
    pub(crate) recipes: Vec<Recipe>,
    /// Names in the checkpoint of those that no model needs.
    pub(crate) left_out: Vec<String>,
    /// Tensors whose numbers are keys of the model, by the key and the layer.
    pub(crate) keys: BTreeMap<String, BTreeMap<usize, SourceTensor>>,
}

/// Plans the tensors of the model.
pub(crate) fn plan(
    tensors: Vec<SourceTensor>,
    architecture: &'static str,
    source: &Source,
    config: &HfConfig,
) -> Result<Planned, ConvertError> {
    let (facts, kinds) = (&config.facts(), config.all_layer_kinds());
    let table_layers = derived::table_layers(config) as usize;
    let has_head = tensors.iter().any(|tensor| tensor.name == "lm_head.weight");
    let mut keys: BTreeMap<String, BTreeMap<usize, SourceTensor>> = BTreeMap::new();
    // By the model's name, and by the index of the expert.
    let mut parts: BTreeMap<String, BTreeMap<usize, Part>> = BTreeMap::new();
    let (mut left_out, mut unused) = (Vec::new(), Vec::new());
    for tensor in tensors {
        let name = tensor.name.replace("e_score_correction_bias", "e_score_correction.bias");
        let name = name.replace(".expert_bias", ".expert.bias");
        if is_left_out(&name, source) || is_behind_the_last_layer(&name, facts) {
            left_out.push(tensor.name);
            continue;
        }
        let targets = targets(&name, source, facts.has_experts);
        if targets.is_empty() {
            unused.push(tensor.name.clone());
        }
        for Target { name: target, expert, change, values, layers, is_key } in targets {
            let layer = layer_of_target(&target);
            let kind = layer.and_then(|layer| kinds.get(layer)).copied().unwrap_or(LayerKind::Attention);
            let is_other = match layers {
                Layers::All => false,
                Layers::WithAttention => kind != LayerKind::Attention,
                Layers::WithoutAttention => kind == LayerKind::Attention,
                Layers::WithoutTable => layer.is_some_and(|layer| layer < table_layers),
            };
            // A head of its own counts before the embedding's table.
            let is_no_head =
                values == Values::ScaledHead && name != "lm_head.weight" && (has_head || !values::scales_head(config));
            if is_other || is_no_head {
                continue;
            }
            if is_key {
                keys.entry(target).or_default().insert(expert, tensor.clone());
                continue;
            }
            let target = behind_the_first_stack(target, config)?;
            let others = parts.entry(target).or_default();
            let tensor = match change {
                Change::LatentKeys | Change::LatentValues => {
                    latent_part(tensor.clone(), change, config.latent_rows(layer.unwrap_or(0)))?
                }
                change => reshaped(tensor.clone(), change, facts)?,
            };
            if let Some(other) = others.insert(expert, Part { tensor, change, values }) {
                let other = &other.tensor.name;
                let what = format!("a checkpoint with both `{}` and `{}`", printable(other), printable(&name));
                return Err(ConvertError::Unsupported { what });
            }
        }
    }
    if let Some(first) = unused.first() {
        let first = printable(first);
        return Err(ConvertError::UnusedTensors { architecture, count: unused.len(), first });
    }
    let recipes = parts.into_iter().map(|(name, parts)| recipe(name, parts, source, facts, config));
    Ok(Planned { recipes: recipes.collect::<Result<_, _>>()?, left_out, keys })
}

/// The layer of a tensor of the model.
fn layer_of_target(name: &str) -> Option<usize> {
    name.split_once("blk.")?.1.split('.').next()?.trim_start_matches('+').parse().ok()
}

/// The name of a tensor whose layer is counted behind those of another stack.
fn behind_the_first_stack(name: String, config: &HfConfig) -> Result<String, ConvertError> {
    let Some((layer, stem)) = name.strip_prefix("blk.+").and_then(|rest| rest.split_once('.')) else { return Ok(name) };
    let place =
        layer.parse::<u32>().ok().zip(config.stack_length()).and_then(|(layer, length)| layer.checked_add(length));
    match place {
        Some(place) => Ok(format!("blk.{place}.{stem}")),
        None => Err(ConvertError::Unsupported { what: "stacks of layers without their length".to_owned() }),
    }
}

/// Whether no model needs a tensor.
fn is_left_out(name: &str, source: &Source) -> bool {
    let stripped = without_root(name, source);
    let matches = |entry: &&'static str| {
        name.ends_with(*entry) && !entry.ends_with('.')
            || entry.ends_with('.')
                && (name.starts_with(*entry) || stripped.starts_with(*entry) || {
                    name.strip_prefix("model.").is_some_and(|rest| rest.starts_with(*entry))
                })
    };
    source.left_out.iter().any(matches) || LEFT_OUT_EVERYWHERE.iter().any(matches)
}

/// Whether a tensor belongs to layers that predict further tokens, which stand behind those that run.
fn is_behind_the_last_layer(name: &str, facts: &Facts) -> bool {
    let index = name.split_once("layers.").and_then(|(_, rest)| rest.split('.').next()?.parse::<u32>().ok());
    index.is_some_and(|index| facts.layer_count.is_some_and(|count| index >= count))
}

fn without_root<'n>(name: &'n str, source: &Source) -> &'n str {
    source.roots.iter().find_map(|root| name.strip_prefix(root)).unwrap_or(name)
}

/// What comes together in a tensor of the model.
struct Part {
    tensor: SourceTensor,
    change: Change,
    values: Values,
}

/// What a tensor of the checkpoint makes.
pub(crate) struct Target {
    /// The name in the model.
    pub(crate) name: String,
    /// The index of the expert, where there are some.
    pub(crate) expert: usize,
    pub(crate) change: Change,
    pub(crate) values: Values,
    /// In which layers.
    pub(crate) layers: Layers,
    /// Whether it is a key of the model, and `expert` the layer.
    pub(crate) is_key: bool,
}

/// What a tensor of the checkpoint makes.
pub(crate) fn targets(name: &str, source: &Source, has_experts: bool) -> Vec<Target> {
    let name = without_root(name, source);
    let (stem, end) = match name.rsplit_once('.') {
        Some((stem, "weight")) => (stem, "weight"),
        Some((stem, "bias")) => (stem, "bias"),
        _ => (name, "weight"),
    };
    let of_list = |list: &[Renaming]| -> Vec<Target> {
        let that_fit = |name: &str| -> Vec<(Renaming, [Option<usize>; 2])> {
            list.iter().filter_map(|renaming| Some((*renaming, indices(renaming.from, name)?))).collect()
        };
        // A name of a bias alone comes first.
        let of_bias = if end == "bias" { that_fit(name) } else { Vec::new() };
        let found = if of_bias.is_empty() { that_fit(stem) } else { of_bias };
        found
            .into_iter()
            .map(|(renaming, [layer, expert])| {
                // Where there is no layer, what is counted are parts of a stack.
                let is_of_layer = renaming.to.contains(['*', '+']);
                let (layer, expert) = if is_of_layer { (layer, expert) } else { (None, expert.or(layer)) };
                let target = renaming.to.replacen('*', &layer.unwrap_or(0).to_string(), 1);
                let target = target.replacen('+', &format!("+{}", layer.unwrap_or(0)), 1);
                let last = renaming.to.rsplit('.').next().unwrap_or(renaming.to);
                let by_stem = source.changes.iter().find(|(changed, _)| *changed == last);
                let change =
                    by_stem.filter(|_| renaming.change == Change::None).map_or(renaming.change, |found| found.1);
                let name = match renaming.end {
                    End::Same => format!("{target}.{end}"),
                    End::Is(end) => format!("{target}{end}"),
                    End::Key => target,
                };
                let is_key = renaming.end == End::Key;
                let (values, layers) = (renaming.values, renaming.layers);
                let expert = expert.unwrap_or(0).saturating_add(renaming.place);
                Target { name, expert, change, values, layers, is_key }
            })
            .collect()
    };
    let lists = [if has_experts { &[] } else { source.dense_names }, source.names, source.family];
    lists.into_iter().map(of_list).find(|found| !found.is_empty()).unwrap_or_default()
}

/// The indices that the stars of a pattern stand for, if a name fits it.
fn indices(pattern: &str, name: &str) -> Option<[Option<usize>; 2]> {
    let mut found = [None; 2];
    let mut count = 0;
    let mut names = name.split('.');
    for expected in pattern.split('.') {
        let part = names.next()?;
        if let Some(before) = expected.strip_suffix('*') {
            let part = part.strip_prefix(before)?;
            // Only digits: `parse` would take a sign.
            let is_index = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *found.get_mut(count)? = Some(part.parse().ok().filter(|_| is_index)?);
            count += 1;
        } else if expected != part {
            return None;
        }
    }
    names.next().is_none().then_some(found)
}

/// Puts one tensor together.
fn recipe(
    name: String,
    parts: BTreeMap<usize, Part>,
    source: &Source,
    facts: &Facts,
    config: &HfConfig,
) -> Result<Recipe, ConvertError> {
    let facts = &facts.of_tensor(&name);
    let count = parts.len();
    if let Some((last, _)) = parts.last_key_value()
        && *last != count - 1
    {
        return Err(ConvertError::Unsupported {
            what: format!("`{name}` of {count} experts, the last of which is {last},"),
        });
    }
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let stem = stem.rsplit('.').next().unwrap_or(stem);
    let mut changed = ValueChange::Same;
    let mut pieces = Vec::new();
    let mut weight_type: Option<TensorType> = None;
    let mut shapes = Vec::new();
    let is_table = parts.values().all(|part| part.change == Change::TableParts);
    let is_whole = parts.values().all(|part| part.values == Values::Whole);
    for Part { tensor, change, values } in parts.into_values() {
        if values != Values::Same {
            changed = value_change(values, stem, &name, &tensor, (facts, config))?;
        }
        let weight = tensor.weight_type;
        // Experts of different types meet in the widest.
        weight_type = Some(weight_type.map_or(weight, |other| if other == weight { weight } else { TensorType::F32 }));
        for matrix in tensor.matrices {
            pieces.push(Piece::new(matrix, change, stem, facts, &tensor.name)?);
        }
        shapes.push(tensor.shape);
    }
    let shape = match is_table {
        true => shape_of_table(&name, &pieces)?,
        false => shape_of(&name, &pieces, &shapes)?,
    };
    if source.norm_offset == NormOffset::One && is_offset_norm(&name) {
        // No such norm has other numbers changed.
        changed = ValueChange::Plus(1.0);
    }
    let weight_type = weight_type.filter(|_| changed == ValueChange::Same).unwrap_or(TensorType::F32);
    let weight_type = if is_whole { TensorType::I32 } else { weight_type };
    Ok(Recipe { name, shape, weight_type, pieces, values: changed })
}

/// What is made of every number of the tensor `name` of the model.
fn value_change(
    values: Values,
    stem: &str,
    name: &str,
    tensor: &SourceTensor,
    (facts, config): (&Facts, &HfConfig),
) -> Result<ValueChange, ConvertError> {
    Ok(match values {
        Values::Same => ValueChange::Same,
        Values::Plus(number) => ValueChange::Plus(number),
        Values::EmbeddingScale => ValueChange::Times(facts.embedding_scale),
        Values::HeadScale => ValueChange::Times(facts.head_scale),
        Values::HalvedByDepth => {
            let times = layer_of(name).unwrap_or(0).checked_div(facts.halved_every).unwrap_or(0);
            ValueChange::Times(0.5f32.powi(i32::try_from(times).unwrap_or(i32::MAX)))
        }
        Values::NegatedExponential => ValueChange::NegatedExponential,
        Values::NegatedSecondHalves => {
            let (rows, heads) = (tensor.shape.first().copied().unwrap_or(0), facts.heads_of(stem));
            if heads == 0 || !rows.is_multiple_of(2 * heads) {
                let (name, found) = (tensor.name.clone(), tensor.shape.clone());
                let expected = format!("rows in pairs for each of {heads} heads");
                return Err(ConvertError::TensorShape { name, found, expected });
            }
            ValueChange::NegatedSecondHalves { head_rows: rows / heads }
        }
        of_configuration => {
            let rows = tensor.matrices.first().map_or(0, |matrix| matrix.rows);
            return values::change_of(of_configuration, &tensor.name, rows, config);
        }
    })
}

/// Whether a tensor of the model is the weight of a norm that adds 1, where norms do: those within recurrent mixers do not.
pub(crate) fn is_offset_norm(name: &str) -> bool {
    name.strip_suffix(".weight").is_some_and(|stem| stem.ends_with("norm") && !stem.ends_with("ssm_norm"))
}

/// The shape of a table whose parts lie one behind the other.
fn shape_of_table(name: &str, pieces: &[Piece]) -> Result<Vec<u64>, ConvertError> {
    let columns = pieces.first().map_or(0, |piece| piece.matrix.columns);
    if let Some(other) = pieces.iter().find(|piece| piece.matrix.columns != columns) {
        let found = vec![other.rows, other.matrix.columns];
        return Err(ConvertError::TensorShape {
            name: name.to_owned(),
            found,
            expected: format!("{columns} columns, as of the first part"),
        });
    }
    Ok(vec![columns as u64, pieces.iter().map(|piece| piece.rows as u64).sum()])
}

/// The shape in the model, the fastest dimension first. All pieces must have the same.
fn shape_of(name: &str, pieces: &[Piece], shapes: &[Vec<usize>]) -> Result<Vec<u64>, ConvertError> {
    let size = |piece: &Piece| (piece.rows, piece.matrix.columns);
    let first = pieces.first().map_or((0, 0), size);
    if let Some(other) = pieces.iter().map(size).find(|other| *other != first) {
        let (found, expected) = (vec![other.0, other.1], format!("{} by {}, as of the first expert", first.0, first.1));
        return Err(ConvertError::TensorShape { name: name.to_owned(), found, expected });
    }
    let (rows, columns) = (first.0 as u64, first.1 as u64);
    let dimensions = shapes.first().map_or(0, Vec::len);
    Ok(match (dimensions, pieces.len() as u64) {
        // RWKV's shifts, one behind the other.
        (_, count) if name.ends_with("time_mix_lerp_fused.weight") => vec![rows * columns, 1, 1, count],
        (0 | 1, 1) => vec![rows],
        (0 | 1, count) => vec![rows, count],
        // Scores that one class stores as a single row.
        (2, 1) if rows == 1 && name.ends_with("exp_probs_b.bias") => vec![columns],
        (2, 1) => vec![columns, rows],
        (2 | 3, count) => vec![columns, rows, count],
        // A convolution: nothing is changed in it.
        _ => shapes[0].iter().rev().map(|length| *length as u64).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_indices_only() {
        assert_eq!(indices("layers.*.mlp.gate", "layers.12.mlp.gate"), Some([Some(12), None]));
        assert_eq!(indices("layers.*.e.*.w1", "layers.3.e.7.w1"), Some([Some(3), Some(7)]));
        for name in
            ["layers.x.mlp.gate", "layers.+1.mlp.gate", "layers.1.mlp", "layers.1.mlp.gate.more", "layers..mlp.gate"]
        {
            assert_eq!(indices("layers.*.mlp.gate", name), None, "{name}");
        }
    }

    #[test]
    fn a_family_inherits_names_and_states_what_differs() {
        let target = |source: &Source, name: &str| {
            let found = targets(name, source, true);
            let say = |t: Target| format!("{} {} {:?}", t.name, t.expert, t.change);
            found.into_iter().map(say).collect::<Vec<_>>()
        };
        let llama = target(&Source::LLAMA, "model.layers.2.self_attn.q_proj.weight");
        assert_eq!(llama, ["blk.2.attn_q.weight 0 NeighbourPairs"]);
        let usual = target(&Source::USUAL, "model.layers.2.self_attn.q_proj.bias");
        assert_eq!(usual, ["blk.2.attn_q.bias 0 None"]);
        let expert = target(&Source::USUAL, "model.layers.0.mlp.experts.5.down_proj.weight");
        assert_eq!(expert, ["blk.0.ffn_down_exps.weight 5 None"]);
        let fused = target(&Source::USUAL, "model.layers.1.mlp.experts.gate_up_proj");
        assert_eq!(fused.len(), 2, "gates and inputs");
        assert!(target(&Source::USUAL, "model.layers.1.mlp.other.weight").is_empty());
    }
}
