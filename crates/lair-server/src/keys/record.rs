//! A key at rest: its name, its salted digest, its rules.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{KeyFileError, Scope, are_equal};

/// What every key that Lair makes begins with, so that scanners for secrets can know it.
const PREFIX: &str = "lair_";
/// Random bytes of a key.
const SECRET_BYTES: usize = 32;
/// Random bytes of the part by which a key is found.
const ID_BYTES: usize = 6;
/// Random bytes that are hashed before the key.
const SALT_BYTES: usize = 16;
/// Longest name of a key.
const NAME_BYTES_MAX: usize = 64;

/// What a key may do, how much, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRules {
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Which models it may use, as names with `*` and `?`; all if there is none.
    #[serde(default)]
    pub models: Vec<String>,
    /// Requests in a minute.
    #[serde(default)]
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in a minute.
    #[serde(default)]
    pub tokens_per_minute: Option<u32>,
    /// Requests at the same time.
    #[serde(default)]
    pub concurrent_requests: Option<u32>,
    /// When it ends, in seconds since 1970.
    #[serde(default)]
    pub expires_unix_s: Option<u64>,
}

impl KeyRules {
    /// Everything, without an end: what keys on the command line may do.
    pub fn unlimited() -> KeyRules {
        KeyRules {
            scopes: vec![Scope::Admin],
            models: Vec::new(),
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrent_requests: None,
            expires_unix_s: None,
        }
    }

    /// Whether this may be done.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own == scope || *own == Scope::Admin)
    }

    /// Whether a model may be used, by its full name, `name:tag`.
    pub fn allows_model(&self, name: &str) -> bool {
        let short = name.strip_suffix(":latest").unwrap_or(name);
        let fits = |pattern: &String| matches_glob(pattern, name) || matches_glob(pattern, short);
        self.models.is_empty() || self.models.iter().any(fits)
    }

    /// Whether it has ended.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_unix_s.is_some_and(|end| unix_s(now) >= end)
    }
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// What its owner calls it; shown in logs.
    pub name: String,
    /// The part of the key by which it is found. It is no secret.
    pub id: String,
    /// Hexadecimal.
    salt: String,
    /// SHA-256 of salt and key, hexadecimal.
    digest: String,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: u64,
    /// What it may do.
    pub rules: KeyRules,
}

impl KeyRecord {
    /// Makes a key. The text is in no other place: whoever calls this shows it and forgets it.
    ///
    /// # Errors
    /// If the name is none, or the system has no random numbers.
    pub fn create(name: &str, rules: KeyRules, now: SystemTime) -> Result<(KeyRecord, String), KeyFileError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(KeyFileError::Name { name: name.to_owned(), bytes_max: NAME_BYTES_MAX });
        }
        let random = SystemRandom::new();
        let (mut secret, mut id, mut salt) = ([0; SECRET_BYTES], [0; ID_BYTES], [0; SALT_BYTES]);
        for bytes in [&mut secret[..], &mut id[..], &mut salt[..]] {
            random.fill(bytes).map_err(|_| KeyFileError::NoRandomNumbers)?;
        }
        let (id, salt) = (hexadecimal(&id), hexadecimal(&salt));
        let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        let digest = hexadecimal(&salted(&salt, &text));
        Ok((KeyRecord { name: name.to_owned(), id, salt, digest, created_unix_s: unix_s(now), rules }, text))
    }

    /// Whether this text is the key.
    pub(super) fn is(&self, text: &str) -> bool {
        let Some(digest) = bytes_of(&self.digest) else { return false };
        are_equal(&salted(&self.salt, text), &digest)
    }

    /// Whether its digest is one: a file that was written by hand may hold anything.
    pub(super) fn is_sound(&self) -> bool {
        bytes_of(&self.digest).is_some() && !self.id.is_empty() && self.id.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// The part of a shown key by which it is found; nothing for keys that Lair did not make.
pub(super) fn id_of(text: &str) -> Option<&str> {
    text.strip_prefix(PREFIX)?.split_once('_').map(|(id, _)| id)
}

fn salted(salt: &str, text: &str) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(text).finalize().into()
}

pub(super) fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes_of(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Whether a name fits a pattern with `*` (any text) and `?` (one character). Takes time of their product at most.
fn matches_glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of_name) = (0, 0);
    // Where to go on from when what follows the last star does not fit.
    let mut star = None;
    while of_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, of_name));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[of_name] => (at, of_name) = (at + 1, of_name + 1),
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, of_name) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_itself_and_no_other_and_is_not_kept() {
        let (record, text) = KeyRecord::create("ci", KeyRules::unlimited(), UNIX_EPOCH).expect("random numbers");
        assert!(record.is(&text) && record.is_sound() && id_of(&text) == Some(&record.id));
        for other in [format!("{text}x"), text[..text.len() - 1].to_owned(), text.to_uppercase(), String::new()] {
            assert!(!record.is(&other), "{other}");
        }
        let secret = text.rsplit_once(&record.id).expect("its id").1;
        assert!(secret.len() > 40 && !serde_json::to_string(&record).expect("JSON").contains(&secret[1..]));
        let (twin, other) = KeyRecord::create("ci", KeyRules::unlimited(), UNIX_EPOCH).expect("random numbers");
        assert!(!twin.is(&text) && other != text);
        let broken = KeyRecord { digest: "zz".repeat(32), ..record.clone() };
        assert!(!broken.is_sound() && !broken.is(&text));
        for name in ["", "two words", "a\nb", &"x".repeat(65)] {
            assert!(KeyRecord::create(name, KeyRules::unlimited(), UNIX_EPOCH).is_err(), "{name}");
        }
    }

    #[test]
    fn patterns_name_models() {
        for (pattern, name, expected) in [
            ("*", "anything:latest", true),
            ("tiny", "tiny:latest", true),
            ("tiny", "tiny:1m", false),
            ("tiny:*", "tiny:1m", true),
            ("t?ny", "tiny:latest", true),
            ("*coder*", "qwen2.5-coder:1.5b", true),
            ("*a*b*c", "xxaxxbxxcxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("", "x", false),
            ("tiny", "tinytiny", false),
        ] {
            let rules = KeyRules { models: vec![pattern.to_owned()], ..KeyRules::unlimited() };
            assert_eq!(rules.allows_model(name), expected, "{pattern} {name}");
        }
        let long = "a".repeat(20_000);
        assert!(!matches_glob(&format!("{}b", "*a".repeat(50)), &long));
        assert!(KeyRules::unlimited().allows_model("x"));
    }

    #[test]
    fn rules_say_what_and_until_when() {
        let rules = KeyRules { scopes: vec![Scope::Chat], expires_unix_s: Some(100), ..KeyRules::unlimited() };
        assert!(rules.allows(Scope::Chat) && !rules.allows(Scope::ModelsWrite) && !rules.allows(Scope::Admin));
        assert!(Scope::ALL.into_iter().all(|scope| KeyRules::unlimited().allows(scope)));
        let at = |seconds| UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        assert!(!rules.has_expired(at(99)) && rules.has_expired(at(100)));
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(serde_json::to_string(&scope).expect("JSON"), format!("\"{scope}\""));
        }
        assert!("root".parse::<Scope>().is_err());
    }
}
