//! Files that are not GGUF are named, with what to do about them.
#![allow(clippy::unwrap_used)]

use lair_gguf::{GgufFile, Header};

#[test]
fn names_what_a_file_is_instead() {
    let mut tar = vec![b'x'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let cases: Vec<(&[u8], &str, Option<&str>)> = vec![
        (b"", "empty", Some("fetch the file again")),
        (b"xy", "only 2 bytes long", Some("fetch the file again")),
        (b"PK\x03\x04\x14\0", "PyTorch", Some("convert")),
        (b"\x80\x02}q\x00(", "a Python pickle", Some("convert")),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a Python pickle", Some("convert")),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0", "a Python pickle", Some("convert")),
        (b"\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}", "a safetensors file", Some("convert")),
        (b"lmgg\x01\0\0\0", "a GGML file", Some("GGUF")),
        (b"fmgg\x01\0\0\0", "a GGMF file", Some("GGUF")),
        (b"tjgg\x03\0\0\0", "a GGJT file", Some("GGUF")),
        (b"algg\x01\0\0\0", "a GGLA file", Some("GGUF")),
        (b"FUGG\x03\0\0\0", "the magic in reverse order", Some("byte-swapped")),
        (b"\x7fELF\x02\x01\x01\0", "an ELF executable", Some("llamafile")),
        (b"MZqFpD='\n", "a llamafile", Some("unzip")),
        (b"<!DOCTYPE html><html>", "a web page", Some("link")),
        (b"\n  <!doctype HTML>", "a web page", Some("link")),
        (b"<HTML lang=en>", "a web page", Some("link")),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a git-lfs pointer", Some("git lfs pull")),
        (b"\x1f\x8b\x08\0", "a gzip archive", Some("unpack")),
        (b"\x28\xb5\x2f\xfd\0\0", "a zstd archive", Some("unpack")),
        (b"BZh91AY", "a bzip2 archive", Some("unpack")),
        (b"\xfd7zXZ\0\0", "a xz archive", Some("unpack")),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive", Some("unpack")),
        (&tar, "a tar archive", Some("unpack")),
        (b"{\"error\": \"not found\"}", "a JSON text", Some(".gguf")),
        (b"\x93NUMPY\x01\0", "a NumPy array", None),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file", None),
        (&[0; 5000], "filled with zeros", Some("did not finish")),
        (b"hello, world", "begins with the bytes [68, 65, 6c, 6c]", None),
    ];
    for (bytes, expected, hint) in cases {
        let error = Header::parse(bytes, bytes.len() as u64).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("not a GGUF file: it is ") && message.contains(expected), "`{message}`");
        assert!(message.contains("at byte 0, field `magic`"));
        match (error.hint(), hint) {
            (Some(found), Some(expected)) => assert!(found.contains(expected), "{message}: {found}"),
            (None, None) => {}
            (found, expected) => panic!("{message}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn versions_and_orders_of_bytes_are_told_apart() {
    let parse = |version: u32| {
        let bytes = [b"GGUF".as_slice(), &version.to_le_bytes(), &[0; 16]].concat();
        Header::parse(&bytes, bytes.len() as u64)
    };
    for version in [2, 3] {
        assert_eq!(parse(version).unwrap().version, version);
    }
    for version in [2_u32, 3] {
        let error = parse(version.swap_bytes()).unwrap_err();
        assert!(error.to_string().contains(&format!("big-endian GGUF version {version}")));
        assert!(error.hint().unwrap().contains("lair gguf endian"));
    }
    for version in [0, 4, 1000, 0x0102_0304, u32::MAX] {
        assert!(parse(version).unwrap_err().to_string().contains(&format!("version {version} is unknown")));
    }
    assert!(parse(4).unwrap_err().hint().unwrap().contains("update"));
}

#[test]
fn errors_of_files_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let message = |path| GgufFile::open(path).map(|_| ()).unwrap_err().to_string();
    assert!(message(&path).starts_with(&format!("cannot open `{}`", path.display())));
    std::fs::write(&path, b"").unwrap();
    assert!(message(&path).contains("model.gguf`: not a GGUF file: it is empty"));
    std::fs::write(&path, b"<html>").unwrap();
    let error = GgufFile::open(&path).unwrap_err();
    assert!(error.to_string().contains("model.gguf`: not a GGUF file: it is a web page"), "{error}");
    assert!(error.hint().unwrap().contains("link"));
    assert!(message(&folder.path().to_owned()).contains("not a regular file"));
}
