//! Tells the program which commit it was built from, where that is known: figures are worth little without it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    // The log of HEAD grows with every commit and every change of the branch.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| std::path::Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    // Only the commit of this program's own repository: a copy of the sources may lie in another one.
    let is_own = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    let commit = if is_own { git(&["rev-parse", "--short=12", "HEAD"]) } else { None };
    println!("cargo:rustc-env=LAIR_COMMIT={}", commit.unwrap_or_default());
}
