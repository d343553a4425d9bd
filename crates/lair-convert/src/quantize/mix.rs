//! Which type each tensor gets: the mixes behind names like `Q4_K_M`.
//!
//! A mix is a list of rules for the roles of tensors; the first that holds decides, and the base type of the file where
//! none does. Source: the choices of llama.cpp's quantizer (`llama-quant.cpp`), so that files of both are alike.

use lair_gguf::TensorType;

use super::{
    file_type::{self as ft, FileType},
    role::Role,
};

/// What the rules ask of the model.
#[derive(Clone, Copy, Debug)]
pub struct ModelFacts<'m> {
    /// `general.architecture`.
    pub architecture: &'m str,
    /// `general.architecture` is `falcon`, which has rules of its own.
    pub is_falcon: bool,
    /// One of the shapes with 70 billion parameters, whose values are shared by many heads.
    pub is_70b: bool,
    /// Query heads for each head of keys and values, in the first layer.
    pub group_size: u64,
    /// Experts; 0 if there are none.
    pub expert_count: u64,
    /// Layers.
    pub layer_count: usize,
    /// Tensors of the role `Value`.
    pub value_count: usize,
    /// Whether the embedding is the head as well.
    pub has_tied_embedding: bool,
    /// Whether there is an importance matrix.
    pub has_importance: bool,
}

/// Which tensor of its role one is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Counted from 0, in the order of the layers.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl Place {
    fn is_in_first(self, part: usize) -> bool {
        self.index < self.count / part
    }

    /// The first and the last eighth, and every third between them.
    fn has_more_bits(self) -> bool {
        let eighth = self.count / 8;
        self.index < eighth
            || self.index >= 7 * self.count / 8
            || self.index.checked_sub(eighth).is_some_and(|i| i % 3 == 2)
    }

    fn is_in_the_middle(self) -> bool {
        self.index >= self.count / 8 && self.index < 7 * self.count / 8
    }
}

/// When a rule holds.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    /// Four query heads or more share keys and values.
    WideGroups,
    /// As before, or four experts or more.
    WideGroupsOrExperts,
    EightExperts,
    NotEightExperts,
    Falcon,
    NotFalcon,
    /// The tensor is among the first of its role, by number.
    Before(usize),
    /// Among the first part of its role: an eighth, a sixteenth.
    FirstPart(usize),
    MoreBits,
    Middle,
    Importance,
    NoImportance,
    /// Both.
    And(&'static When, &'static When),
    /// One of both.
    Or(&'static When, &'static When),
}

impl When {
    fn holds(self, facts: &ModelFacts<'_>, place: Place) -> bool {
        match self {
            When::Always => true,
            When::WideGroups => facts.group_size >= 4,
            When::WideGroupsOrExperts => facts.group_size >= 4 || facts.expert_count >= 4,
            When::EightExperts => facts.expert_count == 8,
            When::NotEightExperts => facts.expert_count != 8,
            When::Falcon => facts.is_falcon,
            When::NotFalcon => !facts.is_falcon,
            When::Before(count) => place.index < count,
            When::FirstPart(part) => place.is_in_first(part),
            When::MoreBits => place.has_more_bits(),
            When::Middle => place.is_in_the_middle(),
            When::Importance => facts.has_importance,
            When::NoImportance => !facts.has_importance,
            When::And(a, b) => a.holds(facts, place) && b.holds(facts, place),
            When::Or(a, b) => a.holds(facts, place) || b.holds(facts, place),
        }
    }
}

