//! Whose a tensor type is that this program does not have, so that the refusal can say which tool made the file.
//!
//! Sources: ggml's list of removed types (`ggml_type`), bitnet.cpp's I2_S, and the `GGMLQuantizationType` of
//! ik_llama.cpp's gguf package.

use std::fmt;

/// Where a tensor type id comes from that [`TensorType`](crate::TensorType) does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeMaker {
    /// Once in ggml, no more; its name.
    Removed(&'static str),
    /// Stored in the order one kind of processor wanted it; once in ggml, no more; its name.
    RemovedRepacked(&'static str),
    /// Id 36 was one of ggml's repacked types and is also the ternary type of bitnet.cpp.
    BitnetCpp(&'static str),
    /// A type of the ik_llama.cpp fork; its name.
    IkLlama(&'static str),
    /// In the range that ik_llama.cpp numbers its types in, but not known by name.
    PerhapsIkLlama,
    /// Not known at all.
    Unknown,
}

const FOREIGN: [(u32, TypeMaker); 61] = {
    use TypeMaker::{BitnetCpp, IkLlama, Removed, RemovedRepacked};
    [
        (4, Removed("Q4_2")),
        (5, Removed("Q4_3")),
        (31, RemovedRepacked("Q4_0_4_4")),
        (32, RemovedRepacked("Q4_0_4_8")),
        (33, RemovedRepacked("Q4_0_8_8")),
        (36, BitnetCpp("I2_S")),
        (37, RemovedRepacked("IQ4_NL_4_8")),
        (38, RemovedRepacked("IQ4_NL_8_8")),
        (133, IkLlama("Q6_0")),
        (134, IkLlama("IQ1_BN")),
        (135, IkLlama("IQ2_BN")),
        (136, IkLlama("Q8_K64")),
        (137, IkLlama("IQ2_K")),
        (138, IkLlama("IQ3_K")),
        (139, IkLlama("IQ4_K")),
        (140, IkLlama("IQ5_K")),
        (141, IkLlama("IQ6_K")),
        (144, IkLlama("IQ4_KS")),
        (145, IkLlama("IQ2_KS")),
        (146, IkLlama("IQ4_KSS")),
        (147, IkLlama("Q8_K16")),
        (148, IkLlama("Q8_K32")),
        (149, IkLlama("Q8_KR8")),
        (150, IkLlama("Q8_K128")),
        (151, IkLlama("Q8_KV")),
        (152, IkLlama("IQ5_KS")),
        (153, IkLlama("IQ2_KT")),
        (154, IkLlama("IQ3_KT")),
        (155, IkLlama("IQ4_KT")),
        (156, IkLlama("IQ3_KS")),
        (157, IkLlama("IQ2_KL")),
        (158, IkLlama("IQ1_KT")),
        (202, IkLlama("Q4_0_R8")),
        (206, IkLlama("Q5_0_R4")),
        (208, IkLlama("Q8_0_R8")),
        (210, IkLlama("Q2_K_R4")),
        (211, IkLlama("Q3_K_R4")),
        (212, IkLlama("Q4_K_R4")),
        (213, IkLlama("Q5_K_R4")),
        (214, IkLlama("Q6_K_R4")),
        (216, IkLlama("IQ2_XXS_R4")),
        (217, IkLlama("IQ2_XS_R4")),
        (218, IkLlama("IQ3_XXS_R4")),
        (219, IkLlama("IQ1_S_R4")),
        (220, IkLlama("IQ4_NL_R4")),
        (221, IkLlama("IQ3_S_R4")),
        (222, IkLlama("IQ2_S_R4")),
        (223, IkLlama("IQ4_XS_R8")),
        (229, IkLlama("IQ1_M_R4")),
        (230, IkLlama("BF16_R16")),
        (233, IkLlama("Q6_0_R4")),
        (335, IkLlama("IQ2_BN_R4")),
        (337, IkLlama("IQ2_K_R4")),
        (338, IkLlama("IQ3_K_R4")),
        (339, IkLlama("IQ4_K_R4")),
        (340, IkLlama("IQ5_K_R4")),
        (344, IkLlama("IQ4_KS_R4")),
        (352, IkLlama("IQ5_KS_R4")),
        (397, IkLlama("Q8_K_R16")),
        (398, IkLlama("Q8_KV_R8")),
        (399, IkLlama("Q8_K_R8")),
    ]
};

/// Whose the tensor type with this id is, for ids that [`TensorType::from_id`](crate::TensorType::from_id) refuses.
pub fn type_maker(id: u32) -> TypeMaker {
    match FOREIGN.iter().find(|row| row.0 == id) {
        Some(row) => row.1,
        None if (97..400).contains(&id) => TypeMaker::PerhapsIkLlama,
        None => TypeMaker::Unknown,
    }
}

impl TypeMaker {
    /// What to do with such a file.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            TypeMaker::Removed(_) => Some("fetch the model again in a type of today, for example `Q4_K_M`"),
            TypeMaker::RemovedRepacked(_) => {
                Some("fetch the `Q4_0` or `IQ4_NL` file of the same model: the order is made at load time today")
            }
            TypeMaker::BitnetCpp(_) => Some("fetch the model in `TQ1_0` or `TQ2_0`, or run it with bitnet.cpp"),
            TypeMaker::IkLlama(_) | TypeMaker::PerhapsIkLlama => {
                Some("fetch a file made by llama.cpp, for example `Q4_K_M`, or run this one with ik_llama.cpp")
            }
            TypeMaker::Unknown => Some("the file may be newer than this program, or damaged"),
        }
    }
}

impl fmt::Display for TypeMaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypeMaker::Removed(name) => write!(formatter, "{name}, which ggml removed in 2023"),
            TypeMaker::RemovedRepacked(name) => write!(formatter, "{name}, a repacked type that ggml removed"),
            TypeMaker::BitnetCpp(name) => write!(formatter, "{name} of bitnet.cpp, or the removed IQ4_NL_4_4 of ggml"),
            TypeMaker::IkLlama(name) => write!(formatter, "{name} of the ik_llama.cpp fork"),
            TypeMaker::PerhapsIkLlama => write!(formatter, "perhaps of the ik_llama.cpp fork"),
            TypeMaker::Unknown => write!(formatter, "which is not known"),
        }
    }
}
