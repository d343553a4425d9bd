//! Names, clearing, verifying and repairing, on a real disk.

mod fakes;

use std::fs;
use std::time::Duration;

use lair_store::oci::{Manifest, media_type};
use lair_store::{
    Digest, FoundModel, GcOptions, ModelFile, ModelName, Note, Repairer, Settings, Store, StoreError, Verdict,
};

fn name(text: &str) -> ModelName {
    text.parse().expect("a name")
}

fn create(store: &Store, model: &str, weights: &[u8]) -> Digest {
    let config = store.put_layer(media_type::CONFIG, format!("{{\"of\":\"{model}\"}}").as_bytes()).expect("kept");
    let layers = vec![store.put_layer(media_type::MODEL, weights).expect("kept")];
    let id = store.put_manifest(&name(model), &Manifest::new(config, layers).to_bytes()).expect("named");
    store.put_note(&name(model), &Note::from_source("a test")).expect("noted");
    id
}

fn in_store(check: impl FnOnce(&Store)) {
    let home = tempfile::tempdir().expect("a folder");
    check(&Store::open(Settings::at(home.path())));
}

fn names(store: &Store) -> Vec<String> {
    store.list().expect("lists").into_iter().map(|model| model.name).collect()
}

#[test]
fn a_blob_stays_as_long_as_a_name_needs_it() {
    in_store(|store| {
        let id = create(store, "a", b"shared");
        store.copy(&name("A:latest"), &name("user/b:v1")).expect("copied");
        assert_eq!(names(store), ["a:latest", "user/b:v1"]);
        assert!(store.list().expect("lists").iter().all(|model| model.id == Some(id)));
        let blob = store.blobs().path(&Digest::of(b"shared"));
        let removed = store.remove(&name("a")).expect("removed");
        assert_eq!((removed.freed_bytes, removed.kept_count), (0, 2));
        assert!(blob.exists());
        let removed = store.remove(&name("USER/B:V1")).expect("removed");
        assert_eq!((removed.digests.len(), removed.kept_count), (2, 0));
        assert!(!blob.exists() && names(store).is_empty());
        let manifests = store.blobs().root().join("manifests");
        assert_eq!(fs::read_dir(manifests).map_or(0, Iterator::count), 0, "empty folders stay");
        assert!(matches!(store.remove(&name("a")), Err(StoreError::UnknownModel { .. })));
        assert!(matches!(store.copy(&name("a"), &name("b")), Err(StoreError::UnknownModel { .. })));
    });
}

#[test]
fn a_damaged_manifest_is_listed_can_be_removed_and_protects_all_blobs() {
    in_store(|store| {
        create(store, "sound", b"weights");
        create(store, "broken", b"other");
        fs::write(store.layout().manifest_path(&name("broken")), b"{\"schemaVersion\":2,").expect("damaged");
        let models = store.list().expect("lists");
        let damaged: Vec<_> =
            models.iter().filter(|model| !model.is_whole()).map(|model| model.name.as_str()).collect();
        assert_eq!(damaged, ["broken:latest"]);
        assert!(matches!(store.gc(GcOptions::default()), Err(StoreError::BadManifest { .. })));
        // Nobody knows what `broken` needs.
        assert_eq!(store.remove(&name("sound")).expect("removed").digests, []);
        store.remove(&name("broken")).expect("removed");
        let cleared = store.gc(GcOptions::default()).expect("cleared");
        assert_eq!(cleared.blobs.len(), 4, "{cleared:?}");
    });
}

#[test]
fn a_quota_keeps_what_is_pinned_or_was_used_last() {
    in_store(|store| {
        for (model, byte) in [("old", 1), ("pinned", 2), ("new", 3)] {
            create(store, model, &[byte; 1000]);
        }
        store.pin(&name("pinned")).expect("pinned");
        // Used in an hour's time: later than the others came.
        let used = store.blobs().root().join(".lair/used/registry.ollama.ai/library/new/latest");
        fs::create_dir_all(used.parent().expect("a folder")).expect("made");
        fs::write(used, "99999999999").expect("written");
        let options = GcOptions { quota_bytes: Some(2100), dry_run: true, ..GcOptions::default() };
        let told = store.gc(options).expect("told");
        assert_eq!(told.evicted, [name("old")]);
        assert_eq!(names(store).len(), 3, "a dry run removes nothing");
        let done = store.gc(GcOptions { dry_run: false, ..options }).expect("cleared");
        assert_eq!((done.freed_bytes(), done.remaining_bytes), (told.freed_bytes(), told.remaining_bytes));
        assert_eq!(names(store), ["new:latest", "pinned:latest"]);
        let all = store.gc(GcOptions { quota_bytes: Some(0), ..GcOptions::default() }).expect("cleared");
        assert_eq!(all.evicted, [name("new")]);
        assert!(store.unpin(&name("pinned")).expect("unpinned"));
        assert!(!store.unpin(&name("pinned")).expect("was not"));
        store.gc(GcOptions { quota_bytes: Some(0), ..GcOptions::default() }).expect("cleared");
        assert!(names(store).is_empty());
        assert_eq!(fs::read_dir(store.blobs().root().join("blobs")).expect("read").count(), 0);
    });
}

