//! A mixture of experts: tokens are sorted by expert once, every expert's panels then serve all of its tokens.
//!
//! A token's expert outputs are kept apart and summed in the order of its choice, best first, so its result does not
//! depend on who else takes the same experts.
#![allow(unsafe_code)] // Rows of activations are written by several threads.

use super::feed_forward::{Widening, quantised_rows, widen};
use super::kernel::STRIP_MAX;
use super::linear::{Scratch, Source, Wanted, for_each_row, grow, prepare};
use super::memory::Parts;
use super::norm::{add_scaled, apply_norm, softplus};
use super::packed::PANEL;
use super::product::{Input, PANELS_MAX, Product, TOKENS_MAX, for_each_run, parts_of_blocks};
use super::quantise::{InputForm, QuantisedBlock};
use super::tap::observe;
use super::{Buffer, Cpu};
use crate::{Adjugates, ExpertGroups, Experts, ExpertsInput, FeedForwardInput, Gating, Linear, Router, Weighing};

/// Which tokens take which experts.
#[derive(Default)]
pub(super) struct Routing {
    /// `[rows, expert_count]`.
    scores: Vec<f32>,
    /// What the router reads, where it is not what the experts read.
    router_blocks: Vec<QuantisedBlock>,
    /// What experts are chosen by, of one row.
    ranks: Vec<f32>,
    /// Of one row the groups' sums.
    group_sums: Vec<(f32, u32)>,
    /// `[rows, used_count]`: expert and weight, best first.
    choices: Vec<(u32, f32)>,
    /// How many a row takes.
    used_count: usize,
    /// `[rows, hidden_size]`: what adjugates read, and the same as integers.
    firsts: Vec<f32>,
    first_blocks: Vec<QuantisedBlock>,
    /// Places in `choices`, sorted by expert.
    places: Vec<u32>,
    /// The token of every place in `places`.
    tokens: Vec<u32>,
    /// Runs of `places` of one expert, of at most [`TOKENS_MAX`]: expert, start, length.
    runs: Vec<(usize, usize, usize)>,
    /// Indices of experts, to be ordered.
    order: Vec<u32>,
    /// Where each expert's places start.
    starts: Vec<u32>,
    /// `[rows * expert_used_count, hidden_size]`: the experts' outputs.
    outputs: Vec<f32>,
    /// `[rows, ffn_size]` and `[rows, hidden_size]` of the shared network.
    shared_hidden: Vec<f32>,
    shared_blocks: Vec<QuantisedBlock>,
    shared_output: Vec<f32>,
    /// `[rows]`: weight of the shared network.
    shared_weights: Vec<f32>,
}

/// Makes room for steps of up to `rows` rows through a mixture of experts.
pub(super) fn reserve(scratch: &mut Scratch, rows: usize, experts: &Experts<Cpu>) {
    let (count, used) = (experts.router.linear.weight.rows(), experts.router.expert_used_count);
    let (ffn_size, hidden_size) = (experts.up.weight.rows(), experts.down.weight.rows());
    let place_count = rows * used;
    let form = experts.up.weight.form().max(experts.router.linear.weight.form());
    scratch.reserve(rows, hidden_size, form);
    let down = experts.down.weight.form();
    let shared_size = experts.shared.as_ref().map_or(0, |network| network.up.weight.rows());
    grow(&mut scratch.hidden, place_count * ffn_size, 0.0);
    grow(&mut scratch.hidden_blocks, place_count * down.blocks_a_row(ffn_size), QuantisedBlock::ZERO);
    let routing = &mut scratch.routing;
    grow(&mut routing.scores, rows * count, 0.0);
    grow(&mut routing.ranks, count, 0.0);
    let router_width = experts.router.linear.weight.columns();
    grow(&mut routing.router_blocks, rows * form.blocks_a_row(router_width), QuantisedBlock::ZERO);
    let groups = experts.router.groups.map_or(0, |groups| groups.count);
    routing.group_sums.reserve(groups.saturating_sub(routing.group_sums.len()));
    grow(&mut routing.places, place_count, 0);
    grow(&mut routing.tokens, place_count, 0);
    grow(&mut routing.outputs, place_count * hidden_size, 0.0);
    let room_for = |length: usize, wanted: usize| wanted.saturating_sub(length);
    routing.choices.reserve(room_for(routing.choices.len(), place_count));
    routing.order.reserve(room_for(routing.order.len(), count));
    routing.starts.reserve(room_for(routing.starts.len(), count + 1));
    // Each expert's last run may be short; the others are full.
    routing.runs.reserve(room_for(routing.runs.len(), count.min(place_count) + place_count / TOKENS_MAX));
    if let Some(adjugates) = &experts.adjugates {
        let first = adjugates.up.weight.form();
        grow(&mut routing.firsts, rows * hidden_size, 0.0);
        grow(&mut routing.first_blocks, rows * first.blocks_a_row(hidden_size), QuantisedBlock::ZERO);
    }
    if experts.shared.is_some() {
        grow(&mut routing.shared_hidden, rows * shared_size, 0.0);
        grow(&mut routing.shared_blocks, rows * down.blocks_a_row(shared_size), QuantisedBlock::ZERO);
        grow(&mut routing.shared_output, rows * hidden_size, 0.0);
        grow(&mut routing.shared_weights, rows, 0.0);
    }
}

