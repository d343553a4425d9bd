//! `lair imatrix show`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use lair_convert::quantize::{
    ImportanceMatrix, LayerStatistics, TensorStatistics, layer_statistics, tensor_statistics,
};
use serde_json::json;

use crate::failure::Outcome;

/// Which file.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// An importance matrix, in either format
    file: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn show(args: &ShowArgs) -> Outcome {
    let matrix = ImportanceMatrix::read(&args.file)?;
    let mut tensors = tensor_statistics(&matrix);
    let layers = layer_statistics(&tensors);
    let mut out = std::io::stdout().lock();
    if args.json {
        let result = json!({
            "datasets": matrix.datasets, "chunks": matrix.chunk_count, "chunk_length": matrix.chunk_size,
            "tensors": tensors.iter().map(tensor_json).collect::<Vec<_>>(),
            "layers": layers.iter().map(layer_json).collect::<Vec<_>>(),
        });
        writeln!(out, "{result}")?;
        return Ok(());
    }
    let kind = |tensor: &TensorStatistics| kind_of(&tensor.name).to_owned();
    tensors.sort_by(|a, b| kind(a).cmp(&kind(b)).then(b.total.total_cmp(&a.total)));
    writeln!(out, "{} tensors, {} chunks of {} tokens", tensors.len(), matrix.chunk_count, matrix.chunk_size)?;
    matrix.datasets.iter().try_for_each(|name| writeln!(out, "of {name}"))?;
    writeln!(out, "\nMeans of squares of what each matrix is multiplied with, the greatest sums of a kind first:\n")?;
    let width = tensors.iter().map(|tensor| kind_of(&tensor.name).len()).max().unwrap_or(0).max(6);
    writeln!(
        out,
        "{:>5}  {:width$}  {:>12}  {:>10}  {:>12}  {:>10}  {:>10}  {:>7}  {:>7}  {:>8}  {:>8}  {:>8}",
        "layer",
        "tensor",
        "sum",
        "least",
        "greatest",
        "mean",
        "deviation",
        "columns",
        "active",
        "evenness",
        "outliers",
        "similar"
    )?;
    for tensor in &tensors {
        let layer = tensor.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        let unseen = if tensor.unseen_experts > 0 {
            format!("  {} experts saw nothing", tensor.unseen_experts)
        } else {
            String::new()
        };
        writeln!(
            out,
            "{layer:>5}  {:width$}  {:>12.2}  {:>10.4}  {:>12.4}  {:>10.3}  {:>10.3}  {:>7}  {:>6.2}%  {:>7.2}%  {:>7.2}%  {:>8}{unseen}",
            kind_of(&tensor.name),
            tensor.total,
            tensor.least,
            tensor.greatest,
            tensor.mean,
            tensor.deviation,
            tensor.columns,
            100.0 * tensor.active,
            100.0 * tensor.evenness,
            100.0 * tensor.outliers,
            tensor.similarity.map_or_else(|| "-".to_owned(), |x| format!("{x:.4}")),
        )?;
    }
    writeln!(out, "\n{:>5}  {:>12}  {:>8}  {:>8}", "layer", "sum", "outliers", "similar")?;
    for layer in &layers {
        let (number, outliers) = (layer.layer, 100.0 * layer.outliers);
        writeln!(out, "{number:>5}  {:>12.2}  {outliers:>7.2}%  {:>8.4}", layer.total, layer.similarity)?;
    }
    Ok(())
}

/// `attn_q` of `blk.3.attn_q.weight`.
fn kind_of(name: &str) -> &str {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(_, kind)| kind)
}

fn tensor_json(tensor: &TensorStatistics) -> serde_json::Value {
    json!({
        "name": tensor.name, "layer": tensor.layer, "columns": tensor.columns, "experts": tensor.experts,
        "unseen_experts": tensor.unseen_experts, "rows_least": tensor.rows.0, "rows_most": tensor.rows.1,
        "sum": tensor.total, "least": tensor.least, "mean": tensor.mean, "greatest": tensor.greatest,
        "deviation": tensor.deviation, "active": tensor.active, "entropy": tensor.entropy,
        "evenness": tensor.evenness, "outliers": tensor.outliers, "similarity": tensor.similarity,
    })
}

fn layer_json(layer: &LayerStatistics) -> serde_json::Value {
    json!({
        "layer": layer.layer, "sum": layer.total, "outliers": layer.outliers, "similarity": layer.similarity,
    })
}
