//! The terminal: how wide it is, and whether it shows styles.

use std::io::IsTerminal;

/// Columns of the terminal that standard output goes to, if it is one.
pub fn width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0)
}

/// Whether standard output shows styles such as dim text. `NO_COLOR` (https://no-color.org) turns them off.
pub fn has_styles() -> bool {
    let is_plain = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal()
        && !is_plain("NO_COLOR")
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}
