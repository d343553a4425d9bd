//! Names the format of a file that is not GGUF, so that the refusal can say what to do.

use std::fmt;

/// What a file that is not GGUF looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherFormat {
    /// Nothing at all.
    Empty,
    /// A zip archive: how PyTorch saves checkpoints today.
    PyTorchZip,
    /// A bare pickle: how PyTorch saved checkpoints before.
    Pickle,
    /// A safetensors file.
    Safetensors,
    /// GGML, GGMF, GGJT or GGLA: what came before GGUF.
    LegacyGgml(&'static str),
    /// An executable with a model inside.
    Llamafile,
    /// A program, or a llamafile built as one.
    Elf,
    /// A web page saved under the model's name.
    Html,
    /// The small text that stands for a file in a git repository.
    GitLfsPointer,
    /// The magic in reverse order of bytes.
    ReversedMagic,
    /// A compressed file or archive of this kind.
    Compressed(&'static str),
    /// A file of JSON, or of an index that lists shards.
    Json,
    /// A NumPy array.
    Numpy,
    /// An HDF5 file (Keras).
    Hdf5,
    /// Zeros only: room that was reserved and never filled.
    Zeros,
    /// Fewer than four bytes.
    TooShort(usize),
    /// None of these; the first four bytes.
    Unknown([u8; 4]),
}

/// Bytes at the start of a file, and the format they tell of.
const STARTS: [(&[u8], OtherFormat); 19] = [
    (b"PK\x03\x04", OtherFormat::PyTorchZip),
    (b"lmgg", OtherFormat::LegacyGgml("GGML")),
    (b"fmgg", OtherFormat::LegacyGgml("GGMF")),
    (b"tjgg", OtherFormat::LegacyGgml("GGJT")),
    (b"algg", OtherFormat::LegacyGgml("GGLA")),
    (b"FUGG", OtherFormat::ReversedMagic),
    (b"\x7fELF", OtherFormat::Elf),
    (b"MZqFpD", OtherFormat::Llamafile),
    (b"jartsr", OtherFormat::Llamafile),
    (b"version https://git-lfs", OtherFormat::GitLfsPointer),
    (b"\x1f\x8b", OtherFormat::Compressed("gzip")),
    (b"\x28\xb5\x2f\xfd", OtherFormat::Compressed("zstd")),
    (b"BZh", OtherFormat::Compressed("bzip2")),
    (b"\xfd7zXZ", OtherFormat::Compressed("xz")),
    (b"7z\xbc\xaf", OtherFormat::Compressed("7z")),
    (b"\x93NUMPY", OtherFormat::Numpy),
    (b"\x89HDF", OtherFormat::Hdf5),
    (b"<!DOCTYPE", OtherFormat::Html),
    (b"<html", OtherFormat::Html),
];

impl OtherFormat {
    /// What `bytes`, the start of a file that is not GGUF, look like.
    pub fn recognise(bytes: &[u8]) -> OtherFormat {
        if bytes.is_empty() {
            return OtherFormat::Empty;
        }
        if let Some((_, format)) = STARTS.iter().find(|(start, _)| bytes.starts_with(start)) {
            return format.clone();
        }
        if is_safetensors(bytes) {
            return OtherFormat::Safetensors;
        }
        // Protocol 2 to 5, then the opcodes that PyTorch's own files begin with (a long, a global, a frame or a dict).
        if let [0x80, 2..=5, opcode, ..] = bytes
            && [0x8a, b'c', 0x95, b'}', b']', b'('].contains(opcode)
        {
            return OtherFormat::Pickle;
        }
        if bytes.get(257..262) == Some(b"ustar".as_slice()) {
            return OtherFormat::Compressed("tar");
        }
        if let Some(format) = recognise_text(bytes) {
            return format;
        }
        let start = &bytes[..bytes.len().min(4096)];
        if start.len() >= 4 && start.iter().all(|byte| *byte == 0) {
            return OtherFormat::Zeros;
        }
        match bytes.first_chunk::<4>() {
            Some(first) => OtherFormat::Unknown(*first),
            None => OtherFormat::TooShort(bytes.len()),
        }
    }

    /// What to do with such a file.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            OtherFormat::PyTorchZip | OtherFormat::Pickle | OtherFormat::Safetensors => {
                Some("convert the whole model folder to GGUF first, or fetch the model in GGUF")
            }
            OtherFormat::LegacyGgml(_) => Some("this format ended in 2023: fetch the model again in GGUF"),
            OtherFormat::Llamafile | OtherFormat::Elf => {
                Some("a llamafile is a program with a GGUF inside: `unzip` it and use the `.gguf` found there")
            }
            OtherFormat::Html => Some("the download saved a web page: use the link that fetches the file itself"),
            OtherFormat::GitLfsPointer => Some("run `git lfs pull` in the repository, or download the file itself"),
            OtherFormat::Compressed(_) => Some("unpack it first"),
            OtherFormat::Empty | OtherFormat::Zeros | OtherFormat::TooShort(_) => {
                Some("the download did not finish: fetch the file again")
            }
            OtherFormat::ReversedMagic => Some("the file was written byte-swapped: fetch it again"),
            OtherFormat::Json => Some("give the `.gguf` file itself"),
            OtherFormat::Numpy | OtherFormat::Hdf5 | OtherFormat::Unknown(_) => None,
        }
    }
}

/// A length below the 100 MB that the format allows, then the brace of a JSON object.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    (2..=100_000_000).contains(&u64::from_le_bytes(*length)) && rest.first() == Some(&b'{')
}

fn recognise_text(bytes: &[u8]) -> Option<OtherFormat> {
    let text = bytes[..bytes.len().min(512)].trim_ascii_start();
    if text.first() == Some(&b'{') && text.get(1).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'"') {
        return Some(OtherFormat::Json);
    }
    let is_html = [b"<!doctype html".as_slice(), b"<html", b"<head"]
        .iter()
        .any(|tag| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)));
    is_html.then_some(OtherFormat::Html)
}

impl fmt::Display for OtherFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OtherFormat::Empty => write!(formatter, "empty"),
            OtherFormat::PyTorchZip => write!(formatter, "a zip archive, as PyTorch `.pt` and `.bin` files are"),
            OtherFormat::Pickle => write!(formatter, "a Python pickle, as old PyTorch `.pt` files are"),
            OtherFormat::Safetensors => write!(formatter, "a safetensors file"),
            OtherFormat::LegacyGgml(name) => write!(formatter, "a {name} file, the format before GGUF"),
            OtherFormat::Llamafile => write!(formatter, "a llamafile, which is an executable"),
            OtherFormat::Elf => write!(formatter, "an ELF executable, perhaps a llamafile"),
            OtherFormat::Html => write!(formatter, "a web page (HTML)"),
            OtherFormat::GitLfsPointer => write!(formatter, "a git-lfs pointer, which stands for the file"),
            OtherFormat::ReversedMagic => write!(formatter, "`FUGG`, the magic in reverse order"),
            OtherFormat::Compressed(name) => write!(formatter, "a {name} archive"),
            OtherFormat::Json => write!(formatter, "a JSON text"),
            OtherFormat::Numpy => write!(formatter, "a NumPy array"),
            OtherFormat::Hdf5 => write!(formatter, "an HDF5 file"),
            OtherFormat::Zeros => write!(formatter, "filled with zeros"),
            OtherFormat::TooShort(length) => write!(formatter, "only {length} bytes long"),
            OtherFormat::Unknown(first) => {
                write!(formatter, "of an unknown format that begins with the bytes {first:02x?}")
            }
        }
    }
}
