//! A mixture of experts on one token.

use super::{Reference, activate, add_scaled, apply_linear, network_row, sigmoid};
use crate::{Experts, Gating, Router};

/// The chosen experts' outputs on one normed row, weighted and summed, with the shared network's.
pub(super) fn experts_row(experts: &Experts<Reference>, normed: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0; experts.down.weight.rows];
    for (expert, weight) in route(&experts.router, normed) {
        let mut wide = vec![0.0; experts.up.weight.rows];
        apply_linear(&experts.up, expert, normed, &mut wide);
        let gate = experts.gate.as_ref().map(|linear| {
            let mut gate = vec![0.0; linear.weight.rows];
            apply_linear(linear, expert, normed, &mut gate);
            gate
        });
        activate(experts.activation, gate.as_deref(), &mut wide);
        let mut output = vec![0.0; sum.len()];
        apply_linear(&experts.down, expert, &wide, &mut output);
        add_scaled(&mut sum, &output, weight);
    }
    if let Some(network) = &experts.shared {
        let weight = experts.shared_gate.as_ref().map_or(1.0, |linear| {
            let mut score = [0.0];
            apply_linear(linear, 0, normed, &mut score);
            sigmoid(score[0])
        });
        add_scaled(&mut sum, &network_row(network, normed), weight);
    }
    sum
}

/// The experts a row takes, best first, with their weights. Of equal scores the lower index wins.
fn route(router: &Router<Reference>, normed: &[f32]) -> Vec<(usize, f32)> {
    let mut scores = vec![0.0; router.linear.weight.rows];
    apply_linear(&router.linear, 0, normed, &mut scores);
    match router.gating {
        Gating::Softmax => softmax(&mut scores),
        Gating::Sigmoid => scores.iter_mut().for_each(|x| *x = sigmoid(*x)),
        Gating::SoftmaxOfChosen => {}
    }
    let rank = |index: usize| scores[index] + router.selection_bias.as_ref().map_or(0.0, |bias| bias[index]);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| rank(b).total_cmp(&rank(a)));
    order.truncate(router.expert_used_count);
    let mut weights: Vec<f32> = order.iter().map(|&index| scores[index]).collect();
    if router.gating == Gating::SoftmaxOfChosen {
        softmax(&mut weights);
    }
    if router.normalise {
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    order.into_iter().zip(weights.into_iter().map(|weight| weight * router.scale)).collect()
}

fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|x| *x /= sum);
}