/// The experts region.
pub(super) fn experts(
    cpu: &mut Cpu,
    rows: usize,
    experts: &Experts<Cpu>,
    input: ExpertsInput<'_, Cpu>,
    residual: &mut Buffer,
) {
    cpu.scratch.reserve(rows, 0, InputForm::Numbers);
    // Taken out and put back: the region uses the rest of the scratch beside it.
    let mut scratch = std::mem::take(&mut cpu.scratch);
    let routing = &mut scratch.routing;
    let widening = Widening { gate: experts.gate.as_ref(), up: &experts.up, activation: experts.activation };
    let shared = experts.shared.as_ref().map(|network| Widening {
        gate: network.gate.as_ref(),
        up: &network.up,
        activation: network.activation,
    });
    let of_shared = shared.iter().flat_map(Widening::matrices);
    let apart = experts.shared_gate.iter().chain([&experts.router.linear]).map(|linear| &linear.weight);
    let wanted = Wanted::by(widening.matrices().chain(of_shared).chain(apart));
    let buffer = match input.experts {
        FeedForwardInput::Residual => &*residual,
        FeedForwardInput::Buffer(buffer) => buffer,
    };
    let source = Source { buffer, wanted: None };
    let room = (&mut scratch.normed, &mut scratch.blocks);
    let (router, row_tokens) = (input.router, input.tokens);
    let input = prepare((cpu.isa, &cpu.pool), rows, experts.norm.as_ref(), source, room, wanted);
    let all_rows = &scratch.all_rows[..rows];

    let routed = router.map(|buffer| {
        let (values, form) = (&buffer.values[..rows * buffer.width], experts.router.linear.weight.form());
        let room = &mut routing.router_blocks;
        quantised_rows((cpu.isa, &cpu.pool), rows, values, buffer.width, room, form)
    });
    let routed = routed.as_ref().unwrap_or(&input);
    multiply_rows(cpu, &experts.router.linear, routed, all_rows, &mut routing.scores);
    routing.choose(&experts.router, rows, row_tokens);
    routing.sort(rows, experts.router.linear.weight.rows());
    let room = (&mut scratch.hidden, &mut scratch.hidden_blocks);
    run_experts(cpu, (&widening, experts.weighing), &experts.down, &input, routing, room);
    if let Some(adjugates) = &experts.adjugates {
        run_adjugates(cpu, rows, experts, adjugates, routing, (&mut scratch.hidden, &mut scratch.hidden_blocks));
    }
    if let (Some(network), Some(widening)) = (&experts.shared, &shared) {
        let room = (&mut routing.shared_hidden, &mut routing.shared_blocks);
        let resources = (cpu.isa, &cpu.pool, &mut cpu.workers[..]);
        let hidden =
            widen(resources, widening, &input, all_rows, room, Wanted::by(std::iter::once(&network.down.weight)));
        multiply_rows(cpu, &network.down, &hidden, all_rows, &mut routing.shared_output);
        if let Some(linear) = &experts.shared_gate {
            multiply_rows(cpu, linear, &input, all_rows, &mut routing.shared_weights);
            routing.shared_weights[..rows].iter_mut().for_each(|x| *x = sigmoid(*x));
        } else {
            grow(&mut routing.shared_weights, rows, 0.0);
            routing.shared_weights[..rows].fill(1.0);
        }
    }
    combine(cpu, rows, experts, routing, &mut scratch.product, residual);
    cpu.scratch = scratch;
}

