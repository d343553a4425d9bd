//! Which step each tensor takes, so that all together fit into the bytes and lose least.
//!
//! All tensors start with their smallest type, and the step up that saves most for its bytes is taken until none fits. Steps
//! lie on each tensor's convex hull of loss over size, so this is the Lagrangian optimum up to the last step.
//!
//! What a tensor's error costs the model is known for its role, not for the tensor itself, and within [`DOUBT`] for a handful.
//! A mix that fits is a choice that is known to be sound; so what an exchange takes from a tensor of the mix counts by so
//! much more, and what it gives to one by so much less. That keeps each tensor's losses convex, and a choice that is worth
//! its exchanges is never expected to lose more than the mix.

use lair_gguf::TensorType;

/// How far the cost of the errors of some tensors may lie from that of their roles, up and down. Single layers lie up to twice
/// as far, but an exchange is seldom alone.
pub const DOUBT: f64 = 1.2;

/// One type for one tensor. In a search the bytes are with what fills up the place of the tensor in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub tensor_type: TensorType,
    pub size_bytes: u64,
    pub loss: f64,
}

/// The step of each tensor, given what was tried and the types that mixes give them; nothing if no choice fits.
pub fn choose(tried: &[Vec<Step>], mixes: &[Vec<TensorType>], budget: u64) -> Option<Vec<Step>> {
    let of_mix = |types: &Vec<TensorType>| tried.iter().zip(types).map(|(steps, to)| as_good_as(steps, *to)).collect();
    let fitting = mixes.iter().filter_map(of_mix).filter(|steps: &Vec<Step>| size(steps) <= budget);
    let Some(start) = fitting.min_by(|a, b| loss(a).total_cmp(&loss(b))) else {
        return climbed(tried, budget);
    };
    let doubted: Vec<Vec<Step>> = tried.iter().zip(&start).map(|(steps, start)| doubt(steps, start)).collect();
    // The mix need not lie on the hulls; what is left over goes where it saves most.
    let beside = doubted.iter().zip(&start);
    let upwards: Vec<Vec<Step>> = beside
        .map(|(steps, start)| steps.iter().filter(|step| step.size_bytes >= start.size_bytes).copied().collect())
        .collect();
    let choices = [climbed(&doubted, budget), climbed(&upwards, budget)].into_iter().flatten();
    let best = choices.min_by(|a, b| loss(a).total_cmp(&loss(b)))?;
    let plain = |(steps, chosen): (&Vec<Step>, &Step)| {
        steps.iter().find(|step| step.tensor_type == chosen.tensor_type).copied().unwrap_or(*chosen)
    };
    Some(tried.iter().zip(&best).map(plain).collect())
}

fn size(steps: &[Step]) -> u64 {
    steps.iter().map(|step| step.size_bytes).sum()
}

fn loss(steps: &[Step]) -> f64 {
    steps.iter().map(|step| step.loss).sum()
}

/// The step that loses least of those that are no larger than a type; nothing if that type was not tried and all are larger.
fn as_good_as(steps: &[Step], tensor_type: TensorType) -> Option<Step> {
    let tried = steps.iter().find(|step| step.tensor_type == tensor_type);
    tried.map(|of_type| {
        let small = steps.iter().filter(|step| step.size_bytes <= of_type.size_bytes);
        small.fold(*of_type, |best, step| if step.loss < best.loss { *step } else { best })
    })
}

/// The losses, where those above that of `start` count more and those below it less.
fn doubt(steps: &[Step], start: &Step) -> Vec<Step> {
    let doubted = |step: &Step| {
        let more = step.loss - start.loss;
        Step { loss: start.loss + if more > 0.0 { more * DOUBT } else { more / DOUBT }, ..*step }
    };
    steps.iter().map(doubted).collect()
}

/// The steps that the bytes reach; nothing if even the smallest ones are too large.
fn climbed(tried: &[Vec<Step>], budget: u64) -> Option<Vec<Step>> {
    let ladders: Vec<Vec<Step>> = tried.iter().map(|steps| hull(steps)).collect();
    let least: u64 = ladders.iter().map(|ladder| ladder[0].size_bytes).sum();
    let places = (least <= budget).then(|| climb(&ladders, budget))?;
    Some(ladders.iter().zip(places).map(|(ladder, place)| ladder[place]).collect())
}