/// In these files, tensors of this role get this type, when that holds.
type Rule = (&'static [FileType], Role, When, TensorType);

use TensorType as T;
use When::{Always, And, Or};

/// File types of about two bits and less, whose rules are their own.
const LOW: &[FileType] = &[ft::IQ2_XXS, ft::IQ2_XS, ft::IQ1_S, ft::IQ2_S, ft::IQ2_M, ft::IQ1_M];
const IQ2_S_M: &[FileType] = &[ft::IQ2_S, ft::IQ2_M];
const IQ1: &[FileType] = &[ft::IQ1_S, ft::IQ1_M];
const IQ4: &[FileType] = &[ft::IQ4_NL, ft::IQ4_XS];

const LOW_RULES: &[Rule] = &[
    (LOW, Role::Value, When::WideGroupsOrExperts, T::Q4_K),
    (IQ2_S_M, Role::Value, Always, T::IQ3_S),
    (LOW, Role::Value, Always, T::Q2_K),
    (LOW, Role::Key, When::EightExperts, T::Q4_K),
    (IQ2_S_M, Role::Down, When::FirstPart(8), T::IQ3_S),
    (LOW, Role::Down, When::FirstPart(8), T::Q2_K),
    (LOW, Role::AttentionOutput, When::EightExperts, T::Q5_K),
    (IQ1, Role::AttentionOutput, Always, T::IQ2_XXS),
    (IQ2_S_M, Role::AttentionOutput, Always, T::IQ3_S),
];

/// Files whose attention output gets five bits in models of eight experts.
const FIVE_BITS_FOR_EIGHT: &[FileType] = &[
    ft::Q2_K,
    ft::IQ3_XS,
    ft::IQ3_XXS,
    ft::Q3_K_S,
    ft::Q3_K_M,
    ft::IQ4_NL,
    ft::Q4_K_S,
    ft::Q4_K_M,
    ft::IQ3_S,
    ft::IQ3_M,
    ft::IQ4_XS,
];

const NO_EIGHT_NO_FALCON: When = And(&When::NotEightExperts, &When::NotFalcon);
const EARLY_WITHOUT_IMPORTANCE: When = And(&When::FirstPart(8), &When::NoImportance);
const EARLY_WITH_IMPORTANCE: When = And(&When::FirstPart(8), &When::Importance);

const RULES: &[Rule] = &[
    (&[ft::Q2_K, ft::Q2_K_S, ft::IQ3_XXS, ft::IQ3_XS, ft::IQ3_S], Role::Value, When::WideGroups, T::Q4_K),
    (&[ft::Q2_K], Role::Value, Always, T::Q3_K),
    (&[ft::IQ3_XXS], Role::Value, When::NoImportance, T::IQ3_S),
    (&[ft::IQ3_M], Role::Value, Always, T::Q4_K),
    (&[ft::Q3_K_M], Role::Value, When::Before(2), T::Q5_K),
    (&[ft::Q3_K_M], Role::Value, Always, T::Q4_K),
    (&[ft::Q3_K_L], Role::Value, Always, T::Q5_K),
    (IQ4, Role::Value, When::WideGroups, T::Q5_K),
    (&[ft::Q4_K_M, ft::Q5_K_M], Role::Value, When::MoreBits, T::Q6_K),
    (&[ft::Q4_K_S], Role::Value, When::Before(4), T::Q5_K),
    (&[ft::IQ3_XS], Role::Key, Always, T::IQ3_XXS),
    (&[ft::IQ3_XXS], Role::Key, Always, T::IQ2_S),
    (&[ft::IQ3_XS], Role::Query, Always, T::IQ3_XXS),
    (&[ft::IQ3_XXS], Role::Query, Always, T::IQ2_S),
    (&[ft::Q2_K], Role::Down, Always, T::Q3_K),
    (&[ft::Q2_K_S], Role::Down, When::FirstPart(8), T::Q4_K),
    (&[ft::IQ3_XXS], Role::Down, EARLY_WITHOUT_IMPORTANCE, T::Q4_K),
    (&[ft::IQ3_XXS], Role::Down, When::NoImportance, T::Q3_K),
    (&[ft::Q3_K_M], Role::Down, When::FirstPart(16), T::Q5_K),
    (&[ft::Q3_K_M], Role::Down, Or(&When::NotFalcon, &When::MoreBits), T::Q4_K),
    (&[ft::IQ3_M], Role::Down, When::FirstPart(8), T::Q4_K),
    (&[ft::IQ3_M], Role::Down, And(&When::EightExperts, &When::MoreBits), T::Q4_K),
    (&[ft::Q3_K_L], Role::Down, When::Falcon, T::Q4_K),
    (&[ft::Q3_K_L], Role::Down, Always, T::Q5_K),
    (&[ft::Q4_K_M], Role::Down, And(&When::Falcon, &When::FirstPart(16)), T::Q6_K),
    (&[ft::Q4_K_M], Role::Down, And(&When::Falcon, &When::MoreBits), T::Q5_K),
    (&[ft::Q4_K_M], Role::Down, And(&When::NotFalcon, &When::MoreBits), T::Q6_K),
    (IQ4, Role::Down, EARLY_WITHOUT_IMPORTANCE, T::Q5_K),
    (&[ft::Q5_K_M], Role::Down, When::MoreBits, T::Q6_K),
    (&[ft::Q4_K_S], Role::Down, And(&When::NotFalcon, &When::FirstPart(8)), T::Q5_K),
    // With an importance matrix the first layers may go wild in these types.
    (&[ft::Q4_0], Role::Down, EARLY_WITH_IMPORTANCE, T::Q4_1),
    (&[ft::Q5_0], Role::Down, EARLY_WITH_IMPORTANCE, T::Q5_1),
    (FIVE_BITS_FOR_EIGHT, Role::AttentionOutput, And(&When::EightExperts, &When::NotFalcon), T::Q5_K),
    (&[ft::Q2_K], Role::AttentionOutput, NO_EIGHT_NO_FALCON, T::Q3_K),
    (&[ft::IQ3_XXS], Role::AttentionOutput, NO_EIGHT_NO_FALCON, T::IQ3_S),
    (&[ft::Q3_K_M, ft::IQ3_M], Role::AttentionOutput, NO_EIGHT_NO_FALCON, T::Q4_K),
    (&[ft::Q3_K_L], Role::AttentionOutput, NO_EIGHT_NO_FALCON, T::Q5_K),
    (&[ft::Q3_K_L], Role::AttentionOutput, When::Falcon, T::Q4_K),
    (&[ft::IQ3_XS], Role::Gate, When::Middle, T::IQ3_XXS),
    (&[ft::IQ3_XS], Role::Up, When::Middle, T::IQ3_XXS),
];

/// Embeddings that are not the head as well.
const EMBEDDING_RULES: &[(&[FileType], TensorType)] = &[
    (&[ft::IQ2_XXS, ft::IQ2_XS, ft::IQ1_S, ft::IQ1_M], T::Q2_K),
    (&[ft::IQ2_S, ft::IQ2_M, ft::IQ3_XXS], T::IQ3_S),
    (&[ft::TQ1_0, ft::TQ2_0, ft::Q2_0], T::Q4_K),
];

/// Heads of these files get five bits.
const FIVE_BIT_HEADS: &[FileType] = &[ft::IQ2_XXS, ft::IQ2_XS, ft::IQ3_XXS, ft::IQ1_S, ft::IQ2_S, ft::IQ2_M, ft::IQ1_M];

/// The type of a tensor in a file, by the mix alone.
pub fn choose(file_type: FileType, facts: &ModelFacts<'_>, role: Role, place: Place, shape: &[u64]) -> TensorType {
    let is_head = role == Role::Output || role == Role::Embedding && facts.has_tied_embedding;
    let is_mxfp4 = file_type == ft::MXFP4_MOE;
    if is_head {
        let fits = shape[0].is_multiple_of(file_type.base.block_length() as u64);
        return match file_type.base {
            _ if is_mxfp4 || facts.is_falcon || !fits => T::Q8_0,
            _ if FIVE_BIT_HEADS.contains(&file_type) => T::Q5_K,
            T::Q8_0 => T::Q8_0,
            _ => T::Q6_K,
        };
    }
    if is_mxfp4 {
        // Of Ling 3's stacks some are of heads.
        let is_expert = facts.architecture != "bailingmoe3" || [Role::Up, Role::Gate, Role::Down].contains(&role);
        let is_of_experts = is_expert && shape.get(2).is_some_and(|count| *count > 1);
        return if is_of_experts { T::MXFP4 } else { T::Q8_0 };
    }
    if role == Role::Embedding {
        let rule = EMBEDDING_RULES.iter().find(|(files, _)| files.contains(&file_type));
        return rule.map_or(file_type.base, |(_, chosen)| *chosen);
    }
    let is_low = LOW.contains(&file_type);
    let rules = if is_low { LOW_RULES } else { RULES };
    let rule =
        rules.iter().find(|(files, of, when, _)| *of == role && files.contains(&file_type) && when.holds(facts, place));
    let chosen = rule.map_or(file_type.base, |(.., chosen)| *chosen);
    if is_low { chosen } else { adjust(facts, role, chosen) }
}

/// Where a tensor is small beside the rest, more bits cost next to nothing.
fn adjust(facts: &ModelFacts<'_>, role: Role, chosen: TensorType) -> TensorType {
    match (role, chosen) {
        (Role::Value | Role::Key, _) if facts.expert_count == 8 => T::Q8_0,
        (Role::Value, T::Q3_K | T::Q4_K) if facts.is_70b => T::Q5_K,
        _ => chosen,
    }
}

/// The type of shorter blocks that stands in for one whose blocks do not divide the rows.
pub fn fallback(wanted: TensorType, row_length: u64) -> TensorType {
    let divides = |tensor_type: TensorType| row_length.is_multiple_of(tensor_type.block_length() as u64);
    let second = match wanted {
        _ if divides(wanted) => return wanted,
        T::IQ1_S | T::IQ1_M | T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ3_XXS | T::IQ3_S | T::IQ4_XS => T::IQ4_NL,
        T::Q1_0 | T::Q2_0 | T::Q2_K | T::Q3_K | T::TQ1_0 | T::TQ2_0 => T::Q4_0,
        T::Q4_K | T::NVFP4 => T::Q5_0,
        T::Q5_K => T::Q5_1,
        T::Q6_K => T::Q8_0,
        other => other,
    };
    if divides(second) { second } else { T::F16 }
}

/// Whether a tensor of this type is worthless without an importance matrix.
pub fn needs_importance(name: &str, chosen: TensorType, file_type: FileType) -> bool {
    if matches!(Role::of(name), Role::Embedding | Role::Output) {
        return false;
    }
    match chosen {
        T::IQ3_XXS | T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ1_M | T::IQ1_S => true,
        T::Q2_K => file_type == ft::Q2_K_S,
        _ => false,
    }
}

/// Whether a file type is one of those of about two bits and less, which count their layers by themselves.
pub(super) fn is_low(file_type: FileType) -> bool {
    LOW.contains(&file_type)
}
