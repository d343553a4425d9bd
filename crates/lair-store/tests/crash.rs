//! Every operation of the store on its disk fails, or is the last one before the process dies or the power goes: what is
//! listed stays whole, nothing half-written is listed, temporary files go.

mod fakes;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fakes::sim_fs::{Fault, SimFs, Snapshot};
use lair_store::oci::{Manifest, media_type};
use lair_store::{Adopt, Digest, FileSystem, FoundModel, GcOptions, ModelName, Note, Settings, Store, StoreError};

const HOME: &str = "/home/lair";
/// Losses of power tried at each operation.
const POWER_LOSSES: u64 = 6;

fn name(text: &str) -> ModelName {
    text.parse().expect("a name")
}

fn open(fs: &SimFs) -> Store {
    let mut settings = Settings::at(HOME);
    settings.file_system = Arc::new(fs.clone());
    Store::open(settings)
}

/// A model of a configuration and these weights.
fn create(store: &Store, model: &str, weights: &[&[u8]]) -> Result<Digest, StoreError> {
    let config = store.put_layer(media_type::CONFIG, format!("{{\"of\":\"{model}\"}}").as_bytes())?;
    let mut layers = Vec::new();
    for bytes in weights {
        layers.push(store.put_layer(media_type::MODEL, bytes)?);
    }
    let id = store.put_manifest(&name(model), &Manifest::new(config, layers).to_bytes())?;
    store.put_note(&name(model), &Note::from_source("a test"))?;
    Ok(id)
}

/// Two models that share a blob, one of them pinned, an orphan, and a file to adopt.
fn prepared() -> Snapshot {
    let fs = SimFs::default();
    let store = open(&fs);
    create(&store, "first", &[b"shared weights", b"first alone"]).expect("created");
    create(&store, "second:q8", &[b"shared weights"]).expect("created");
    store.pin(&name("second:q8")).expect("pinned");
    store.blobs().put(b"an orphan").expect("kept");
    fs.create_folder(Path::new("/user")).expect("made");
    fs.replace(Path::new("/user/file.gguf"), b"bytes of the user").expect("written");
    drop(store);
    fs.snapshot()
}

/// Something done to a store.
struct Verb {
    what: &'static str,
    /// Names it may change: to be in their old or their new state.
    changes: &'static [&'static str],
    run: fn(&Store) -> Result<(), StoreError>,
}

const VERBS: &[Verb] = &[
    Verb {
        what: "create a model",
        changes: &["third"],
        run: |store| create(store, "third", &[b"third weights", b"shared weights"]).map(drop),
    },
    Verb {
        what: "replace a model",
        changes: &["first"],
        run: |store| create(store, "first", &[b"other weights"]).map(drop),
    },
    Verb {
        what: "adopt a file by a link",
        changes: &[],
        run: |store| store.blobs().adopt(Path::new("/user/file.gguf"), Adopt::Cheapest, &mut |_| ()).map(drop),
    },
    Verb {
        what: "adopt a file by copying",
        changes: &[],
        run: |store| store.blobs().adopt(Path::new("/user/file.gguf"), Adopt::Copy, &mut |_| ()).map(drop),
    },
    Verb { what: "copy a name", changes: &["copy:a"], run: |store| store.copy(&name("first"), &name("copy:a")) },
    Verb { what: "remove the first", changes: &["first"], run: |store| store.remove(&name("first")).map(drop) },
    Verb {
        what: "remove the second",
        changes: &["second:q8"],
        run: |store| store.remove(&name("second:q8")).map(drop),
    },
    Verb { what: "clear", changes: &[], run: |store| store.gc(GcOptions::default()).map(drop) },
    Verb {
        what: "clear to a quota",
        changes: &["first"],
        run: |store| store.gc(GcOptions { quota_bytes: Some(1), ..GcOptions::default() }).map(drop),
    },
];

/// Names with their IDs.
fn listed(store: &Store) -> Vec<(String, Option<Digest>)> {
    store.list().expect("lists").into_iter().map(|model| (model.name, model.id)).collect()
}

fn check(fs: &SimFs, before: &[(String, Option<Digest>)], verb: &Verb, context: &str) -> Store {
    let store = open(fs);
    let models: Vec<FoundModel> = store.list().expect("lists");
    for model in &models {
        assert!(model.is_whole(), "{context}: `{}` is listed and {:?}", model.name, model.damage);
        for file in &model.files {
            let digest = file.digest.expect("blobs have digests");
            store.blobs().verify(&digest).unwrap_or_else(|error| panic!("{context}: {}: {error}", model.name));
        }
    }
    let is_changed = |full: &str| verb.changes.iter().any(|changed| name(changed).short() == full);
    for (full, id) in before {
        let now = models.iter().find(|model| model.name == *full);
        assert!(now.is_some() || is_changed(full), "{context}: `{full}` is lost");
        assert!(now.is_none_or(|model| model.id == *id) || is_changed(full), "{context}: `{full}` has changed");
    }
    for model in &models {
        let was_there = before.iter().any(|(full, _)| *full == model.name);
        assert!(was_there || is_changed(&model.name), "{context}: `{}` came from nowhere", model.name);
    }
    assert_eq!(temporary_files(fs), Vec::<PathBuf>::new(), "{context}: temporary files stay");
    store
}

fn temporary_files(fs: &SimFs) -> Vec<PathBuf> {
    let folder = Path::new(HOME).join("models/.lair/tmp");
    fs.read_folder(&folder).unwrap_or_default().into_iter().map(|entry| entry.path).collect()
}