/// Sums the experts' outputs, and has the adjugates read the sums: their outputs take the experts' places.
fn run_adjugates(
    cpu: &mut Cpu,
    rows: usize,
    experts: &Experts<Cpu>,
    adjugates: &Adjugates<Cpu>,
    routing: &mut Routing,
    room: (&mut Vec<f32>, &mut Vec<QuantisedBlock>),
) {
    let width = experts.down.weight.rows();
    grow(&mut routing.firsts, rows * width, 0.0);
    for row in 0..rows {
        let places = row * routing.used_count..(row + 1) * routing.used_count;
        let sum = &mut routing.firsts[row * width..][..width];
        sum.fill(0.0);
        for place in places {
            let weight = weight_of_output(experts, routing.choices[place].1);
            add_scaled(cpu.isa, sum, &routing.outputs[place * width..][..width], weight);
        }
    }
    routing.choose_adjugates(&experts.router, rows, adjugates.group_size);
    routing.sort(rows, experts.router.linear.weight.rows() / adjugates.group_size);
    let widening = Widening { gate: Some(&adjugates.gate), up: &adjugates.up, activation: experts.activation };
    let (firsts, mut blocks) = (std::mem::take(&mut routing.firsts), std::mem::take(&mut routing.first_blocks));
    let values = &firsts[..rows * width];
    let input = quantised_rows((cpu.isa, &cpu.pool), rows, values, width, &mut blocks, widening.wanted().form);
    run_experts(cpu, (&widening, Weighing::Output), &adjugates.down, &input, routing, room);
    (routing.firsts, routing.first_blocks) = (firsts, blocks);
}

/// The factor on an expert's output.
fn weight_of_output(experts: &Experts<Cpu>, weight: f32) -> f32 {
    match experts.weighing {
        Weighing::Output => weight,
        Weighing::Input => 1.0,
    }
}

/// A product of all rows into `output`, `[rows, matrix rows]`.
fn multiply_rows(cpu: &mut Cpu, linear: &Linear<Cpu>, input: &Input<'_>, all_rows: &[u32], output: &mut Vec<f32>) {
    observe(std::iter::once(&linear.weight), 0, input, 0..all_rows.len());
    let (isa, width, product) = (cpu.isa, linear.weight.rows(), Product::of(linear, 0));
    grow(output, all_rows.len() * width, 0.0);
    let out = Parts::new(output);
    let pairs = product.pairs();
    let count = pairs * all_rows.len().div_ceil(TOKENS_MAX);
    for_each_run(&cpu.pool, &mut cpu.workers, count, &|scratch, run| {
        for (block, pairs) in parts_of_blocks(run, pairs) {
            let first_row = block * TOKENS_MAX;
            let rows = &all_rows[first_row..(first_row + TOKENS_MAX).min(all_rows.len())];
            scratch.multiply_pairs(isa, &product, pairs, (input, rows), |row, column, values| {
                // SAFETY: every row and panel is written once.
                unsafe { out.part(rows[row] as usize * width + column, values.len()) }.copy_from_slice(values);
            });
        }
    });
}

impl Routing {
    /// Chooses the experts of every row. Of equal scores the lower index wins.
    fn choose(&mut self, router: &Router<Cpu>, rows: usize, tokens: &[u32]) {
        let (count, used) = (router.linear.weight.rows(), router.expert_used_count);
        self.used_count = used;
        self.choices.clear();
        for (row, scores) in self.scores[..rows * count].chunks_exact_mut(count).enumerate() {
            match router.gating {
                Gating::Softmax => softmax(scores),
                Gating::Sigmoid => scores.iter_mut().for_each(|x| *x = sigmoid(*x)),
                Gating::SoftmaxOfChosen => {}
                Gating::SqrtSoftplus => scores.iter_mut().for_each(|x| *x = softplus(*x).sqrt()),
            }
            match &router.table {
                Some(table) => {
                    let chosen = table[tokens[row] as usize * used..][..used].iter();
                    self.choices.extend(chosen.map(|&index| (index, scores[index as usize])));
                }
                None => {
                    let room = (&mut self.ranks, &mut self.group_sums, &mut self.order);
                    order_by_rank(router, scores, room);
                    self.choices.extend(self.order[..used].iter().map(|&index| (index, scores[index as usize])));
                }
            }
            let choices = &mut self.choices[row * used..];
            weigh(router, choices);
            if let Some(scales) = &router.expert_scales {
                choices.iter_mut().for_each(|(expert, weight)| *weight *= scales[*expert as usize]);
            }
        }
    }

    /// Replaces the best experts of every row by what their groups share, the others by nothing.
    fn choose_adjugates(&mut self, router: &Router<Cpu>, rows: usize, group_size: usize) {
        let (count, before) = (router.linear.weight.rows(), self.used_count);
        let used = before.min(count / group_size);
        for row in 0..rows {
            for index in 0..used {
                let taken = self.choices[row * before + index].0 / group_size as u32;
                self.choices[row * used + index] = (taken, self.scores[row * count + taken as usize]);
            }
            weigh(router, &mut self.choices[row * used..][..used]);
        }
        self.choices.truncate(rows * used);
        self.used_count = used;
    }

