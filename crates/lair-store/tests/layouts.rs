//! Models of other programs are found where they lie, run from there, and are counted once.
#![cfg(unix)]

mod fakes;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fakes::resolve;
use lair_store::oci::{Manifest, media_type};
use lair_store::{Adopt, Digest, FileRole, Owner, Place, Resolved, Settings, Store, StoreError, size_bytes_once};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER_COMMIT: &str = "fedcba9876543210fedcba9876543210fedcba98";

fn write(path: PathBuf, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(&path, bytes).expect("written");
    path
}

/// A file of a hub cache with links: the blob, and the link in the snapshot.
fn hub_file(repository: &Path, commit: &str, file: &str, bytes: &[u8]) -> PathBuf {
    let digest = Digest::of(bytes).to_string();
    let blob = write(repository.join("blobs").join(digest.trim_start_matches("sha256:")), bytes);
    let link = repository.join("snapshots").join(commit).join(file);
    fs::create_dir_all(link.parent().expect("a folder")).expect("made");
    let up = "../".repeat(file.matches('/').count() + 2);
    symlink(format!("{up}blobs/{}", blob.file_name().expect("a name").to_str().expect("plain")), &link)
        .expect("linked");
    link
}

/// A machine with everything on it.
fn machine(home: &Path) -> Store {
    let at = |inner: &str| home.join(inner);
    let hub = at("hub");
    let repository = hub.join("models--org--Repo-GGUF");
    write(repository.join("refs/main"), COMMIT.as_bytes());
    hub_file(&repository, COMMIT, "Repo-Q4_K_M.gguf", b"GGUF four bits");
    hub_file(&repository, COMMIT, "Q8/Repo-Q8_0-00001-of-00002.gguf", b"GGUF eight, one");
    hub_file(&repository, COMMIT, "Q8/Repo-Q8_0-00002-of-00002.gguf", b"GGUF eight, two");
    hub_file(&repository, COMMIT, "README.md", b"text");
    hub_file(&repository, OTHER_COMMIT, "Repo-Q4_K_M.gguf", b"GGUF four bits, older");
    // Without links, as Windows has it.
    write(hub.join("models--org--plain/refs/main"), COMMIT.as_bytes());
    write(hub.join("models--org--plain/snapshots").join(COMMIT).join("only.gguf"), b"GGUF only");
    write(hub.join("models--org--cut/snapshots").join(COMMIT).join("m-00001-of-00002.gguf"), b"GGUF one of two");
    write(at("lmstudio/pub/Vision-GGUF/Vision-Q4_0.gguf"), b"GGUF sees");
    write(at("lmstudio/pub/Vision-GGUF/mmproj-Vision-f16.gguf"), b"GGUF eyes");
    write(at("folder/deep/mine.gguf"), b"GGUF four bits");

    let ollama = Store::open(Settings { models: at("ollama"), ..Settings::at(at("unused")) });
    let config = ollama.put_layer(media_type::CONFIG, b"{}").expect("kept");
    let layer = ollama.put_layer(media_type::MODEL, b"GGUF four bits").expect("kept");
    let manifest = Manifest::new(config, vec![layer]);
    ollama.put_manifest(&"mistral:7b".parse().expect("a name"), &manifest.to_bytes()).expect("named");

    let mut settings = Settings::at(at("lair"));
    settings.places = [
        (Owner::Ollama, "ollama"),
        (Owner::HubCache, "hub"),
        (Owner::LmStudio, "lmstudio"),
        (Owner::Folder, "folder"),
        (Owner::HubCache, "not-there"),
    ]
    .map(|(owner, root)| Place { owner, root: at(root) })
    .to_vec();
    Store::open(settings)
}

fn path_of(store: &Store, reference: &str) -> PathBuf {
    match resolve(store, reference).unwrap_or_else(|error| panic!("{reference}: {error}")) {
        Resolved::Model(model) => store.weights_path(&model).expect("weights"),
        other => panic!("{reference}: {other:?}"),
    }
}

