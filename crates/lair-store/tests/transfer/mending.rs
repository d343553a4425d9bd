//! Blobs that did not come over a connection are mended like those that did: piece by piece, from wherever the bytes
//! are known to be.

use std::fs;
use std::path::Path;

use lair_store::oci::{Manifest, media_type};
use lair_store::{Adopt, Digest, Fetcher, ModelName, Note, Reference, Store, Verdict};

use crate::fakes::Told;
use crate::fakes::http::Http;
use crate::fakes::registry::{Model, layer, name_at, store};

/// Of what was not pulled.
const PIECE_BYTES: u64 = 4 << 20;

/// Three pieces and a rest.
fn weights() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend((0..13_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8));
    bytes
}

fn mine() -> ModelName {
    "mine".parse().expect("a name")
}

/// Gives what `model` is made of the name `name`, as creating and importing do.
fn name_it(store: &Store, name: &ModelName, model: &Model) {
    let config = store.put_layer(media_type::CONFIG, &model.config).expect("kept");
    let manifest = Manifest::new(config, vec![layer(media_type::MODEL, &model.weights)]);
    store.put_manifest(name, &manifest.to_bytes()).expect("named");
    store.put_note(name, &Note::from_source("file /somewhere/model.gguf")).expect("noted");
}

/// Flips a byte of the weights of `name`, has it found and mended; returns how many bytes were fetched.
fn mended(store: &Store, name: &ModelName, model: &Model) -> Result<u64, lair_store::StoreError> {
    let digest = Digest::of(&model.weights);
    let path = store.blobs().path(&digest);
    let mut bytes = model.weights.clone();
    bytes[9_000_000] ^= 1;
    // A hard link would be changed with it.
    fs::remove_file(&path).expect("removed");
    fs::write(&path, bytes).expect("damaged");
    let found = store.list().expect("lists").into_iter().find(|found| found.model_name.as_ref() == Some(name));
    let found = found.expect("is listed");
    let file = found.files.iter().find(|file| file.digest == Some(digest)).expect("has weights");
    let verified = store.verify(file, &mut |_| ()).expect("hashed");
    assert!(verified.is_bad(), "{verified:?}");
    let mut told = Told::default();
    let verdict = store.repair(&found, &verified, &mut Fetcher::new(store, &mut told))?;
    let Verdict::Repaired { fetched_bytes } = verdict else { panic!("{verdict:?}") };
    assert!(fs::read(&path).expect("reads") == model.weights);
    Ok(fetched_bytes)
}

fn has_checksums(store: &Store, model: &Model) -> bool {
    store.blobs().root().join(".lair/checksums").join(Digest::of(&model.weights).file_name()).exists()
}

/// A store, and a registry that has what is about to be broken there.
fn with_registry(check: impl FnOnce(&Store, &Http, &Model, &Path)) {
    let model = Model::new(weights());
    let server = model.serve();
    let root = tempfile::tempdir().expect("a folder");
    check(&store(root.path(), |settings| settings.transfer.part_bytes = 32 << 20), &server, &model, root.path());
}

#[test]
fn what_was_imported_and_pushed_is_mended_piece_by_piece() {
    for how in [Adopt::Copy, Adopt::HardLink] {
        with_registry(|store, server, model, root| {
            let file = root.join("model.gguf");
            fs::write(&file, &model.weights).expect("written");
            store.blobs().adopt(&file, how, &mut |_| ()).expect("adopted");
            assert!(has_checksums(store, model));
            // Named after the registry that it was pushed to.
            let name = name_at(server.host());
            name_it(store, &name, model);
            assert_eq!(mended(store, &name, model).expect("mended"), PIECE_BYTES, "{how:?}");
        });
    }
}

#[test]
fn what_shares_its_weights_with_a_model_that_was_pulled_is_mended_from_there() {
    with_registry(|store, server, model, _| {
        let origin = name_at(server.host());
        store.pull(&Reference::Name(origin.clone()), &mut Told::default()).expect("pulled");
        name_it(store, &mine(), model);
        assert_eq!(mended(store, &mine(), model).expect("mended"), PIECE_BYTES);
        // Without that model nobody knows where the bytes are.
        store.remove(&origin).expect("removed");
        let error = mended(store, &mine(), model).expect_err("nobody to ask");
        assert!(matches!(error, lair_store::StoreError::NoSource { .. }), "{error}");
    });
}

#[test]
fn what_another_program_brought_is_known_from_the_first_look_at_it() {
    with_registry(|store, server, model, _| {
        let (digest, name) = (Digest::of(&model.weights), name_at(server.host()));
        store.blobs().claim(&[digest]).expect("claimed");
        fs::create_dir_all(store.blobs().root().join("blobs")).expect("made");
        fs::write(store.blobs().path(&digest), &model.weights).expect("written");
        name_it(store, &name, model);
        assert!(!has_checksums(store, model));
        let listed = store.list().expect("lists").remove(0);
        for file in &listed.files {
            assert_eq!(store.verify(file, &mut |_| ()).expect("hashed").verdict, Verdict::Sound);
        }
        assert!(has_checksums(store, model));
        assert_eq!(mended(store, &name, model).expect("mended"), PIECE_BYTES);
    });
}

#[test]
fn what_came_over_the_api_in_one_stream_is_known_as_well() {
    with_registry(|store, server, model, _| {
        let digest = Digest::of(&model.weights);
        store.blobs().receive(&digest, &mut model.weights.as_slice()).expect("received");
        let name = name_at(server.host());
        name_it(store, &name, model);
        assert_eq!(mended(store, &name, model).expect("mended"), PIECE_BYTES);
    });
}