    /// Sorts the choices among `count` experts and cuts them into runs.
    fn sort(&mut self, rows: usize, count: usize) {
        let used = self.used_count;
        self.starts.clear();
        self.starts.resize(count + 1, 0);
        for &(expert, _) in &self.choices {
            self.starts[expert as usize + 1] += 1;
        }
        for expert in 0..count {
            self.starts[expert + 1] += self.starts[expert];
        }
        self.runs.clear();
        for expert in 0..count {
            let (mut start, end) = (self.starts[expert] as usize, self.starts[expert + 1] as usize);
            while start < end {
                let length = TOKENS_MAX.min(end - start);
                self.runs.push((expert, start, length));
                start += length;
            }
        }
        grow(&mut self.places, rows * used, 0);
        grow(&mut self.tokens, rows * used, 0);
        for (place, &(expert, _)) in self.choices.iter().enumerate() {
            let next = &mut self.starts[expert as usize];
            self.places[*next as usize] = place as u32;
            self.tokens[*next as usize] = (place / used) as u32;
            *next += 1;
        }
    }
}

/// Orders the experts of a row by what they are chosen by, best first.
fn order_by_rank(
    router: &Router<Cpu>,
    scores: &[f32],
    (ranks, group_sums, order): (&mut Vec<f32>, &mut Vec<(f32, u32)>, &mut Vec<u32>),
) {
    ranks.clear();
    ranks.extend_from_slice(scores);
    if let Some(bias) = &router.selection_bias {
        ranks.iter_mut().zip(bias).for_each(|(rank, bias)| *rank += bias);
    }
    if let Some(groups) = router.groups {
        leave_best_groups(groups, ranks, group_sums);
    }
    let rank = |index: u32| ranks[index as usize];
    order.clear();
    order.extend(0..scores.len() as u32);
    order.sort_unstable_by(|&a, &b| rank(b).total_cmp(&rank(a)).then(a.cmp(&b)));
}

