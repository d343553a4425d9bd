//! Low-rank adapters: what the user asked for, and their files.

use std::path::{Path, PathBuf};

use clap::Args;
use lair_convert::lora;
use lair_gguf::GgufFile;

use crate::failure::{ExitCode, Failure};
use crate::session::LoadOptions;

/// Adapters that are added to a model.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Adapters")]
pub struct AdapterArgs {
    /// A low-rank adapter (LoRA: a GGUF file, or a folder of PEFT's) for the model; may be given several times
    #[arg(long, value_name = "FILE")]
    lora: Vec<PathBuf>,
    /// The same with a factor on what it adds
    #[arg(long, value_name = "FILE:FACTOR", value_parser = scaled)]
    lora_scaled: Vec<AdapterChoice>,
}

/// An adapter that is to be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterChoice {
    /// Its file.
    pub path: PathBuf,
    /// The factor on what it adds.
    pub scale: f32,
}

impl AdapterChoice {
    /// An adapter as it was trained.
    pub fn of_file(path: PathBuf) -> AdapterChoice {
        AdapterChoice { path, scale: 1.0 }
    }

    /// The file with its weights: itself, or that in a folder of PEFT's.
    pub fn file(&self) -> PathBuf {
        lora::weights_of(&self.path).unwrap_or_else(|| self.path.clone())
    }

    /// What to call it: its file's name.
    pub fn name(&self) -> String {
        self.path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    }
}

impl AdapterArgs {
    /// These adapters, those without a factor first.
    pub fn choices(&self) -> Vec<AdapterChoice> {
        let plain = self.lora.iter().cloned().map(AdapterChoice::of_file);
        plain.chain(self.lora_scaled.iter().cloned()).collect()
    }

    /// These adapters, behind those of other options.
    pub fn over(&self, mut options: LoadOptions) -> LoadOptions {
        options.adapters.extend(self.choices());
        options
    }
}

fn scaled(text: &str) -> Result<AdapterChoice, String> {
    let (path, scale) = text.rsplit_once(':').ok_or("a file, a colon and a factor expected, as in style.gguf:0.5")?;
    let factor: f32 = scale.parse().map_err(|_| format!("`{scale}` is no factor, a number expected"))?;
    match factor.is_finite() {
        true => Ok(AdapterChoice { path: PathBuf::from(path), scale: factor }),
        false => Err(format!("the factor is {factor}, a finite number expected")),
    }
}

/// Opens the files of adapters for the model `base`: GGUF files, and folders as PEFT saves them.
///
/// # Errors
/// If one is missing, or neither.
pub fn open(adapters: &[AdapterChoice], base: &GgufFile) -> Result<Vec<GgufFile>, Failure> {
    let open = |adapter: &AdapterChoice| match lora::is_peft(&adapter.path) {
        true => lora::Base::of_model(base)
            .and_then(|base| lora::open_peft(&adapter.path, &base, None))
            .map_err(|error| refused(&adapter.path, error)),
        false => GgufFile::open(&adapter.path).map_err(|error| refused(&adapter.path, error)),
    };
    adapters.iter().map(open).collect()
}

fn refused(path: &Path, error: impl std::fmt::Display) -> Failure {
    let missing = !path.exists();
    let failure = Failure::new(
        if missing { ExitCode::NotFound } else { ExitCode::BadModel },
        format!("the adapter `{}` cannot be used: {error}", path.display()),
    );
    match missing {
        true => failure,
        false => failure
            .with_hint("adapters are GGUF files with `adapter.type` lora, or folders as PEFT saves them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_stand_behind_the_last_colon() {
        let choice = scaled("C:/style.gguf:-0.5").expect("a file and a factor");
        assert_eq!(choice, AdapterChoice { path: "C:/style.gguf".into(), scale: -0.5 });
        assert_eq!(choice.name(), "style");
        for text in ["style.gguf", "style.gguf:", "style.gguf:much", "style.gguf:inf"] {
            assert!(scaled(text).is_err(), "{text}");
        }
    }
}
