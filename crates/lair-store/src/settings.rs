//! Where a store lives and how it reaches the world; everything the environment decides is read here.

use std::env;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::StoreError;
use crate::file_system::{FileSystem, RealFileSystem};
use crate::found::Owner;
use crate::layouts::Place;
use crate::transfer::TransferSettings;

/// The hub that is meant when `HF_ENDPOINT` names no other.
const HUB_ENDPOINT: &str = "https://huggingface.co";
/// Behind a wall that swallows packets the next source must get its turn soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A live connection pauses, but not this long.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A package client resolves, retries and connects before the first byte shows.
const CLIENT_STALL_TIMEOUT: Duration = Duration::from_secs(300);
/// Ways to call a package client, the likeliest first.
const PACKAGE_CLIENTS: &[&[&str]] =
    &[&["pip"], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"], &["uvx", "pip"]];

/// How a [`crate::Store`] works. Tests and embedders fill it in by hand; the program takes [`Settings::from_env`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Lair's own folder: history, what is no model.
    pub root: PathBuf,
    /// Folder of the store, with `blobs` and `manifests`. Created when something is kept.
    pub models: PathBuf,
    /// Whether `models` is Ollama's as well, so that what Lair does not know there may be needed by it.
    pub is_shared: bool,
    /// Folders with models that are read and not written.
    pub places: Vec<Place>,
    /// What the store works on.
    pub file_system: Arc<dyn FileSystem>,
    /// Scheme and host of the hub, no slash at the end.
    pub hub_endpoint: String,
    /// Sent to the host of `hub_endpoint` and to nobody else.
    pub hub_token: Option<HubToken>,
    /// Whether proxies of the environment are used.
    pub proxy: ProxySetting,
    /// Name lookup, TCP and TLS each must be done by then.
    pub connect_timeout: Duration,
    /// Longest silence of a connection.
    pub stall_timeout: Duration,
    /// Command lines that act as `pip`; the first that exists is used.
    pub package_clients: Vec<Vec<String>>,
    /// Longest time in which a package client brings no byte.
    pub client_stall_timeout: Duration,
    /// Bytes free in the file system of a folder, if that can be known.
    pub free_bytes: fn(&Path) -> Option<u64>,
    /// How bytes are fetched.
    pub transfer: TransferSettings,
}

/// Where proxies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxySetting {
    /// From `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    Environment,
    /// Connections are direct.
    Direct,
}

/// A secret; its text never shows in a message.
#[derive(Clone, PartialEq, Eq)]
pub struct HubToken(String);

impl HubToken {
    /// Takes a token as it stands in the environment; one that is empty or could break a header is none.
    pub fn new(text: &str) -> Option<HubToken> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| HubToken(text.to_string()))
    }

    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HubToken(..)")
    }
}

impl Settings {
    /// The usual way to work, with the store in `root/models` and nothing read from the environment but proxies.
    pub fn at(root: impl Into<PathBuf>) -> Settings {
        let root = root.into();
        Settings {
            models: root.join("models"),
            root,
            is_shared: false,
            places: Vec::new(),
            file_system: Arc::new(RealFileSystem),
            hub_endpoint: HUB_ENDPOINT.to_string(),
            hub_token: None,
            proxy: ProxySetting::Environment,
            connect_timeout: CONNECT_TIMEOUT,
            stall_timeout: STALL_TIMEOUT,
            package_clients: PACKAGE_CLIENTS
                .iter()
                .map(|words| words.iter().map(|word| word.to_string()).collect())
                .collect(),
            client_stall_timeout: CLIENT_STALL_TIMEOUT,
            free_bytes,
            transfer: TransferSettings::default(),
        }
    }