/// Ranks of experts outside of the best groups, by the sum of their two best ranks, become the lowest. Of equal groups the
/// lower index wins.
fn leave_best_groups(groups: ExpertGroups, ranks: &mut [f32], sums: &mut Vec<(f32, u32)>) {
    let size = ranks.len() / groups.count;
    sums.clear();
    sums.extend(ranks.chunks_exact(size).zip(0..).map(|(group, index)| {
        let (mut best, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for &rank in group {
            if rank > best {
                (best, second) = (rank, best);
            } else if rank > second {
                second = rank;
            }
        }
        (if size > 1 { best + second } else { best }, index)
    }));
    sums.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for &(_, group) in &sums[groups.used_count..] {
        ranks[group as usize * size..][..size].fill(f32::NEG_INFINITY);
    }
}

/// Turns the chosen experts' scores into weights.
fn weigh(router: &Router<Cpu>, choices: &mut [(u32, f32)]) {
    if router.gating == Gating::SoftmaxOfChosen {
        let largest = choices.iter().map(|choice| choice.1).fold(f32::NEG_INFINITY, f32::max);
        choices.iter_mut().for_each(|choice| choice.1 = (choice.1 - largest).exp());
        let sum: f32 = choices.iter().map(|choice| choice.1).sum();
        choices.iter_mut().for_each(|choice| choice.1 /= sum);
    }
    let divisor = if router.normalise { choices.iter().map(|choice| choice.1).sum() } else { 1.0f32 };
    choices.iter_mut().for_each(|choice| choice.1 = choice.1 / divisor * router.scale);
}

/// Both halves of every expert that has tokens; outputs `[place in choices, hidden_size]`.
fn run_experts(
    cpu: &mut Cpu,
    (widening, weighing): (&Widening<'_>, Weighing),
    down: &Linear<Cpu>,
    input: &Input<'_>,
    routing: &mut Routing,
    (hidden, blocks): (&mut Vec<f32>, &mut Vec<QuantisedBlock>),
) {
    let (isa, ffn_size, panels) = (cpu.isa, widening.up.weight.rows(), widening.up.weight.panels());
    let place_count = routing.choices.len();
    grow(hidden, place_count * ffn_size, 0.0);
    let (runs, places, tokens, choices) = (&routing.runs, &routing.places, &routing.tokens, &routing.choices);
    for &(expert, start, length) in runs {
        observe(widening.matrices(), expert, input, tokens[start..start + length].iter().map(|token| *token as usize));
    }
    let out = Parts::new(hidden);
    let pairs = Product::of(widening.up, 0).pairs();
    for_each_run(&cpu.pool, &mut cpu.workers, runs.len() * pairs, &|scratch, items| {
        for (run, pairs) in parts_of_blocks(items, pairs) {
            let (expert, start, length) = runs[run];
            let (tokens, places) = (&tokens[start..start + length], &places[start..start + length]);
            let part = |row: usize, column: usize, length: usize| {
                // SAFETY: every place belongs to one run, every panel to one worker, who asks for one part at a time.
                unsafe { out.part(places[row] as usize * ffn_size + column, length) }
            };
            if let (Some(gate), Weighing::Output) = (widening.gate, weighing)
                && length <= STRIP_MAX
            {
                widening.run(isa, scratch, (gate, expert, pairs), (input, tokens), &part);
                continue;
            }
            let mut factors = [1.0; TOKENS_MAX];
            if weighing == Weighing::Input {
                factors.iter_mut().zip(places).for_each(|(factor, &place)| *factor = choices[place as usize].1);
            }
            let factors = (weighing == Weighing::Input).then_some(&factors[..length]);
            for panel in pairs.start * PANELS_MAX..(pairs.end * PANELS_MAX).min(panels) {
                widening.panel(isa, scratch, (expert, panel), input, (tokens, factors));
                let width = PANEL.min(ffn_size - panel * PANEL);
                for (row, sums) in scratch.sums[0][..length].iter().enumerate() {
                    part(row, panel * PANEL, width).copy_from_slice(&sums[..width]);
                }
            }
        }
    });
    let hidden = &hidden[..place_count * ffn_size];
    let hidden = quantised_rows((isa, &cpu.pool), place_count, hidden, ffn_size, blocks, down.weight.form());
    for &(expert, start, length) in runs {
        let rows = places[start..start + length].iter().map(|place| *place as usize);
        observe(std::iter::once(&down.weight), expert, &hidden, rows);
    }
    let (hidden_size, pairs) = (down.weight.rows(), Product::of(down, 0).pairs());
    grow(&mut routing.outputs, place_count * hidden_size, 0.0);
    let out = Parts::new(&mut routing.outputs);
    for_each_run(&cpu.pool, &mut cpu.workers, runs.len() * pairs, &|scratch, items| {
        for (run, pairs) in parts_of_blocks(items, pairs) {
            let (expert, start, length) = runs[run];
            let (product, places) = (Product::of(down, expert), &places[start..start + length]);
            scratch.multiply_pairs(isa, &product, pairs, (&hidden, places), |row, column, values| {
                // SAFETY: every place belongs to one run.
                unsafe { out.part(places[row] as usize * hidden_size + column, values.len()) }.copy_from_slice(values);
            });
        }
    });
}

/// Sums every row's outputs, norms the sum and adds it to the residual stream.
fn combine(
    cpu: &Cpu,
    rows: usize,
    experts: &Experts<Cpu>,
    routing: &Routing,
    product: &mut Vec<f32>,
    residual: &mut Buffer,
) {
    let (isa, used, width) = (cpu.isa, routing.used_count, residual.width);
    let scale = experts.adjugates.as_ref().map_or(1.0, |adjugates| adjugates.scale);
    grow(product, rows * width, 0.0);
    let (product, residual) = (Parts::new(product), Parts::new(&mut residual.values));
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let (sum, out) = unsafe { (product.part(row * width, width), residual.part(row * width, width)) };
        match &experts.adjugates {
            Some(_) => sum.copy_from_slice(&routing.firsts[row * width..][..width]),
            None => sum.fill(0.0),
        }
        for place in row * used..(row + 1) * used {
            let weight = match &experts.adjugates {
                Some(_) => routing.choices[place].1 * scale,
                None => weight_of_output(experts, routing.choices[place].1),
            };
            add_scaled(isa, sum, &routing.outputs[place * width..][..width], weight);
        }
        if experts.shared.is_some() {
            add_scaled(isa, sum, &routing.shared_output[row * width..][..width], routing.shared_weights[row]);
        }
        if experts.sum_scale != 1.0 {
            sum.iter_mut().for_each(|value| *value *= experts.sum_scale);
        }
        if let Some(norm) = &experts.post_norm {
            apply_norm(isa, norm, sum);
        }
        add_scaled(isa, out, sum, experts.residual_scale);
    });
}

fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|x| *x /= sum);
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
