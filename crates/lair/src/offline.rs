//! Offline: nothing is fetched, no socket is opened.

use std::sync::OnceLock;

use crate::failure::{ExitCode, Failure};

/// What turns it on without a flag. The others are those of the hub's own tools and of llama.cpp's.
const VARIABLES: [&str; 3] = ["LAIR_OFFLINE", "HF_HUB_OFFLINE", "LLAMA_ARG_OFFLINE"];

/// Why the program is offline, once `--offline` was read.
static REASON: OnceLock<Option<&'static str>> = OnceLock::new();

/// Takes note of `--offline`, or of the environment. To be called once, before anything is looked for.
pub fn set(flag: bool) {
    let of_environment = || VARIABLES.into_iter().find(|name| std::env::var(name).is_ok_and(|value| is_true(&value)));
    let reason = if flag { Some("--offline") } else { of_environment() };
    // Set once by `main`; a second call would bring the same.
    let _ = REASON.set(reason);
}

/// What keeps the program offline: the name of the flag or of the variable.
pub fn reason() -> Option<&'static str> {
    REASON.get().copied().flatten()
}

/// The answer to who wants to fetch `what` although the program is offline; `Ok` if it may.
///
/// # Errors
/// Says what is missing, what forbids fetching it, and how to get it.
pub fn check(what: &str, how: &str) -> Result<(), Failure> {
    let Some(reason) = reason() else { return Ok(()) };
    let cause = format!("`{what}` is not on this machine, and {reason} forbids fetching it");
    Err(Failure::new(ExitCode::NotFound, cause)
        .with_hint(format!("once, with a network and without {reason}: `{how}`")))
}

/// What the hub's tools take for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_is_what_the_hub_s_tools_take_for_it() {
        for (value, expected) in [("1", true), ("TRUE", true), (" yes ", true), ("0", false), ("", false), ("2", false)]
        {
            assert_eq!(is_true(value), expected, "{value}");
        }
    }
}
