//! Configurations whose values are not what they should be, of every tiny checkpoint: each opens or is refused with a reason, nothing
//! panics, and memory stays small.
//!
//! A run takes some values at some places of each. `LAIR_HOSTILE=NAME,NAME` takes all values at all places of these checkpoints,
//! `LAIR_HOSTILE=all` of all (half an hour).

mod support;

use lair_convert::hf;
use lair_testkit::counting::{Counting, peak_of};
use support::Checkpoint;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that a checkpoint may cost: the largest has a megabyte of weights, which are mapped.
const PEAK_MAX: usize = 64 << 20;

/// Values in the place of one of `config.json`.
fn harmful_values() -> Vec<serde_json::Value> {
    use serde_json::json;
    vec![
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(4_294_967_295_u64),
        json!(9_007_199_254_740_993_u64),
        json!(1e300),
        json!(0.3),
        serde_json::Value::Null,
        json!(true),
        json!("text"),
        json!([]),
        json!([null, -1, "a"]),
        json!({}),
    ]
}

/// The places of all values of a configuration: their keys and indices, the first entry of a list only.
fn places_of(json: &serde_json::Value, place: &str, found: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
                found.push(place.clone());
                places_of(value, &place, found);
            }
        }
        serde_json::Value::Array(list) => {
            if let Some(first) = list.first() {
                let place = format!("{place}/0");
                found.push(place.clone());
                places_of(first, &place, found);
            }
        }
        _ => {}
    }
}

/// Every value of every configuration in turn is something else: the checkpoint opens or is refused with a reason.
#[test]
fn configurations_with_other_values_open_or_are_refused() {
    let names = support::names().into_iter().chain(support::names_with("gguf.json"));
    let only = std::env::var("LAIR_HOSTILE").ok();
    let (mut tried, mut refused, mut panicked) = (0, 0, Vec::new());
    let is_meant =
        |name: &String| only.as_ref().is_none_or(|only| only == "all" || only.split(',').any(|other| other == name));
    // Of values and places, one in so many.
    let (of_values, of_places) = if only.is_some() { (1, 1) } else { (15, 4) };
    for name in names.filter(is_meant) {
        let checkpoint = Checkpoint::make(&name);
        let path = checkpoint.path().join("config.json");
        let original = support::json_of(&path);
        let mut places = Vec::new();
        places_of(&original, "", &mut places);
        places.retain(|place| !IDLE.iter().any(|idle| place.starts_with(idle)));
        for place in places.iter().skip(tried % of_places).step_by(of_places) {
            let mut changed: Vec<Option<serde_json::Value>> = harmful_values().into_iter().map(Some).collect();
            changed.push(None);
            for value in changed.into_iter().skip(tried % of_values).step_by(of_values) {
                let mut config = original.clone();
                let (parent, key) = place.rsplit_once('/').expect("a place begins with a slash");
                match (value.clone(), config.pointer_mut(parent).expect("it is there")) {
                    (Some(value), _) => *config.pointer_mut(place).expect("it is there") = value,
                    (None, serde_json::Value::Object(object)) => drop(object.remove(key)),
                    (None, serde_json::Value::Array(list)) => drop(list.remove(0)),
                    (None, _) => continue,
                }
                std::fs::write(&path, config.to_string()).expect("written");
                let what = format!("{name}: `{place}` is {value:?}");
                let opened = std::panic::catch_unwind(|| peak_of(|| hf::open(checkpoint.path()).map(drop)));
                tried += 1;
                match opened {
                    Err(_) => panicked.push(what),
                    Ok((opened, peak)) => {
                        if let Err(error) = opened {
                            refused += 1;
                            assert!(error.to_string().len() < 4000, "{what}: a short reason");
                        }
                        if peak >= PEAK_MAX {
                            panicked.push(format!("{what}: {peak} bytes"));
                        }
                    }
                }
            }
        }
    }
    eprintln!("{refused} of {tried} configurations refused");
    assert!(panicked.is_empty(), "{} of {tried}:\n{}", panicked.len(), panicked.join("\n"));
}

/// Parts of configurations that no conversion reads.
const IDLE: [&str; 4] = ["/vision_config", "/audio_config", "/transformers_version", "/projector"];
