//! The key pair of Ollama's own registry: `~/.ollama/id_ed25519`, an OpenSSH key without a password. A token is asked
//! for with a signature in place of a password.
//!
//! Sources: PROTOCOL.key of OpenSSH for the file; the request is `GET`, the address and the base64 of the hexadecimal
//! sha256 of nothing, joined by commas, as Ollama's client signs it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::Ed25519KeyPair;

use crate::transfer::expected::hex;

const FILE_BYTES_MAX: u64 = 16 * 1024;
const MAGIC: &[u8] = b"openssh-key-v1\0";
const KIND: &[u8] = b"ssh-ed25519";

/// The key pair of a user of Ollama's registry.
pub(crate) struct OllamaKey {
    pair: Ed25519KeyPair,
    /// As it stands in `authorized_keys`, base64.
    public: String,
}

impl OllamaKey {
    /// Reads a key file; nothing if there is none that can be used without a password.
    pub(crate) fn read(path: &Path) -> Option<OllamaKey> {
        let mut text = String::new();
        File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        OllamaKey::parse(&text)
    }

    fn parse(text: &str) -> Option<OllamaKey> {
        let body = text.trim().strip_prefix("-----BEGIN OPENSSH PRIVATE KEY-----")?;
        let body: String = body.strip_suffix("-----END OPENSSH PRIVATE KEY-----")?.split_whitespace().collect();
        let bytes = STANDARD.decode(body).ok()?;
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let (cipher, derivation) = (string(&mut rest)?, string(&mut rest)?);
        if cipher != b"none" || derivation != b"none" {
            return None;
        }
        string(&mut rest)?;
        if number(&mut rest)? != 1 {
            return None;
        }
        let public = string(&mut rest)?;
        let mut private = string(&mut rest)?;
        if number(&mut private)? != number(&mut private)? || string(&mut private)? != KIND {
            return None;
        }
        let (point, secret) = (string(&mut private)?, string(&mut private)?);
        let pair = Ed25519KeyPair::from_seed_and_public_key(secret.get(..32)?, point).ok()?;
        Some(OllamaKey { pair, public: STANDARD.encode(public) })
    }

    /// What a token request to `url` carries as `Authorization`.
    pub(crate) fn sign(&self, url: &str) -> String {
        let of_nothing = STANDARD.encode(hex(&crate::digest::Digest::of(b"").bytes()));
        let signature = self.pair.sign(format!("GET,{url},{of_nothing}").as_bytes());
        format!("{}:{}", self.public, STANDARD.encode(signature.as_ref()))
    }
}

/// What makes a request unlike any other: the time, and sixteen random bytes.
pub(crate) fn nonce() -> (u64, String) {
    let mut bytes = [0; 16];
    // Without randomness the time alone must do; the server decides.
    let _ = SystemRandom::new().fill(&mut bytes);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    (seconds, URL_SAFE_NO_PAD.encode(bytes))
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*head))
}

fn string<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = number(bytes)? as usize;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};

    fn field(bytes: &[u8]) -> Vec<u8> {
        let mut field = (bytes.len() as u32).to_be_bytes().to_vec();
        field.extend(bytes);
        field
    }

    /// A key file with this seed, as `ssh-keygen -t ed25519 -N ''` lays it out.
    fn key_file(seed: &[u8; 32]) -> (String, Vec<u8>) {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed");
        let point = pair.public_key().as_ref().to_vec();
        let public = [field(KIND), field(&point)].concat();
        let private = [
            vec![1, 2, 3, 4, 1, 2, 3, 4],
            field(KIND),
            field(&point),
            field(&[seed.as_slice(), &point].concat()),
            field(b"a comment"),
            vec![1, 2, 3],
        ];
        let fields = [field(b"none"), field(b"none"), field(b""), vec![0, 0, 0, 1], field(&public)];
        let bytes = [MAGIC.to_vec(), fields.concat(), field(&private.concat())].concat();
        let text = STANDARD.encode(bytes);
        let lines: Vec<&str> =
            text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).expect("ascii")).collect();
        let (begin, end) = ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----");
        (format!("{begin}\n{}\n{end}\n", lines.join("\n")), point)
    }

    #[test]
    fn signs_so_that_the_public_key_agrees() {
        let (file, point) = key_file(&[9; 32]);
        let key = OllamaKey::parse(&file).expect("a key");
        let url = "https://ollama.com/token?nonce=x&scope=y&service=z&ts=1";
        let header = key.sign(url);
        let (public, signature) = header.split_once(':').expect("two parts");
        assert_eq!(STANDARD.decode(public).expect("base64"), [field(KIND), field(&point)].concat());
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let message = format!("GET,{url},{}", STANDARD.encode(empty));
        let signature = STANDARD.decode(signature).expect("base64");
        UnparsedPublicKey::new(&ED25519, point).verify(message.as_bytes(), &signature).expect("signed");
    }

    #[test]
    fn a_damaged_or_locked_key_is_none() {
        let (file, _) = key_file(&[9; 32]);
        assert!(OllamaKey::parse("").is_none());
        for length in 0..file.len() - 1 {
            assert!(OllamaKey::parse(&file[..length]).is_none(), "{length}");
        }
        // `bcrypt` in place of the first `none` would be a key with a password.
        let body = STANDARD.encode([MAGIC.to_vec(), field(b"aes256-ctr"), field(b"bcrypt")].concat());
        let (begin, end) = ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----");
        assert!(OllamaKey::parse(&format!("{begin}\n{body}\n{end}")).is_none());
    }
}
