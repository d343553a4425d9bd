//! The file types that a model can be quantized to: their names, their numbers in a file, the type most tensors get.
//!
//! Source: `llama_ftype` of llama.cpp and the names that its quantizer takes.

use lair_gguf::TensorType;

/// A named way to quantize a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileType {
    /// The name, for example `Q4_K_M`.
    pub name: &'static str,
    /// The value of `general.file_type`.
    pub id: u32,
    /// What tensors get to which no rule of the mix applies.
    pub base: TensorType,
}

macro_rules! file_types {
    ($($name:ident, $text:literal, $id:literal, $base:ident;)*) => {
        $(
            #[allow(missing_docs)] // The names say it.
            pub const $name: FileType = FileType { name: $text, id: $id, base: TensorType::$base };
        )*
        /// Every file type, those of fewer bits first.
        pub const FILE_TYPES: &[FileType] = &[$($name),*];
    };
}

file_types! {
    Q1_0, "Q1_0", 40, Q1_0;
    IQ1_S, "IQ1_S", 24, IQ1_S;
    TQ1_0, "TQ1_0", 36, TQ1_0;
    IQ1_M, "IQ1_M", 31, IQ1_M;
    TQ2_0, "TQ2_0", 37, TQ2_0;
    IQ2_XXS, "IQ2_XXS", 19, IQ2_XXS;
    Q2_0, "Q2_0", 41, Q2_0;
    IQ2_XS, "IQ2_XS", 20, IQ2_XS;
    IQ2_S, "IQ2_S", 28, IQ2_XS;
    IQ2_M, "IQ2_M", 29, IQ2_S;
    Q2_K_S, "Q2_K_S", 21, Q2_K;
    Q2_K, "Q2_K", 10, Q2_K;
    IQ3_XXS, "IQ3_XXS", 23, IQ3_XXS;
    IQ3_XS, "IQ3_XS", 22, IQ3_S;
    IQ3_S, "IQ3_S", 26, IQ3_S;
    Q3_K_S, "Q3_K_S", 11, Q3_K;
    IQ3_M, "IQ3_M", 27, IQ3_S;
    Q3_K_M, "Q3_K_M", 12, Q3_K;
    Q3_K_L, "Q3_K_L", 13, Q3_K;
    IQ4_XS, "IQ4_XS", 30, IQ4_XS;
    MXFP4_MOE, "MXFP4_MOE", 38, MXFP4;
    IQ4_NL, "IQ4_NL", 25, IQ4_NL;
    Q4_0, "Q4_0", 2, Q4_0;
    Q4_1, "Q4_1", 3, Q4_1;
    Q4_K_S, "Q4_K_S", 14, Q4_K;
    Q4_K_M, "Q4_K_M", 15, Q4_K;
    Q5_0, "Q5_0", 8, Q5_0;
    Q5_1, "Q5_1", 9, Q5_1;
    Q5_K_S, "Q5_K_S", 16, Q5_K;
    Q5_K_M, "Q5_K_M", 17, Q5_K;
    Q6_K, "Q6_K", 18, Q6_K;
    Q8_0, "Q8_0", 7, Q8_0;
    F16, "F16", 1, F16;
    BF16, "BF16", 32, BF16;
    F32, "F32", 0, F32;
}

/// Names that stand for others.
const ALIASES: [(&str, FileType); 3] = [("Q3_K", Q3_K_M), ("Q4_K", Q4_K_M), ("Q5_K", Q5_K_M)];

impl FileType {
    /// The file type that a user calls so, in upper or lower case.
    pub fn from_name(name: &str) -> Option<FileType> {
        let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, file_type)| *file_type);
        alias.or_else(|| FILE_TYPES.iter().find(|known| known.name.eq_ignore_ascii_case(name)).copied())
    }

    /// Whether the base type has blocks; mixes, fallbacks and wishes for single tensors apply only then.
    pub fn is_quantized(self) -> bool {
        self.base.block_length() > 1
    }
}

/// The tensor type that a user calls so, in upper or lower case, if it can be written.
pub fn tensor_type_from_name(name: &str) -> Option<TensorType> {
    TensorType::all()
        .find(|known| known.name().eq_ignore_ascii_case(name))
        .filter(|known| lair_quant::format_of(*known).is_some_and(|format| format.is_encodable()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(FileType::from_name("q4_K_m"), Some(Q4_K_M));
        assert_eq!(FileType::from_name("q4_k"), Some(Q4_K_M));
        assert_eq!(FileType::from_name("Q9"), None);
        assert_eq!(tensor_type_from_name("iq4_nl"), Some(TensorType::IQ4_NL));
        assert_eq!(tensor_type_from_name("i32"), None);
    }

    #[test]
    fn numbers_are_those_that_files_are_named_by() {
        for file_type in FILE_TYPES {
            if let Some(name) = lair_gguf::file_type_name(i128::from(file_type.id)) {
                assert_eq!(name, file_type.name);
            }
        }
    }
}