/// The types that are worth their bytes: the smallest one first, each step up saving less for a byte than the one before.
pub fn hull(steps: &[Step]) -> Vec<Step> {
    let mut sorted = steps.to_vec();
    sorted.sort_by(|a, b| a.size_bytes.cmp(&b.size_bytes).then(a.loss.total_cmp(&b.loss)));
    let mut ladder: Vec<Step> = Vec::new();
    for step in sorted {
        if ladder.last().is_some_and(|last| step.loss >= last.loss) {
            continue;
        }
        while let [.., first, last] = ladder[..]
            && gain(&first, &last) <= gain(&last, &step)
        {
            ladder.pop();
        }
        ladder.push(step);
    }
    ladder
}

/// What a step up saves for each byte.
fn gain(from: &Step, to: &Step) -> f64 {
    (from.loss - to.loss) / (to.size_bytes - from.size_bytes).max(1) as f64
}

/// How far up each ladder the bytes reach.
fn climb(ladders: &[Vec<Step>], budget: u64) -> Vec<usize> {
    let mut places = vec![0; ladders.len()];
    let mut left = budget - ladders.iter().map(|ladder| ladder[0].size_bytes).sum::<u64>();
    let mut is_open = vec![true; ladders.len()];
    loop {
        let next = |at: usize| Some((&ladders[at][places[at]], ladders[at].get(places[at] + 1)?));
        let open = (0..ladders.len()).filter(|at| is_open[*at]);
        let best =
            open.filter_map(|at| next(at).map(|(from, to)| (at, gain(from, to), to.size_bytes - from.size_bytes)));
        let best = best.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let Some((at, _, bytes)) = best else { return places };
        if bytes > left {
            // Too large a step: smaller ones elsewhere may still fit.
            is_open[at] = false;
            continue;
        }
        left -= bytes;
        places[at] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(size_bytes: u64, loss: f64) -> Step {
        Step { tensor_type: TensorType::Q4_0, size_bytes, loss }
    }

    #[test]
    fn types_that_are_not_worth_their_bytes_are_left_out() {
        let sizes = |steps: &[Step]| hull(steps).iter().map(|step| step.size_bytes).collect::<Vec<_>>();
        // 20 saves less than 30 does for a byte; 40 loses more than 30; of two equal sizes the better one counts.
        let steps = [step(40, 0.3), step(10, 1.0), step(20, 0.9), step(30, 0.2), step(10, 2.0), step(50, 0.1)];
        assert_eq!(sizes(&steps), [10, 30, 50]);
        assert_eq!(sizes(&[step(7, 0.0)]), [7]);
    }

    #[test]
    fn bytes_go_where_they_save_most_and_never_beyond_the_budget() {
        let ladders = [
            vec![step(10, 8.0), step(20, 2.0), step(40, 0.0)],
            vec![step(10, 3.0), step(20, 1.0)],
            vec![step(10, 0.1), step(11, 0.0)],
        ];
        // Gains a byte: 0.6, 0.1; 0.2; 0.1.
        for (budget, expected) in [
            (30, [0, 0, 0]),
            (39, [0, 0, 1]),
            (40, [1, 0, 0]),
            (50, [1, 1, 0]),
            (51, [1, 1, 1]),
            (70, [2, 1, 0]),
            (71, [2, 1, 1]),
        ] {
            assert_eq!(climb(&ladders, budget), expected, "{budget} bytes");
        }
    }

    /// Steps of a tensor: bytes and loss, each of a type of its own.
    fn steps(all: &[(u64, f64)]) -> Vec<Step> {
        let types = [TensorType::Q2_K, TensorType::Q3_K, TensorType::Q4_K, TensorType::Q5_K, TensorType::Q6_K];
        all.iter().zip(types).map(|((size, loss), tensor_type)| Step { tensor_type, ..step(*size, *loss) }).collect()
    }

    #[test]
    fn exchanges_are_made_where_they_gain_more_than_is_in_doubt() {
        let mix = vec![TensorType::Q3_K, TensorType::Q3_K];
        for (saved, lost, is_made) in [(1.2, 1.0, false), (1.4, 1.0, false), (1.5, 1.0, true), (9.0, 1.0, true)] {
            // Ten bytes more for the first tensor, ten less for the second.
            let tried = [
                steps(&[(10, 40.0), (20, 20.0), (30, 20.0 - saved)]),
                steps(&[(10, 5.0 + lost), (20, 5.0), (30, 4.9)]),
            ];
            let sizes = |mixes: &[Vec<TensorType>]| {
                let chosen = choose(&tried, mixes, 40).expect("it fits");
                chosen.iter().map(|step| step.size_bytes).collect::<Vec<_>>()
            };
            assert_eq!(sizes(std::slice::from_ref(&mix)), if is_made { [30, 10] } else { [20, 20] }, "{saved}");
            // Where no mix fits, or none has these types, the losses count as they are.
            assert_eq!(sizes(&[vec![TensorType::Q4_K; 2], vec![TensorType::F16; 2]]), [30, 10], "{saved}");
        }
    }

    #[test]
    fn a_mix_that_lies_on_no_hull_is_not_lost() {
        // The middle step is worth less a byte than the last, which does not fit for either.
        let tried = [steps(&[(10, 9.0), (20, 8.0), (30, 1.0)]), steps(&[(10, 9.0), (20, 8.0), (30, 1.0)])];
        let chosen = choose(&tried, &[vec![TensorType::Q3_K; 2]], 40).expect("it fits");
        assert!(loss(&chosen) <= 10.0, "the mix loses 16, two exchanged steps 10: {chosen:?}");
        let tried = [steps(&[(10, 9.0), (20, 8.0), (50, 1.0)]), steps(&[(10, 9.0), (20, 8.0), (50, 1.0)])];
        let chosen = choose(&tried, &[vec![TensorType::Q3_K; 2]], 40).expect("it fits");
        assert_eq!(chosen.iter().map(|step| step.size_bytes).collect::<Vec<_>>(), [20, 20]);
        assert_eq!(choose(&tried, &[], 19), None);
    }

    #[test]
    fn the_best_of_the_mixes_is_the_start_and_a_better_type_of_its_size_counts_for_it() {
        // The second type is as large as the third and better.
        let tried = [steps(&[(10, 9.0), (20, 2.0), (20, 5.0), (30, 1.9)])];
        let chosen = |mixes: &[Vec<TensorType>], budget| choose(&tried, mixes, budget).expect("it fits")[0].tensor_type;
        assert_eq!(chosen(&[vec![TensorType::Q2_K], vec![TensorType::Q4_K]], 25), TensorType::Q3_K);
        assert_eq!(chosen(&[vec![TensorType::Q4_K], vec![TensorType::Q5_K]], 29), TensorType::Q3_K);
        assert_eq!(chosen(&[vec![TensorType::Q2_K]], 30), TensorType::Q5_K);
    }

    #[test]
    fn the_greedy_choice_is_the_best_one_where_steps_are_equally_large() {
        // All choices of two ladders of three steps each, by brute force.
        let ladders =
            [vec![step(10, 5.0), step(20, 2.5), step(30, 1.0)], vec![step(10, 4.0), step(20, 1.2), step(30, 0.9)]];
        for budget in (20..=60).step_by(10) {
            let loss = |places: &[usize]| ladders.iter().zip(places).map(|(ladder, at)| ladder[*at].loss).sum::<f64>();
            let size = |places: &[usize]| ladders.iter().zip(places).map(|(l, at)| l[*at].size_bytes).sum::<u64>();
            let all = (0..3).flat_map(|a| (0..3).map(move |b| [a, b])).filter(|places| size(places) <= budget);
            let best = all.map(|places| loss(&places)).fold(f64::INFINITY, f64::min);
            assert!((loss(&climb(&ladders, budget)) - best).abs() < 1e-12, "{budget} bytes");
        }
    }
}
