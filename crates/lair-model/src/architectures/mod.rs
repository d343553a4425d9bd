//! The architectures that can be run: one file and one line each.

mod gemma3;
mod gpt2;
mod gpt_oss;
mod llama;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen35;
mod qwen3moe;

use crate::ModelError;
use crate::spec::Architecture;

/// Every declared architecture.
pub const ALL: &[&Architecture] = &[
    &gemma3::GEMMA3,
    &gpt2::GPT2,
    &gpt_oss::GPT_OSS,
    &llama::LLAMA,
    &phi3::PHI3,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &qwen35::QWEN35,
    &qwen3moe::QWEN3MOE,
];

/// The declaration of this `general.architecture`.
///
/// # Errors
/// [`ModelError::UnknownArchitecture`] with all known names and the nearest one.
pub fn find(gguf_name: &str) -> Result<&'static Architecture, ModelError> {
    if let Some(architecture) = ALL.iter().find(|architecture| architecture.gguf_name == gguf_name) {
        return Ok(architecture);
    }
    let supported: Vec<&str> = ALL.iter().map(|architecture| architecture.gguf_name).collect();
    // A file can hold a name of any length; beyond this none is near.
    let name: String = gguf_name.chars().take(64).collect();
    let near = supported
        .iter()
        .map(|known| (edit_distance(&name, known), *known))
        .filter(|(distance, known)| *distance <= known.len() / 2)
        // Of two that are equally near the longer one has more in common.
        .min_by_key(|(distance, known)| (*distance, std::cmp::Reverse(known.len())))
        .map(|(_, known)| known);
    Err(ModelError::UnknownArchitecture { name, near, supported })
}

/// Insertions, deletions and replacements between two names (Levenshtein).
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_declared_architecture_by_its_name() {
        for architecture in ALL {
            let found = find(architecture.gguf_name).expect("declared");
            assert_eq!(found.gguf_name, architecture.gguf_name);
        }
        let names: std::collections::HashSet<&str> = ALL.iter().map(|architecture| architecture.gguf_name).collect();
        assert_eq!(names.len(), ALL.len(), "two declarations have the same name");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_known_one() {
        let check = |name: &str, expected: Option<&str>| match find(name) {
            Err(ModelError::UnknownArchitecture { near, supported, .. }) => {
                assert_eq!(near, expected, "{name}");
                assert_eq!(supported.len(), ALL.len());
            }
            _ => panic!("`{name}` is known"),
        };
        check("qwen36", Some("qwen35"));
        check("llama9", Some("llama"));
        check("mamba", None);
        check("", None);
        check(&"x".repeat(1 << 20), None);
    }
}