#[test]
fn one_listing_shows_the_models_of_all_programs() {
    let home = tempfile::tempdir().expect("a folder");
    let store = machine(home.path());
    let listing = store.list_all();
    assert!(listing.problems.is_empty(), "{:?}", listing.problems);
    let mut shown: Vec<_> =
        listing.models.iter().map(|model| (model.owner.name(), model.name.clone(), model.is_whole())).collect();
    shown.sort();
    let mine = home.path().join("folder/deep/mine.gguf").display().to_string();
    let expected = [
        ("folder", mine.as_str(), true),
        ("hub", "hf.co/org/Repo-GGUF:Q4_K_M", true),
        ("hub", "hf.co/org/Repo-GGUF:Q8_0", true),
        ("hub", "hf.co/org/Repo-GGUF@fedcba987654", true),
        ("hub", "hf.co/org/cut@0123456789ab", false),
        ("hub", "hf.co/org/plain", true),
        ("lmstudio", "pub/Vision-GGUF", true),
        ("ollama", "mistral:7b", true),
    ];
    assert_eq!(shown, expected.map(|(owner, name, is_whole)| (owner, name.to_string(), is_whole)));
    let vision = listing.models.iter().find(|model| model.owner == Owner::LmStudio).expect("listed");
    assert!(vision.file(FileRole::Projector).expect("a projector").path.ends_with("mmproj-Vision-f16.gguf"));
    // Each name that is shown means its model.
    for model in listing.models.iter().filter(|model| model.is_whole() && model.owner != Owner::Folder) {
        assert_eq!(path_of(&store, &model.name), model.weights().expect("weights"), "{}", model.name);
    }
    assert!(!home.path().join("lair").exists(), "nothing was copied or written");
}

#[test]
fn the_same_bytes_count_once() {
    let home = tempfile::tempdir().expect("a folder");
    let store = machine(home.path());
    let models = store.list_all().models;
    let with = |names: &[&str]| {
        let chosen: Vec<_> = models.iter().filter(|model| names.contains(&model.name.as_str())).cloned().collect();
        assert_eq!(chosen.len(), names.len());
        size_bytes_once(&chosen)
    };
    let alone = with(&["hf.co/org/Repo-GGUF:Q4_K_M"]);
    assert_eq!(alone, b"GGUF four bits".len() as u64);
    // By digest: the hub's blob is Ollama's, which has a configuration of two bytes besides.
    assert_eq!(with(&["hf.co/org/Repo-GGUF:Q4_K_M", "mistral:7b"]), alone + 2);
    // By identity: a hard link.
    let file = home.path().join("folder/deep/mine.gguf");
    fs::hard_link(&file, home.path().join("folder/again.gguf")).expect("linked");
    let linked: Vec<_> = store.list_all().models.into_iter().filter(|model| model.owner == Owner::Folder).collect();
    assert_eq!((linked.len(), size_bytes_once(&linked)), (2, alone));
}

#[test]
fn every_way_to_write_a_name_finds_the_file_in_place() {
    let home = tempfile::tempdir().expect("a folder");
    let store = machine(home.path());
    let hub = |file: &str| home.path().join("hub/models--org--Repo-GGUF/snapshots").join(COMMIT).join(file);
    let blob = home.path().join("ollama/blobs").join(Digest::of(b"GGUF four bits").file_name());
    let vision = home.path().join("lmstudio/pub/Vision-GGUF/Vision-Q4_0.gguf");
    let folder = home.path().join("folder/deep");
    for (reference, path) in [
        ("org/Repo-GGUF", hub("Repo-Q4_K_M.gguf")),
        ("hf.co/Org/repo-gguf:q8_0", hub("Q8/Repo-Q8_0-00001-of-00002.gguf")),
        ("hf.co/org/Repo-GGUF@main:Q4_K_M", hub("Repo-Q4_K_M.gguf")),
        ("https://huggingface.co/org/Repo-GGUF/blob/main/Repo-Q4_K_M.gguf", hub("Repo-Q4_K_M.gguf")),
        ("mistral:7b", blob.clone()),
        ("library/mistral:7b", blob),
        ("pub/vision-gguf", vision.clone()),
        ("pub/Vision-GGUF:Q4_0", vision),
        (folder.to_str().expect("plain"), folder.join("mine.gguf")),
    ] {
        assert_eq!(path_of(&store, reference), path, "{reference}");
    }
    let older = path_of(&store, &format!("hf.co/org/Repo-GGUF@{OTHER_COMMIT}"));
    assert_eq!(fs::read(older).expect("read"), b"GGUF four bits, older");
    assert!(matches!(resolve(&store, "org/cut"), Err(StoreError::Damaged { .. })));
    assert!(matches!(resolve(&store, "org/Repo-GGUF:Q2_K"), Err(StoreError::UnknownModel { .. })));
    let deep = home.path().join("hub");
    assert!(matches!(resolve(&store, deep.to_str().expect("plain")), Err(StoreError::NotOneModel { .. })));
    let near = resolve(&store, "mistrall:7b").expect_err("unknown").hint().expect("a hint");
    assert!(near.contains("mistral:7b"), "{near}");
}