    /// As [`Settings::at`], with `LAIR_HOME`, `LAIR_MODELS`, `OLLAMA_MODELS`, `LAIR_PIP`, `HF_ENDPOINT` and `HF_TOKEN`
    /// honoured.
    ///
    /// # Errors
    /// [`StoreError::NoHome`] when there is no place for a store.
    pub fn from_env() -> Result<Settings, StoreError> {
        Settings::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, StoreError> {
        let mut settings = Settings::at(default_root(&variable)?);
        if let Some((models, is_shared)) = other_models(&variable) {
            settings.models = models;
            settings.is_shared = is_shared;
        }
        settings.places = places(&variable);
        settings.places.retain(|place| place.root != settings.models);
        if let Some(endpoint) = variable("HF_ENDPOINT") {
            settings.hub_endpoint = endpoint.trim_end_matches('/').to_string();
        }
        settings.hub_token = hub_token(&variable);
        settings.transfer.read_variables(&variable);
        if let Some(client) = variable("LAIR_PIP") {
            settings.package_clients = vec![vec![client]];
        }
        Ok(settings)
    }
}

/// `HF_TOKEN`, or the file in which `hf auth login` keeps the token.
fn hub_token(variable: &impl Fn(&str) -> Option<String>) -> Option<HubToken> {
    /// No token is longer.
    const TOKEN_BYTES_MAX: u64 = 4096;
    if let Some(token) = variable("HF_TOKEN").as_deref().and_then(HubToken::new) {
        return Some(token);
    }
    let path = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(hub_home(variable)?.join("token")))?;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(TOKEN_BYTES_MAX).read_to_string(&mut text).ok()?;
    HubToken::new(&text)
}

/// The folder of the Hugging Face clients: `HF_HOME`, or in the cache folder of the user.
fn hub_home(variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    if let Some(home) = variable("HF_HOME") {
        return Some(PathBuf::from(home));
    }
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|cache| cache.is_absolute());
    Some(cache.or_else(|| Some(home(variable)?.join(".cache")))?.join("huggingface"))
}

/// The cache of the Hugging Face clients.
pub(crate) fn hub_cache(variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
    named.or_else(|| Some(hub_home(variable)?.join("hub")))
}

/// Where models are kept if not in Lair's own folder, and whether Ollama keeps its own there: where the user says, or
/// where Ollama has begun.
fn other_models(variable: &impl Fn(&str) -> Option<String>) -> Option<(PathBuf, bool)> {
    if let Some(models) = variable("LAIR_MODELS") {
        return Some((PathBuf::from(models), false));
    }
    if let Some(models) = variable("OLLAMA_MODELS") {
        return Some((PathBuf::from(models), true));
    }
    // Whoever gives Lair a home of its own wants nothing written outside of it.
    if variable("LAIR_HOME").is_some() {
        return None;
    }
    let models = home(variable)?.join(".ollama").join("models");
    models.is_dir().then_some((models, true))
}

fn home(variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    variable(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).map(PathBuf::from)
}

/// Where other programs keep their models, as their own variables and defaults say.
fn places(variable: &impl Fn(&str) -> Option<String>) -> Vec<Place> {
    let home = home(variable);
    let at_home = |inner: &str| home.as_ref().map(|home| home.join(inner));
    let named = |name: &str| variable(name).map(PathBuf::from);
    let hub = hub_cache(variable);
    let mut found = vec![
        (Owner::Ollama, named("OLLAMA_MODELS")),
        (Owner::Ollama, at_home(".ollama/models")),
        (Owner::Ollama, cfg!(target_os = "linux").then(|| PathBuf::from("/usr/share/ollama/.ollama/models"))),
        (Owner::HubCache, hub),
        (Owner::LmStudio, at_home(".lmstudio/models")),
        (Owner::LmStudio, at_home(".cache/lm-studio/models")),
    ];
    let folders = variable("LAIR_FOLDERS").unwrap_or_default();
    found.extend(
        env::split_paths(&folders).filter(|path| !path.as_os_str().is_empty()).map(|path| (Owner::Folder, Some(path))),
    );
    let mut places: Vec<Place> = Vec::new();
    for (owner, root) in found {
        if let Some(root) = root
            && !places.iter().any(|place| place.root == root)
        {
            places.push(Place { owner, root });
        }
    }
    places
}

