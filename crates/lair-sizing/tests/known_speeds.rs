//! Speeds on GPUs against such as were measured. The estimates are formulas with one efficiency for all GPUs of a kind, so they are held to
//! a fourth, not to parts in a hundred.
//!
//! Source: XiongjieDai, "GPU-Benchmarks-on-LLM-Inference" (llama.cpp, May 2024), tokens a second of answers of 512 tokens and of prompts of
//! 512; llama.cpp's pull request 7676 for prompts on an RTX 4090 in Q4_0.

use lair_sizing::describe::{parse_gpus, parse_ram};
use lair_sizing::{Estimate, Hardware, Machine, Numbers, Purpose, Quant, Sharing, Use, Verdict};

/// A desktop's processors.
const MACHINE: Machine = Machine {
    read_bytes_per_second: 60e9,
    f32_macs_per_second: 500e9,
    i16_macs_per_second: 900e9,
    i8_macs_per_second: 1000e9,
    code_macs_per_second: 1600e9,
};

fn llama_3(shape: [u64; 5], quant: &str) -> Numbers {
    let [layers, hidden, heads, ffn, parameters] = shape;
    Numbers {
        parameters: Some(parameters as f64),
        heads,
        kv_heads: 8,
        head_dim: 128,
        ffn,
        vocabulary: 128_256,
        context_length: 8192,
        ..Numbers::new(layers, hidden, Quant::find(quant).expect("it is in the list"))
    }
}

fn eight(quant: &str) -> Numbers {
    llama_3([32, 4096, 32, 14_336, 8_030_000_000], quant)
}

fn seventy(quant: &str) -> Numbers {
    llama_3([80, 8192, 64, 28_672, 70_550_000_000], quant)
}

fn estimate_with(numbers: &Numbers, gpus: &str, ram: &str, sharing: Sharing, users: usize) -> Estimate {
    let ram = parse_ram(ram).expect("a size");
    let mut hardware = Hardware::of_system("a desktop".to_owned(), MACHINE, Some(ram.size_bytes));
    hardware.gpus = parse_gpus(gpus, None).expect("known GPUs");
    hardware.sharing = sharing;
    let wanted =
        Use { purpose: Purpose::Chat, context_length: 4096, users, kv_element_bytes: 2.0, activation_bytes: 1 };
    Estimate::of(&numbers.subject().expect("numbers of a model"), &hardware, &wanted)
}

fn estimate(numbers: &Numbers, gpus: &str) -> Estimate {
    estimate_with(numbers, gpus, "64GB", Sharing::Pipeline, 1)
}

#[test]
fn answers_are_as_fast_as_they_were_measured() {
    let (eight, seventy) = (eight as fn(&str) -> Numbers, seventy as fn(&str) -> Numbers);
    for (gpus, model, quant, measured) in [
        ("RTX 3070", eight, "Q4_K_M", 72.79),
        ("RTX 3080", eight, "Q4_K_M", 109.57),
        ("RTX 3080 Ti", eight, "Q4_K_M", 110.60),
        ("RTX 4070 Ti", eight, "Q4_K_M", 83.50),
        ("RTX 4080", eight, "Q4_K_M", 108.15),
        ("RTX 3090", eight, "Q4_K_M", 115.42),
        ("RTX 3090", eight, "F16", 47.40),
        ("RTX 4090", eight, "Q4_K_M", 130.58),
        ("RTX 4090", eight, "F16", 54.84),
        ("2x RTX 3090", seventy, "Q4_K_M", 16.57),
        ("2x RTX 4090", seventy, "Q4_K_M", 19.22),
        ("M1 Max", eight, "Q4_K_M", 35.73),
        ("M1 Max", eight, "F16", 18.75),
        ("M2 Ultra", eight, "Q4_K_M", 78.81),
    ] {
        let found = estimate(&model(quant), gpus).speeds.decode;
        assert!((found / measured - 1.0).abs() < 0.25, "{gpus}, {quant}: {found:.1} instead of {measured}");
    }
}

#[test]
fn prompts_are_as_fast_as_they_were_measured() {
    for (gpus, quant, measured) in [
        ("RTX 4090", "Q4_0", 10_358.0),
        ("RTX 3090", "Q4_K_M", 4030.0),
        ("RTX 3090", "F16", 4444.0),
        ("RTX 4090", "F16", 9382.0),
        ("M1 Max", "Q4_K_M", 408.0),
        ("M2 Ultra", "Q4_K_M", 994.0),
    ] {
        let found = estimate(&eight(quant), gpus).speeds.prefill;
        assert!((found / measured - 1.0).abs() < 0.25, "{gpus}, {quant}: {found:.0} instead of {measured}");
    }
}