#[test]
fn partial_downloads_go_when_they_are_old_and_nobody_has_them() {
    in_store(|store| {
        let (idle, busy) = (Digest::of(b"idle"), Digest::of(b"busy"));
        for digest in [idle, busy] {
            let path = store.blobs().partial_path(&digest);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, b"half").expect("written");
        }
        let lock = store.blobs().lock(&busy, || panic!("nobody has it")).expect("locked");
        let gc = |age: Option<Duration>| {
            let options = GcOptions { partials_older_than: age, ..GcOptions::default() };
            store.gc(options).expect("cleared").leftovers
        };
        assert!(gc(None).is_empty());
        assert!(gc(Some(Duration::from_secs(3600))).is_empty());
        assert_eq!(gc(Some(Duration::ZERO)), [(store.blobs().partial_path(&idle), 4)]);
        drop(lock);
        assert_eq!(gc(Some(Duration::ZERO)), [(store.blobs().partial_path(&busy), 4)]);
    });
}

#[test]
fn in_a_folder_of_ollamas_unknown_blobs_stay_unless_asked_for() {
    let home = tempfile::tempdir().expect("a folder");
    let store = Store::open(Settings { is_shared: true, ..Settings::at(home.path()) });
    create(&store, "ours", b"ours");
    let theirs = store.blobs().path(&Digest::of(b"theirs"));
    fs::write(&theirs, b"theirs").expect("written");
    let told = store.gc(GcOptions::default()).expect("cleared");
    assert_eq!((told.shared, told.blobs.len()), ((1, 6), 0));
    assert!(theirs.exists());
    let done = store.gc(GcOptions { also_shared: true, ..GcOptions::default() }).expect("cleared");
    assert_eq!(done.blobs, [(Digest::of(b"theirs"), 6)]);
}

/// Writes these bytes to the blob, as a download would.
struct Brings(&'static [u8]);

impl Repairer for Brings {
    fn repair(&mut self, _model: &FoundModel, file: &ModelFile) -> Result<u64, StoreError> {
        fs::write(&file.path, self.0).expect("written");
        Ok(self.0.len() as u64)
    }
}

fn weights_of(store: &Store, model: &str) -> (FoundModel, ModelFile) {
    let found = store.list().expect("lists").into_iter().find(|found| found.name == model).expect("listed");
    let file = found.files.last().expect("weights come last").clone();
    (found, file)
}

/// What happens to the bytes of a blob.
type Damaging = fn(&mut Vec<u8>);

#[test]
fn each_kind_of_damage_is_found_named_and_repaired() {
    let damages: [(&str, Damaging); 4] = [
        ("flipped", |bytes| bytes[3] ^= 1),
        ("zeroed", |bytes| bytes.fill(0)),
        ("cut", |bytes| bytes.truncate(2)),
        ("longer", |bytes| bytes.push(1)),
    ];
    for (what, damage) in damages {
        in_store(|store| {
            create(store, "m", b"weights");
            let (_, file) = weights_of(store, "m:latest");
            assert_eq!(store.verify(&file, &mut |_| ()).expect("hashed").verdict, Verdict::Sound);
            let mut bytes = b"weights".to_vec();
            damage(&mut bytes);
            fs::write(&file.path, &bytes).expect("damaged");
            let mut hashed = 0;
            let verified = store.verify(&file, &mut |count| hashed += count).expect("hashed");
            assert_eq!(hashed, bytes.len() as u64);
            let Verdict::Broken { found, quarantine: Some(quarantine) } = &verified.verdict else {
                panic!("{what}: {verified:?}")
            };
            assert_eq!(*found, Digest::of(&bytes), "{what}");
            assert_eq!(fs::read(quarantine).expect("in quarantine"), bytes);
            let (model, file) = weights_of(store, "m:latest");
            assert!(!model.is_whole(), "{what}: it is listed as damaged");
            let again = store.verify(&file, &mut |_| ()).expect("hashed");
            assert_eq!(again.verdict, verified.verdict, "{what}: a second look");
            // A repair that brings wrong bytes leaves it in quarantine.
            let failed = store.repair(&model, &verified, &mut Brings(b"wrong"));
            assert!(matches!(failed, Err(StoreError::WrongDigest { .. })), "{what}: {failed:?}");
            assert!(!file.path.exists());
            let verified = store.verify(&file, &mut |_| ()).expect("hashed");
            let repaired = store.repair(&model, &verified, &mut Brings(b"weights")).expect("repaired");
            assert_eq!(repaired, Verdict::Repaired { fetched_bytes: 7 });
            assert!(weights_of(store, "m:latest").0.is_whole(), "{what}");
        });
    }
}

#[test]
fn a_missing_blob_is_told_and_what_needs_nothing_leaves_quarantine() {
    in_store(|store| {
        create(store, "m", b"weights");
        let (_, file) = weights_of(store, "m:latest");
        fs::remove_file(&file.path).expect("removed");
        assert_eq!(store.verify(&file, &mut |_| ()).expect("looked").verdict, Verdict::Missing);
        fs::write(&file.path, b"damaged").expect("damaged");
        store.verify(&file, &mut |_| ()).expect("hashed");
        assert!(store.gc(GcOptions::default()).expect("cleared").leftovers.is_empty(), "a repair starts from it");
        store.remove(&name("m")).expect("removed");
        assert_eq!(store.gc(GcOptions::default()).expect("cleared").leftovers.len(), 1);
    });
}
