//! Quantizations by their names: how many bits a weight takes, and what is lost.
//!
//! They are for models whose tensors are not known: of a file that can be read, the tensors are counted instead.

use lair_gguf::TensorType;

/// A quantization as files are named after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quant {
    /// Its name.
    pub name: &'static str,
    /// Bits of a weight, over all tensors of a model.
    pub bits: f64,
    /// The type of most of its tensors.
    pub tensor_type: TensorType,
    /// Mean Kullback-Leibler divergence of the next token from the model in F16, in nats; `None` where nobody measured it alike.
    pub loss: Option<f64>,
}

/// All of them, from large to small.
///
/// Source of the bits: llama.cpp's `tools/quantize/README.md`, Llama 3.1 8B. Of the loss: its `tools/perplexity/README.md`,
/// Llama 3 8B on Wikitext-2 (with an importance matrix of ten million tokens for the IQ types, without one for the others). Other
/// models lose more or less, smaller ones more; the order of the types stays.
pub const QUANTS: &[Quant] = &[
    quant("F32", 32.0, TensorType::F32, Some(0.0)),
    quant("F16", 16.0, TensorType::F16, Some(0.0)),
    quant("BF16", 16.0, TensorType::BF16, Some(0.0)),
    quant("Q8_0", 8.5008, TensorType::Q8_0, Some(0.001355)),
    quant("Q6_K", 6.5633, TensorType::Q6_K, Some(0.005452)),
    quant("Q5_1", 6.0, TensorType::Q5_1, Some(0.018045)),
    quant("Q5_K_M", 5.7036, TensorType::Q5_K, Some(0.010762)),
    quant("Q5_K_S", 5.5704, TensorType::Q5_K, Some(0.016595)),
    quant("Q5_0", 5.57, TensorType::Q5_0, Some(0.022239)),
    quant("Q4_1", 5.1, TensorType::Q4_1, Some(0.071683)),
    quant("Q4_K_M", 4.8944, TensorType::Q4_K, Some(0.031273)),
    quant("IQ4_NL", 4.6818, TensorType::IQ4_NL, Some(0.035742)),
    quant("Q4_K_S", 4.6672, TensorType::Q4_K, Some(0.043136)),
    quant("Q4_0", 4.64, TensorType::Q4_0, Some(0.071940)),
    quant("IQ4_XS", 4.4597, TensorType::IQ4_XS, Some(0.036334)),
    quant("Q3_K_L", 4.2979, TensorType::Q3_K, Some(0.087176)),
    quant("MXFP4", 4.25, TensorType::MXFP4, None),
    quant("Q3_K_M", 3.9960, TensorType::Q3_K, Some(0.101913)),
    quant("IQ3_M", 3.7628, TensorType::IQ3_S, Some(0.102534)),
    quant("IQ3_S", 3.6606, TensorType::IQ3_S, Some(0.111278)),
    quant("Q3_K_S", 3.6429, TensorType::Q3_K, Some(0.228217)),
    quant("IQ3_XS", 3.4977, TensorType::IQ3_S, Some(0.138693)),
    quant("IQ3_XXS", 3.2548, TensorType::IQ3_XXS, Some(0.183625)),
    quant("Q2_K", 3.1593, TensorType::Q2_K, Some(0.445132)),
    quant("Q2_K_S", 2.9697, TensorType::Q2_K, Some(0.403360)),
    quant("IQ2_M", 2.9294, TensorType::IQ2_S, Some(0.325989)),
    quant("IQ2_S", 2.7403, TensorType::IQ2_XS, Some(0.439197)),
    quant("IQ2_XS", 2.5882, TensorType::IQ2_XS, Some(0.546290)),
    quant("IQ2_XXS", 2.3824, TensorType::IQ2_XXS, Some(0.812022)),
    quant("IQ1_M", 2.1460, TensorType::IQ1_M, Some(1.393084)),
    quant("IQ1_S", 2.0042, TensorType::IQ1_S, Some(2.254554)),
];

const fn quant(name: &'static str, bits: f64, tensor_type: TensorType, loss: Option<f64>) -> Quant {
    Quant { name, bits, tensor_type, loss }
}

impl Quant {
    /// The quantization of this name, in any case.
    pub fn find(name: &str) -> Option<&'static Quant> {
        QUANTS.iter().find(|quant| quant.name.eq_ignore_ascii_case(name))
    }

    /// The quantization that stands in a file's name, as `Q4_K_M` in `model-Q4_K_M.gguf`. Of several words the longest counts.
    pub fn in_name(name: &str) -> Option<&'static Quant> {
        let upper = name.to_ascii_uppercase();
        let stands = |quant: &&Quant| {
            upper.match_indices(quant.name).any(|(start, _)| {
                let is_edge = |symbol: Option<char>| symbol.is_none_or(|symbol| !symbol.is_alphanumeric());
                is_edge(upper[..start].chars().next_back()) && is_edge(upper[start + quant.name.len()..].chars().next())
            })
        };
        QUANTS.iter().filter(stands).max_by_key(|quant| quant.name.len())
    }

    /// What is lost, in words.
    pub fn loss_text(&self) -> &'static str {
        match self.loss {
            None => "unknown",
            Some(loss) if loss < 0.002 => "none to speak of",
            Some(loss) if loss < 0.02 => "very little",
            Some(loss) if loss < 0.05 => "little",
            Some(loss) if loss < 0.15 => "noticeable",
            Some(loss) if loss < 0.5 => "much",
            Some(_) => "most",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantizations_are_found_in_names() {
        for (name, found) in [
            ("Meta-Llama-3-8B-Instruct-Q4_K_M.gguf", Some("Q4_K_M")),
            ("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", Some("Q4_K_M")),
            ("SmolLM2-135M-Instruct.Q4_1.gguf", Some("Q4_1")),
            ("model-IQ4_XS.gguf", Some("IQ4_XS")),
            ("model.f16.gguf", Some("F16")),
            ("model-BF16-00001-of-00002.gguf", Some("BF16")),
            ("UD-Q4_K_XL", None),
            ("model.gguf", None),
        ] {
            assert_eq!(Quant::in_name(name).map(|quant| quant.name), found, "{name}");
        }
        assert!(Quant::find("q4_k_m").is_some() && Quant::find("q4").is_none());
    }

    #[test]
    fn the_list_goes_from_large_to_small_and_losses_are_those_of_the_source() {
        assert!(QUANTS.windows(2).all(|pair| pair[0].bits >= pair[1].bits));
        // A model of 8.03 billion weights in Q4_K_M is 4.58 GiB there.
        let bits = Quant::find("Q4_K_M").expect("it is in the list").bits;
        assert!((8.03e9 * bits / 8.0 / f64::from(1 << 30) - 4.58).abs() < 0.01);
        assert_eq!(Quant::find("Q8_0").map(Quant::loss_text), Some("none to speak of"));
        assert_eq!(Quant::find("IQ1_S").map(Quant::loss_text), Some("most"));
    }
}
