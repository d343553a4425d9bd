//! Whatever is written where a model is meant: no panic, no way out of a folder, and what is printed reads back.

use std::path::Component;

use lair_store::{HubPart, Reference};
use proptest::prelude::*;

fn check(text: &str) {
    let Ok(reference) = Reference::parse(text) else { return };
    let printed = reference.to_string();
    assert_eq!(Reference::parse(&printed).as_ref(), Ok(&reference), "{text:?} prints {printed:?}");
    if let Reference::Name(name) = &reference {
        let path = name.manifest_path();
        assert_eq!(path.components().count(), 4, "{text:?}");
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{text:?}");
    }
    if let Some(hub) = reference.as_hub() {
        for part in [&hub.owner, &hub.repository] {
            assert!(!part.is_empty() && part != ".." && !part.contains(['/', '\\']), "{text:?}");
        }
        if let HubPart::File(file) = &hub.part {
            assert!(!file.starts_with('/') && file.split('/').all(|part| !part.is_empty() && part != ".."), "{text:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,60}") {
        check(&text);
    }

    #[test]
    fn text_of_the_pieces_that_mean_something(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("hf.co/"), Just("hf://"), Just("https://"), Just("huggingface.co/"), Just("pip:"), Just("=="),
                Just("sha256:"), Just("sha256-"), Just("abcdef12"), Just("user/"), Just("repo"), Just(":"), Just("/"),
                Just("@"), Just("main"), Just("resolve/"), Just("blob/"), Just("tree/"), Just(".."), Just("."),
                Just("Q4_K_M"), Just("latest"), Just("x.gguf"), Just("library/"), Just("registry.ollama.ai/"),
                Just("localhost:5000/"), Just("\\"), Just("~"), Just("C:/"), Just("?a=b"), Just(" "), Just("é"),
            ],
            0..9,
        )
    ) {
        check(&pieces.concat());
    }
}
