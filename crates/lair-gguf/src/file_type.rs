//! Names of the kinds of quantization that `general.file_type` may say of a whole file.

/// By the numbers of ggml's `llama_ftype`.
const NAMES: &[(i128, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4_MOE"),
    (39, "NVFP4"),
    (40, "Q1_0"),
    (41, "Q2_0"),
];

/// The name tools use for a value of `general.file_type`, if it is a known one.
pub fn file_type_name(id: i128) -> Option<&'static str> {
    // 1024 marks a guess of the program that wrote the file.
    let id = if id >= 1024 { id - 1024 } else { id };
    NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_known() {
        for (id, name) in [(0, Some("F32")), (15, Some("Q4_K_M")), (1024 + 7, Some("Q8_0")), (4, None), (-1, None)] {
            assert_eq!(file_type_name(id), name, "{id}");
        }
    }
}
