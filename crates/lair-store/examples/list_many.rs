//! How long a listing of 1,000 models takes: `cargo run --release -p lair-store --example list_many`.

use std::time::Instant;

use lair_store::oci::{Manifest, media_type};
use lair_store::{ModelName, Settings, Store, StoreError};

const MODELS: usize = 1000;
const LISTINGS: usize = 21;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = std::env::temp_dir().join(format!("lair-list-many-{}", std::process::id()));
    let outcome = measure(&home);
    std::fs::remove_dir_all(&home)?;
    Ok(outcome?)
}

fn measure(home: &std::path::Path) -> Result<(), StoreError> {
    let store = Store::open(Settings::at(home));
    for index in 0..MODELS {
        let text = |what: &str| format!("{what} of {index}").into_bytes();
        let config = store.put_layer(media_type::CONFIG, &text("config"))?;
        let layers = [media_type::MODEL, media_type::TEMPLATE, media_type::PARAMS, media_type::LICENSE]
            .map(|media_type| store.put_layer(media_type, &text(media_type)));
        let layers = layers.into_iter().collect::<Result<_, _>>()?;
        let name: ModelName = format!("family{}/model{index}:q4_k_m", index % 50).parse()?;
        store.put_manifest(&name, &Manifest::new(config, layers).to_bytes())?;
    }
    let mut times = Vec::new();
    for _ in 0..LISTINGS {
        let start = Instant::now();
        let models = Store::open(Settings::at(home)).list_all().models;
        times.push(start.elapsed());
        assert_eq!(models.len(), MODELS);
    }
    times.sort();
    println!("{MODELS} models of 5 blobs: median {:?}, worst {:?}", times[LISTINGS / 2], times[LISTINGS - 1]);
    Ok(())
}