#[test]
fn what_earlier_versions_kept_is_carried_over() {
    let home = tempfile::tempdir().expect("a folder");
    let bytes = b"GGUF from before";
    let digest = Digest::of(bytes);
    let old = write(home.path().join("blobs").join(digest.file_name()), bytes);
    let note = format!(
        r#"{{"name":"tiny","digest":"{digest}","size_bytes":{},"source":"hub x","fetched_at_s":7}}"#,
        bytes.len()
    );
    let note = write(home.path().join("manifests/tiny.json"), note.as_bytes());
    let store = Store::open(Settings::at(home.path()));
    assert!(store.warnings().is_empty(), "{:?}", store.warnings());
    assert!(!old.exists() && !note.exists());
    let name = "tiny".parse().expect("a name");
    let kept = store.note(&name).expect("read").expect("noted");
    assert_eq!((kept.source.as_str(), kept.fetched_at_s), ("hub x", 7));
    assert_eq!(fs::read(path_of(&store, "tiny")).expect("read"), bytes);
}

#[test]
fn a_split_model_in_blobs_gets_names_that_say_which_shard_is_which() {
    let home = tempfile::tempdir().expect("a folder");
    let store = Store::open(Settings::at(home.path()));
    let config = store.put_layer(media_type::CONFIG, b"{}").expect("kept");
    let layers = [b"GGUF 1", b"GGUF 2"].map(|bytes| store.put_layer(media_type::MODEL, bytes).expect("kept"));
    let name = "split".parse().expect("a name");
    store.put_manifest(&name, &Manifest::new(config, layers.to_vec()).to_bytes()).expect("named");
    for _ in 0..2 {
        let first = path_of(&store, "split");
        assert!(first.ends_with("model-00001-of-00002.gguf"));
        assert_eq!(fs::read(&first).expect("read"), b"GGUF 1");
        assert_eq!(fs::read(first.with_file_name("model-00002-of-00002.gguf")).expect("read"), b"GGUF 2");
    }
    store.remove(&name).expect("removed");
    let cleared = store.gc(Default::default()).expect("cleared");
    assert_eq!(cleared.leftovers.len(), 2, "{cleared:?}");
}

#[test]
fn importing_a_file_takes_no_more_space() {
    let Some(source) = lair_testkit::shared_data("models/stories260K-f32.gguf") else { return };
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("Stories-260K.F32.gguf");
    fs::copy(source, &file).expect("copied");
    let store = Store::open(Settings::at(home.path().join("lair")));
    let (name, id) = store.import(&file, None, Adopt::Cheapest, &mut |_| ()).expect("imported");
    assert_eq!(name.short(), "stories-260k:f32");
    let model = &store.list().expect("lists")[0];
    assert_eq!((model.id, model.owner), (Some(id), Owner::Lair));
    let (one, two) =
        (fs::metadata(&file).expect("there"), fs::metadata(model.weights().expect("weights")).expect("there"));
    use std::os::unix::fs::MetadataExt;
    // The same file, or a clone of it where the file system can.
    assert!(one.ino() == two.ino() || one.nlink() == 1);
    let config = model.files.iter().find(|file| file.role == FileRole::Other).expect("a configuration");
    let config = lair_store::ImageConfig::parse(&fs::read(&config.path).expect("read")).expect("parses");
    assert_eq!((config.model_format.as_str(), config.model_family.as_str()), ("gguf", "llama"));
    let not_a_model = write(home.path().join("x.gguf"), b"GGUF but no more");
    let refused = store.import(&not_a_model, None, Adopt::Cheapest, &mut |_| ());
    assert!(matches!(refused, Err(StoreError::BadModel { .. })), "{refused:?}");
}
