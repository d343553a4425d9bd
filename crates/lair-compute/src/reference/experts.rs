//! A mixture of experts on one token.

use super::{Reference, activate, add_scaled, apply_linear, network_row, sigmoid, softplus};
use crate::{Activation, ExpertGroups, Experts, Gating, Linear, Router, Weighing};

/// The chosen experts' outputs on one normed row, weighted and summed, with the shared network's. `routed` is what the
/// router reads, `token` what a table chooses by.
pub(super) fn experts_row(
    experts: &Experts<Reference>,
    normed: &[f32],
    routed: &[f32],
    token: Option<u32>,
) -> Vec<f32> {
    let mut sum = vec![0.0; experts.down.weight.rows];
    let (choices, scores) = route(&experts.router, routed, token);
    for &(expert, weight) in &choices {
        let (input_weight, weight) = match experts.weighing {
            Weighing::Output => (1.0, weight),
            Weighing::Input => (weight, 1.0),
        };
        let normed: Vec<f32> = normed.iter().map(|value| value * input_weight).collect();
        let network = (experts.gate.as_ref(), &experts.up, &experts.down);
        add_scaled(&mut sum, &expert_row(network, experts.activation, expert, &normed), weight);
    }
    if let Some(adjugates) = &experts.adjugates {
        let first = sum.clone();
        let network = (Some(&adjugates.gate), &adjugates.up, &adjugates.down);
        let used = choices.len().min(scores.len() / adjugates.group_size);
        let taken: Vec<usize> = choices[..used].iter().map(|(expert, _)| expert / adjugates.group_size).collect();
        for (&index, weight) in taken.iter().zip(weights_of(&experts.router, &scores, &taken)) {
            let output = expert_row(network, experts.activation, index, &first);
            add_scaled(&mut sum, &output, weight * adjugates.scale);
        }
    }
    if let Some(network) = &experts.shared {
        let weight = experts.shared_gate.as_ref().map_or(1.0, |linear| {
            let mut score = [0.0];
            apply_linear(linear, 0, normed, &mut score);
            sigmoid(score[0])
        });
        add_scaled(&mut sum, &network_row(network, normed), weight);
    }
    sum.iter_mut().for_each(|value| *value *= experts.sum_scale);
    sum
}

/// One expert's output on one row.
fn expert_row(
    (gate, up, down): (Option<&Linear<Reference>>, &Linear<Reference>, &Linear<Reference>),
    activation: Activation,
    expert: usize,
    input: &[f32],
) -> Vec<f32> {
    let product = |linear: &Linear<Reference>, input: &[f32]| {
        let mut output = vec![0.0; linear.weight.rows];
        apply_linear(linear, expert, input, &mut output);
        output
    };
    let mut wide = product(up, input);
    activate(activation, gate.map(|gate| product(gate, input)).as_deref(), &mut wide);
    product(down, &wide)
}

/// The experts a row takes, best first or as a table has them, with their weights, and the scores of all. Of equal scores the lower index wins.
fn route(router: &Router<Reference>, routed: &[f32], token: Option<u32>) -> (Vec<(usize, f32)>, Vec<f32>) {
    let mut scores = vec![0.0; router.linear.weight.rows];
    apply_linear(&router.linear, 0, routed, &mut scores);
    match router.gating {
        Gating::Softmax => softmax(&mut scores),
        Gating::Sigmoid => scores.iter_mut().for_each(|x| *x = sigmoid(*x)),
        Gating::SoftmaxOfChosen => {}
        Gating::SqrtSoftplus => scores.iter_mut().for_each(|x| *x = softplus(f64::from(*x)).sqrt() as f32),
    }
    let bias = |index: usize| router.selection_bias.as_ref().map_or(0.0, |bias| bias[index]);
    let mut ranks: Vec<f32> = scores.iter().enumerate().map(|(index, score)| score + bias(index)).collect();
    if let Some(groups) = router.groups {
        leave_best_groups(groups, &mut ranks);
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| ranks[b].total_cmp(&ranks[a]));
    order.truncate(router.expert_used_count);
    if let Some(table) = &router.table {
        let start = token.expect("a token for each row") as usize * router.expert_used_count;
        order.clear();
        order.extend(table[start..start + router.expert_used_count].iter().map(|&expert| expert as usize));
    }
    let mut weights = weights_of(router, &scores, &order);
    if let Some(scales) = &router.expert_scales {
        weights.iter_mut().zip(&order).for_each(|(weight, &expert)| *weight *= scales[expert]);
    }
    (order.into_iter().zip(weights).collect(), scores)
}

/// The weights of experts by their scores.
fn weights_of(router: &Router<Reference>, scores: &[f32], chosen: &[usize]) -> Vec<f32> {
    let mut weights: Vec<f32> = chosen.iter().map(|&index| scores[index]).collect();
    if router.gating == Gating::SoftmaxOfChosen {
        softmax(&mut weights);
    }
    if router.normalise {
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    weights.into_iter().map(|weight| weight * router.scale).collect()
}

/// Ranks of experts outside of the best groups become the lowest. Of equal groups the lower index wins.
fn leave_best_groups(groups: ExpertGroups, ranks: &mut [f32]) {
    let size = ranks.len() / groups.count;
    let sum_of_best = |group: &[f32]| {
        let mut sorted = group.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted.iter().take(2).sum::<f32>()
    };
    let sums: Vec<f32> = ranks.chunks_exact(size).map(sum_of_best).collect();
    let mut order: Vec<usize> = (0..groups.count).collect();
    order.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
    for &group in &order[groups.used_count..] {
        ranks[group * size..][..size].fill(f32::NEG_INFINITY);
    }
}

fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|x| *x /= sum);
}
