//! Causal convolutions, token by token.

use super::elementwise::activate;
use super::{Reference, StateLayer};
use crate::{Batch, Convolution, ConvolutionBuffers};

/// The region. The history is `[length - 1, channels]`, the oldest first.
pub(super) fn convolve(
    batch: &Batch<'_>,
    layer: &Convolution<Reference>,
    state: &mut StateLayer,
    buffers: ConvolutionBuffers<'_, Reference>,
) {
    let ConvolutionBuffers { input, input_factor, output_factor, output } = buffers;
    for rows in batch.sequences {
        let history = state.conv_of(rows);
        for row in rows.first_row..rows.first_row + rows.row_count {
            let mut values = input.row(row).to_vec();
            if let Some(factor) = input_factor {
                values.iter_mut().zip(factor.row(row)).for_each(|(value, factor)| *value *= factor);
            }
            let out = output.row_mut(row);
            out.copy_from_slice(&step(&layer.weight, layer.bias.as_deref(), layer.length, history, &values));
            if let Some(activation) = layer.activation {
                activate(activation, None, out);
            }
            if let Some(factor) = output_factor {
                out.iter_mut().zip(factor.row(row)).for_each(|(out, factor)| *out *= factor);
            }
        }
    }
}

/// One token; the history moves on.
pub(super) fn step(weight: &[f32], bias: Option<&[f32]>, taps: usize, history: &mut [f32], input: &[f32]) -> Vec<f32> {
    let channels = input.len();
    let output = (0..channels)
        .map(|channel| {
            let weights = &weight[channel * taps..][..taps];
            let past: f64 =
                (0..taps - 1).map(|tap| f64::from(weights[tap]) * f64::from(history[tap * channels + channel])).sum();
            let bias = bias.map_or(0.0, |bias| f64::from(bias[channel]));
            (bias + past + f64::from(weights[taps - 1]) * f64::from(input[channel])) as f32
        })
        .collect();
    if taps > 1 {
        history.copy_within(channels.., 0);
        history[(taps - 2) * channels..].copy_from_slice(input);
    }
    output
}