#[test]
fn what_does_not_fit_a_gpu_is_split_and_as_slow_as_its_parts() {
    let whole = estimate(&eight("Q4_K_M"), "RTX 3090");
    assert_eq!(whole.verdict, Verdict::WorksWell, "{:?}", whole.reasons);
    let split = estimate(&seventy("Q4_K_M"), "RTX 3090");
    let placement = split.placement.expect("it fits into both memories");
    assert!(placement.is_split() && (30..=46).contains(&placement.gpu_layers()), "{placement:?}");
    // Half of 43 GB at 59 GB/s, and multiplied partly meanwhile: hardly three tokens a second, whatever the GPU does.
    let (read, multiplied): (f64, f64) = (43.2e9 / (0.98 * 60e9), 70.5e9 / (0.55 * 1600e9));
    let in_system = placement.offload_share() * (read.powf(1.5) + multiplied.powf(1.5)).powf(1.0 / 1.5);
    let on_gpu = (1.0 - placement.offload_share()) * 43.2e9 / (0.63 * 936e9);
    assert!((1.0 / split.speeds.decode / (in_system + on_gpu) - 1.0).abs() < 0.1, "{:?}", split.speeds);
    assert!(split.reasons.iter().any(|reason| reason.contains("of 80 layers lie on the GPU")), "{:?}", split.reasons);
    // Not with 16 GB, and with any GPU only where there is room beside it.
    assert_eq!(
        estimate_with(&seventy("Q4_K_M"), "RTX 3090", "16GB", Sharing::Pipeline, 1).verdict,
        Verdict::DoesNotFit
    );
    // A small GPU: what lies on it is little, and the rest is the system's.
    assert!(estimate(&eight("Q4_K_M"), "4GB@200GB/s").speeds.decode < whole.speeds.decode / 4.0);
}

#[test]
fn experts_leave_the_gpu_first() {
    use lair_sizing::numbers::ExpertNumbers;
    let experts = ExpertNumbers { count: 128, used_count: 8, ffn_size: 768, dense_layers: 0, shared_ffn_size: 0 };
    let numbers = Numbers {
        heads: 32,
        kv_heads: 4,
        head_dim: 128,
        ffn: 6144,
        vocabulary: 151_936,
        experts: Some(experts),
        ..Numbers::new(48, 2048, Quant::find("Q4_K_M").expect("it is in the list"))
    };
    let estimate = estimate(&numbers, "RTX 4070");
    let placement = estimate.placement.expect("it fits into both memories");
    assert!(placement.has_experts_apart() && placement.gpu_layers() == 48, "{placement:?}");
    // 17.7 GB of experts of which a token reads a sixteenth: far above the 3 tokens a second of a dense model of its size.
    assert!(estimate.speeds.decode > 40.0, "{:?}", estimate.speeds);
    assert!(estimate.speeds.link_share > 0.0 && estimate.speeds.link_share < 0.3, "{:?}", estimate.speeds);
}

#[test]
fn several_gpus_share_by_layers_or_by_parts_of_each() {
    let model = seventy("Q4_K_M");
    let pipeline = estimate_with(&model, "4x RTX 3090", "64GB", Sharing::Pipeline, 1);
    let tensor = estimate_with(&model, "4x RTX 3090", "64GB", Sharing::Tensor, 1);
    // One conversation: layers in turn are as fast as one GPU; parts of each layer are read by all at once, less what links cost.
    let one = estimate_with(&model, "H100", "64GB", Sharing::Pipeline, 1);
    assert!(one.placement.is_some_and(|placement| !placement.is_split()));
    assert!(tensor.speeds.decode > 2.0 * pipeline.speeds.decode, "{:?} {:?}", tensor.speeds, pipeline.speeds);
    assert!(tensor.speeds.decode < 4.0 * pipeline.speeds.decode);
    let efficiency = tensor.speeds.gpu_efficiency.expect("there are several");
    assert!((0.7..1.0).contains(&efficiency), "{efficiency}");
    // Many conversations fill the stages of a pipeline.
    let (few, many) = (pipeline.speeds, estimate_with(&model, "4x RTX 3090", "64GB", Sharing::Pipeline, 8).speeds);
    assert!(many.all_users > 2.0 * few.all_users, "{few:?} {many:?}");
    // Without a link of their own the exchange costs more: a slower card by its bus alone.
    let bus = estimate_with(&model, "4x 24GB@936GB/s@71TFLOPS", "64GB", Sharing::Tensor, 1);
    assert!(bus.speeds.link_share > tensor.speeds.link_share);
    // What one GPU holds is not shared out.
    let small = estimate_with(&eight("Q4_K_M"), "2x RTX 3090", "64GB", Sharing::Pipeline, 1);
    assert_eq!(small.placement.map(|placement| placement.parts.len()), Some(1));
}

#[test]
fn the_first_of_gpus_in_turn_that_holds_all_of_it_is_enough_and_contexts_are_what_fits_beside() {
    let estimate = estimate(&eight("Q8_0"), "RTX 4070");
    // 8.5 GB and 131 KB a position in 12 GiB less the reserve.
    assert!((14_000..=8192 * 4).contains(&estimate.context_length_max) || estimate.context_length_max == 8192);
    let large = estimate_with(&seventy("Q4_K_M"), "RTX 4070", "20GB", Sharing::Pipeline, 1);
    assert_eq!(large.verdict, Verdict::DoesNotFit, "{:?}", large.reasons);
    assert!(large.placement.is_none());
}