/// How many operations a verb takes when nothing fails.
fn operation_count(prepared: &Snapshot, verb: &Verb) -> usize {
    let fs = SimFs::at(prepared);
    let store = open(&fs);
    fs.set_fault(None);
    (verb.run)(&store).unwrap_or_else(|error| panic!("{}: {error}", verb.what));
    fs.operation_count()
}

#[test]
fn a_failure_of_any_operation_harms_nothing() {
    let prepared = prepared();
    let before = listed(&open(&SimFs::at(&prepared)));
    let faults = [Fault::Fails(ErrorKind::Other), Fault::Fails(ErrorKind::Interrupted), Fault::FullFromHere];
    let mut run_count = 0;
    for verb in VERBS {
        for index in 0..operation_count(&prepared, verb) {
            for fault in faults {
                let context = format!("{}, {fault:?} at operation {index}", verb.what);
                let fs = SimFs::at(&prepared);
                let store = open(&fs);
                fs.set_fault(Some((index, fault)));
                let outcome = (verb.run)(&store);
                fs.set_fault(None);
                if let Err(error) = &outcome {
                    assert!(!error.to_string().is_empty());
                    assert!(fault != Fault::FullFromHere || is_full(error), "{context}: {error}");
                    // The very same process goes on, and nothing is left behind by then.
                    let left = temporary_files(&fs);
                    assert!(left.is_empty() || fault != Fault::FullFromHere, "{context}: {left:?} is left");
                    (verb.run)(&store)
                        .or_else(done_already)
                        .unwrap_or_else(|error| panic!("{context}, again: {error}"));
                }
                drop(store);
                check(&fs, &before, verb, &context);
                run_count += 1;
            }
        }
    }
    println!("{run_count} faults");
}

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { reason, .. } if reason.kind() == ErrorKind::StorageFull)
}

/// A removal that failed after the name had gone finds no name the second time.
fn done_already(error: StoreError) -> Result<(), StoreError> {
    if matches!(error, StoreError::UnknownModel { .. }) { Ok(()) } else { Err(error) }
}

#[test]
fn a_death_at_any_operation_harms_nothing_with_or_without_power() {
    let prepared = prepared();
    let before = listed(&open(&SimFs::at(&prepared)));
    let (mut kill_count, mut loss_count) = (0, 0);
    for verb in VERBS {
        for index in 0..=operation_count(&prepared, verb) {
            let fs = SimFs::at(&prepared);
            let store = open(&fs);
            fs.set_fault(Some((index, Fault::DiesBefore)));
            let _ = (verb.run)(&store);
            let context = format!("{}, killed at operation {index}", verb.what);
            let killed = fs.after_kill();
            let reopened = check(&killed, &before, verb, &context);
            (verb.run)(&reopened).or_else(done_already).unwrap_or_else(|error| panic!("{context}, again: {error}"));
            kill_count += 1;
            for seed in 0..POWER_LOSSES {
                let seed = seed * 1_000_003 + index as u64;
                let lost = fs.after_power_loss(seed);
                check(&lost, &before, verb, &format!("{}, power lost at operation {index}, seed {seed}", verb.what));
                loss_count += 1;
            }
        }
    }
    println!("{kill_count} kills, {loss_count} losses of power");
}

#[test]
fn what_was_done_survives_a_loss_of_power() {
    let empty = SimFs::default().snapshot();
    let first =
        Verb { what: "the first model", changes: &[], run: |store| create(store, "new", &[b"weights"]).map(drop) };
    let prepared = prepared();
    for (start, verb) in VERBS.iter().map(|verb| (&prepared, verb)).chain([(&empty, &first)]) {
        let fs = SimFs::at(start);
        let store = open(&fs);
        (verb.run)(&store).unwrap_or_else(|error| panic!("{}: {error}", verb.what));
        let done = listed(&store);
        for seed in 0..POWER_LOSSES {
            let lost = fs.after_power_loss(seed);
            let unchanged = Verb { changes: &[], ..*verb };
            check(&lost, &done, &unchanged, &format!("{}, done, then power lost, seed {seed}", verb.what));
            assert_eq!(open(&lost).list().expect("lists").len(), done.len());
        }
    }
}

#[test]
fn clearing_spares_what_a_living_process_claims() {
    let fs = SimFs::default();
    let (busy, other) = (open(&fs), open(&fs));
    let layer = busy.put_layer(media_type::MODEL, b"on its way").expect("kept");
    let cleared = other.gc(GcOptions::default()).expect("cleared");
    assert!(cleared.blobs.is_empty(), "{cleared:?}");
    let config = busy.put_layer(media_type::CONFIG, b"{}").expect("kept");
    busy.put_manifest(&name("late"), &Manifest::new(config, vec![layer]).to_bytes()).expect("named");
    assert!(other.list().expect("lists")[0].is_whole());
    // A claim ends with its process.
    busy.blobs().put(b"never named").expect("kept");
    let dead = fs.after_kill();
    let cleared = open(&dead).gc(GcOptions::default()).expect("cleared");
    assert_eq!(cleared.blobs, [(Digest::of(b"never named"), 11)]);
}

#[test]
fn a_manifest_without_its_blobs_is_refused() {
    let fs = SimFs::default();
    let store = open(&fs);
    let config = store.put_layer(media_type::CONFIG, b"{}").expect("kept");
    let mut layer = store.put_layer(media_type::MODEL, b"weights").expect("kept");
    layer.size_bytes += 1;
    let outcome = store.put_manifest(&name("x"), &Manifest::new(config, vec![layer]).to_bytes());
    assert!(matches!(outcome, Err(StoreError::MissingBlob { .. })), "{outcome:?}");
    assert!(store.list().expect("lists").is_empty());
}
