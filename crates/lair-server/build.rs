//! Packs the built files of the page (`web/dist`) for the binary: each as it is and, where that is smaller, gzipped.
//!
//! Never runs the front end's tools: the built files are part of the repository.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let built = root.join("../../web/dist");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed={}", built.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&built)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    let mut code = String::from("&[\n");
    for path in &files {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).expect("the files' names are plain");
        let bytes = fs::read(path)?;
        let packed = gzipped(&bytes)?;
        let packed = if packed.len() < bytes.len() {
            let place = out.join(format!("{name}.gz"));
            fs::write(&place, packed)?;
            format!("Some(include_bytes!({place:?}))")
        } else {
            "None".to_owned()
        };
        let path: &Path = &path.canonicalize()?;
        writeln!(code, "File {{ name: {name:?}, bytes: include_bytes!({path:?}), packed: {packed} }},")
            .expect("writing to a string never fails");
    }
    code.push(']');
    fs::write(out.join("page_files.rs"), code)
}

fn gzipped(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
