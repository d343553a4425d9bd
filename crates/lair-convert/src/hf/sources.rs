//! The way back: what checkpoints call a tensor of a model, by the same declaration that names it on the way here.

use lair_model::spec::Source;
use lair_model::spec::source::{Change, End, Renaming, Values};

use super::facts::Facts;
use crate::error::{ConvertError, printable};
use crate::matrix::RowOrder;

/// A tensor of a checkpoint that a tensor of a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its name, with `*` for the index of an expert, if each has its own.
    pub(crate) name: String,
    /// What was changed on the way here.
    pub(crate) change: Change,
    /// Whether the architecture calls it so itself, and not only its family.
    pub(crate) is_own: bool,
}

/// Last stems of what stands beside a model's layers and not below its root: heads.
const HEADS: [&str; 3] = ["lm_head", "embed_out", "score"];

/// What checkpoints may call the tensor `name` of a model, the architecture's own words first.
pub(crate) fn origins(name: &str, source: &Source, has_experts: bool) -> Vec<Origin> {
    let (stem, end) = match name.rsplit_once('.') {
        Some((stem, end @ ("weight" | "bias"))) => (stem, end),
        // Hunyuan 3 alone calls a bias by no end.
        Some((_, "exp_probs_b")) => (name, "bias"),
        _ => (name, "weight"),
    };
    let is_own = |renaming: &&Renaming| !source.names.iter().any(|own| own.from == renaming.from);
    let dense = if has_experts { &[] } else { source.dense_names };
    // A tensor with an end of its own is one that the way back does not know; `export` says so.
    let is_bare = stem == name && end == "bias";
    let has_usual_end = |renaming: &&Renaming| {
        // Of the two classes of BitNet that is written which keeps its weights.
        matches!(renaming.values, Values::Same | Values::TernaryOfClass(_))
            && (renaming.end == End::Same || is_bare && renaming.end == End::Is(""))
    };
    let family = source.family.iter().filter(is_own);
    let all = source.names.iter().chain(family).chain(dense).filter(has_usual_end);
    let last = stem.rsplit('.').next().unwrap_or(stem);
    let by_stem = source.changes.iter().find(|(changed, _)| *changed == last).map_or(Change::None, |found| found.1);
    all.filter_map(|renaming| {
        let layer = layer_of(renaming.to, stem)?;
        let from = layer.map_or(renaming.from.to_owned(), |layer| renaming.from.replacen('*', layer, 1));
        let root = if HEADS.contains(&from.as_str()) { "" } else { root_of(source) };
        let change = if renaming.change == Change::None { by_stem } else { renaming.change };
        // The one name of checkpoints whose end is no `.weight` or `.bias`.
        let name = format!("{root}{from}.{end}")
            .replace("e_score_correction.bias", "e_score_correction_bias")
            .replace(".expert.bias", ".expert_bias");
        let is_own = source.names.contains(renaming);
        Some(Origin { name, change, is_own })
    })
    .collect()
}

/// What stands before the names of a model that is not a part of another.
fn root_of(source: &Source) -> &'static str {
    let plain = source.roots.iter().find(|root| **root == "model.");
    plain.or(source.roots.first()).copied().unwrap_or("")
}

/// The index that the star of a pattern stands for, if the name fits it.
fn layer_of<'n>(pattern: &str, name: &'n str) -> Option<Option<&'n str>> {
    let Some((before, after)) = pattern.split_once('*') else { return (pattern == name).then_some(None) };
    let index = name.strip_prefix(before)?.strip_suffix(after)?;
    (!index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())).then_some(Some(index))
}

/// Whether a change gives all rows another order, and no more, so that it can be taken back.
fn is_only_of_rows(change: Change) -> bool {
    matches!(
        change,
        Change::None
            | Change::NeighbourPairs
            | Change::PartsOfHeads
            | Change::KeyGroups
            | Change::DeltaInputsInTurn
            | Change::ValueHeadsInTurn
    )
}

/// For each row of the checkpoint the row of the model, where a change has given them another order.
///
/// # Errors
/// If the rows of the tensor `name` do not fall into heads.
pub(crate) fn inverse_of(
    change: Change,
    rows: usize,
    stem: &str,
    facts: &Facts,
    name: &str,
) -> Result<Option<Vec<usize>>, ConvertError> {
    if !is_only_of_rows(change) {
        return Err(ConvertError::Unsupported { what: format!("the tensor `{}` to a checkpoint", printable(name)) });
    }
    match RowOrder::of_change(change, rows, stem, facts) {
        Ok((_, RowOrder::From(_))) => Ok(None),
        Ok((_, order)) => Ok(order.inverse(rows)),
        Err(expected) => Err(ConvertError::TensorShape { name: name.to_owned(), found: vec![rows], expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_model_lead_back_to_those_of_checkpoints() {
        let first = |name: &str| origins(name, &Source::LLAMA, true).into_iter().next();
        let of = |name: &str, change| Some(Origin { name: name.to_owned(), change, is_own: false });
        assert_eq!(first("token_embd.weight"), of("model.embed_tokens.weight", Change::None));
        assert_eq!(first("output.weight"), of("lm_head.weight", Change::None));
        assert_eq!(first("blk.12.attn_q.bias"), of("model.layers.12.self_attn.q_proj.bias", Change::NeighbourPairs));
        assert_eq!(first("blk.0.ffn_up_exps.weight"), of("model.layers.0.mlp.experts.*.up_proj.weight", Change::None));
        assert_eq!(first("blk.x.attn_q.weight"), None);
        assert_eq!(first("blk.0.unheard_of.weight"), None);
    }
}