/// `LAIR_HOME`, or the folder where the platform keeps the data of programs.
fn default_root(variable: &impl Fn(&str) -> Option<String>) -> Result<PathBuf, StoreError> {
    if let Some(home) = variable("LAIR_HOME") {
        return Ok(PathBuf::from(home));
    }
    let under = |name: &str, inner: &str| variable(name).map(|base| Path::new(&base).join(inner));
    let found = if cfg!(windows) {
        under("LOCALAPPDATA", "lair").or_else(|| under("USERPROFILE", "AppData/Local/lair"))
    } else if cfg!(target_os = "macos") {
        under("HOME", "Library/Application Support/lair")
    } else {
        // The XDG base directory specification: a relative path there is to be ignored.
        variable("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|base| base.is_absolute())
            .map(|base| base.join("lair"))
            .or_else(|| under("HOME", ".local/share/lair"))
    };
    found.ok_or(StoreError::NoHome)
}

/// Bytes that an ordinary user may still write in the file system of `folder`; nothing where that cannot be asked.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(folder).ok()?;
    status.f_bavail.checked_mul(status.f_frsize)
}

/// Bytes that an ordinary user may still write in the file system of `folder`; nothing where that cannot be asked.
#[cfg(not(unix))]
pub fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Settings, StoreError> {
        Settings::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn lair_home_wins_and_no_home_is_an_error() {
        let settings = with(&[("LAIR_HOME", "/models"), ("HOME", "/home/u")]).expect("a place");
        assert_eq!(settings.root, Path::new("/models"));
        assert!(matches!(with(&[]), Err(StoreError::NoHome)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn follows_the_base_directory_specification() {
        for (variables, root) in [
            (&[("HOME", "/home/u")][..], "/home/u/.local/share/lair"),
            (&[("HOME", "/home/u"), ("XDG_DATA_HOME", "/data")], "/data/lair"),
            (&[("HOME", "/home/u"), ("XDG_DATA_HOME", "data")], "/home/u/.local/share/lair"),
        ] {
            assert_eq!(with(variables).expect("a place").root, Path::new(root));
        }
    }

    #[test]
    fn models_lie_where_the_user_or_ollama_says() {
        let home = tempfile::tempdir().expect("a folder");
        let at = |inner: &str| home.path().join(inner);
        let text = home.path().to_str().expect("plain");
        let base = [(if cfg!(windows) { "USERPROFILE" } else { "HOME" }, text), ("LAIR_HOME", "/lair")];
        let models = |more: &[(&str, &str)]| {
            let settings = with(&[&base[..], more].concat()).expect("a place");
            (settings.models, settings.is_shared)
        };
        assert_eq!(models(&[]), (PathBuf::from("/lair/models"), false));
        assert_eq!(models(&[("OLLAMA_MODELS", "/o")]), (PathBuf::from("/o"), true));
        assert_eq!(models(&[("OLLAMA_MODELS", "/o"), ("LAIR_MODELS", "/l")]), (PathBuf::from("/l"), false));
        std::fs::create_dir_all(at(".ollama/models")).expect("made");
        assert_eq!(models(&[]), (PathBuf::from("/lair/models"), false), "a home of its own stays");
        assert_eq!(with(&base[..1]).expect("a place").models, at(".ollama/models"));
        let places =
            with(&[&base[..], &[("HF_HOME", "/hf"), ("LAIR_FOLDERS", "/a")]].concat()).expect("a place").places;
        for (owner, root) in [
            (Owner::Ollama, at(".ollama/models")),
            (Owner::HubCache, PathBuf::from("/hf/hub")),
            (Owner::LmStudio, at(".lmstudio/models")),
            (Owner::Folder, PathBuf::from("/a")),
        ] {
            assert!(places.contains(&Place { owner, root: root.clone() }), "{root:?} in {places:?}");
        }
    }

    #[test]
    fn hub_and_client_come_from_the_environment() {
        let settings = with(&[
            ("LAIR_HOME", "/m"),
            ("HF_ENDPOINT", "https://mirror.example/"),
            ("HF_TOKEN", " hf_secret\n"),
            ("LAIR_PIP", "/opt/my pip"),
        ])
        .expect("a place");
        assert_eq!(settings.hub_endpoint, "https://mirror.example");
        assert_eq!(settings.hub_token.as_ref().expect("a token").header(), "Bearer hf_secret");
        assert_eq!(settings.package_clients, [["/opt/my pip"]]);
        assert!(!format!("{settings:?}").contains("hf_secret"));
        assert_eq!(HubToken::new("a\r\nX: y"), None);
    }

    #[test]
    #[cfg(unix)]
    fn knows_the_free_space_of_a_folder() {
        assert!(free_bytes(Path::new("/")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such/folder")), None);
    }
}
