//! Models made of Modelfiles: what they share, what they override, which bytes are written, and that printing a stored model
//! as a Modelfile makes the same manifest again.

use std::path::{Path, PathBuf};

use lair_gguf::{GgufWriter, Metadata, StringArray};
use lair_store::modelfile::{CreateError, CreateRequest, Created, ModelSettings, Modelfile, create, stored_modelfile};
use lair_store::oci::Layer;
use lair_store::{Digest, ModelName, Settings, Store};

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(Settings::at(folder.path().join("lair")));
        Place { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A GGUF file without tensors.
    fn gguf(&self, name: &str, set: impl FnOnce(&mut Metadata)) -> PathBuf {
        let mut metadata = Metadata::default();
        set(&mut metadata);
        let path = self.path(name);
        let writer = GgufWriter::new(metadata).expect("its keys");
        writer.write_file(&path, |_, _| Ok(())).expect("written");
        path
    }

    fn model(&self, name: &str) -> PathBuf {
        self.gguf(name, |metadata| {
            metadata.set("general.architecture", "llama");
            metadata.set("general.file_type", 15u32);
            metadata.set("llama.block_count", 2u32);
            metadata.set("tokenizer.chat_template", "{{ messages }}<|im_start|>");
            metadata.set("tokenizer.ggml.tokens", StringArray::from_iter(["a", "<|im_start|>", "<|im_end|>"]));
        })
    }

    fn create(&self, name: &str, text: &str) -> Result<Created, CreateError> {
        let modelfile = Modelfile::parse(text.as_bytes()).expect(text);
        let name: ModelName = name.parse().expect("a name");
        create(
            &self.store,
            CreateRequest { name: &name, modelfile: &modelfile, folder: self.folder.path() },
            &mut |_| {},
        )
    }

    fn settings(&self, created: &Created) -> ModelSettings {
        let read = |layer: &Layer| self.store.blobs().read(&layer.digest, 1 << 20);
        ModelSettings::from_layers(&created.manifest, read).expect("settings")
    }

    fn text(&self, layer: &Layer) -> String {
        let bytes = self.store.blobs().read(&layer.digest, 1 << 20).expect("a blob");
        String::from_utf8(bytes).expect("UTF-8")
    }

    /// Prints a stored model, makes it again under another name, and compares.
    fn is_made_again(&self, name: &str, created: &Created) {
        let name: ModelName = name.parse().expect("a name");
        let stored = self.store.manifest(&name).expect("readable").expect("stored");
        assert_eq!(stored.digest, created.id);
        let printed = stored_modelfile(&self.store, &stored).expect("a Modelfile").print().expect("printable");
        let again = self.create("again", &printed).unwrap_or_else(|error| panic!("{printed}\n{error}"));
        assert_eq!(again.manifest, created.manifest, "{printed}");
        assert_eq!(again.id, created.id, "{printed}");
    }
}

fn types(created: &Created) -> Vec<&str> {
    let short = |layer: &'_ Layer| layer.media_type.rsplit('.').next().map(str::to_string);
    let names: Vec<String> = created.manifest.layers.iter().filter_map(short).collect();
    names.into_iter().map(|name| &*name.leak()).collect()
}

#[test]
fn a_model_is_made_of_a_file_and_shares_its_bytes() {
    let place = Place::new();
    let path = place.model("model.gguf");
    let created = place
        .create(
            "tiny",
            "FROM ./model.gguf\nTEMPLATE \"\"\"<|im_start|>{{ .Prompt }}\n\"\"\"\nSYSTEM Be brief.\nLICENSE MIT\n\
             PARAMETER stop <|im_end|>\nPARAMETER temperature 0.3\nMESSAGE user <hi>\nMESSAGE assistant \"ho\n\"",
        )
        .expect("made");
    assert_eq!(types(&created), ["model", "template", "system", "license", "params", "messages"]);
    let layers = &created.manifest.layers;
    assert_eq!(layers[0].digest, Digest::of(&std::fs::read(&path).expect("the file")));
    assert_eq!(place.text(&layers[1]), "<|im_start|>{{ .Prompt }}\n");
    assert_eq!(place.text(&layers[4]), "{\"stop\":[\"\\u003c|im_end|\\u003e\"],\"temperature\":0.3}\n");
    let messages =
        "[{\"role\":\"user\",\"content\":\"\\u003chi\\u003e\"},{\"role\":\"assistant\",\"content\":\"ho\\n\"}]\n";
    assert_eq!(place.text(&layers[5]), messages);
    let digests: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", layer.digest)).collect();
    let config = format!(
        "{{\"model_format\":\"gguf\",\"model_family\":\"llama\",\"model_families\":[\"llama\"],\"model_type\":\"0\",\
         \"file_type\":\"Q4_K_M\",\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\
         \"diff_ids\":[{}]}}}}\n",
        digests.join(",")
    );
    assert_eq!(place.text(&created.manifest.config), config);
    assert_eq!(created.warnings, Vec::<String>::new());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let inode = |path: &Path| std::fs::metadata(path).expect("metadata").ino();
        let blob = place.store.blobs().path(&layers[0].digest);
        let links = std::fs::metadata(&path).expect("metadata").nlink();
        // A reflink has its own inode; a hard link shares it. A copy would be neither.
        assert!(inode(&path) == inode(&blob) || links == 1, "the bytes are shared");
    }
    place.is_made_again("tiny", &created);
}

#[test]
fn a_model_made_of_a_model_overrides_as_ollama_does() {
    let place = Place::new();
    place.model("model.gguf");
    let base = place
        .create(
            "mistral",
            "FROM ./model.gguf\nSYSTEM Be long.\nLICENSE MIT\nPARAMETER stop a\nPARAMETER stop b\nPARAMETER top_k 5\n\
             MESSAGE user hi\nRENDERER qwen3-coder\nREQUIRES v0.14.0",
        )
        .expect("made");
    let seed = "FROM mistral\nSYSTEM \"You are a concise assistant that explains things simply.\"\n\
        TEMPLATE \"{{ .Prompt }}\"\nPARAMETER temperature 0.3\n";
    let created = place.create("concise", seed).expect("made");
    let settings = place.settings(&created);
    assert_eq!(settings.system.as_deref(), Some("You are a concise assistant that explains things simply."));
    assert_eq!(settings.template.as_deref(), Some("{{ .Prompt }}"));
    assert_eq!(settings.parameters.stop(), ["a", "b"]);
    assert_eq!(settings.parameters.whole("top_k"), Some(5));
    assert_eq!(settings.parameters.real("temperature"), Some(0.3));
    assert_eq!(settings.messages.len(), 1);
    assert_eq!(settings.renderer.as_deref(), Some("qwen3-coder"));
    assert_eq!(settings.requires.as_deref(), Some("0.14.0"));
    assert_eq!(created.manifest.layers[0], base.manifest.layers[0], "weights are shared");
    place.is_made_again("concise", &created);

    let more =
        place.create("more", "FROM concise\nPARAMETER stop c\nLICENSE Apache-2.0\nMESSAGE user other").expect("made");
    let settings = place.settings(&more);
    assert_eq!(settings.parameters.stop(), ["c"]);
    assert_eq!(settings.licenses, ["MIT", "Apache-2.0"]);
    assert_eq!(settings.messages.len(), 1);
    assert_eq!(settings.messages[0].content, "other");
    let same = place.create("same", "FROM more").expect("made");
    assert_eq!(same.id, more.id, "a Modelfile that changes nothing makes the same model");
}

#[test]
fn projectors_adapters_and_drafts_have_layers_of_their_own() {
    let place = Place::new();
    place.model("model.gguf");
    place.gguf("mmproj.gguf", |metadata| {
        metadata.set("general.architecture", "clip");
        metadata.set("clip.has_vision_encoder", true);
    });
    place.gguf("lora.gguf", |metadata| {
        metadata.set("general.architecture", "llama");
        metadata.set("general.type", "adapter");
    });
    place.gguf("draft.gguf", |metadata| {
        metadata.set("general.architecture", "qwen3");
        metadata.set("qwen3.block_count", 1u32);
    });
    let text = "FROM ./mmproj.gguf\nADAPTER ./lora.gguf\nDRAFT ./draft.gguf\nFROM ./model.gguf\n";
    let created = place.create("whole", text).expect("made");
    assert_eq!(types(&created), ["model", "projector", "adapter", "draft"]);
    let config = place.text(&created.manifest.config);
    assert!(config.contains(r#""model_families":["llama","clip"]"#), "{config}");
    assert!(config.contains(r#""draft":{"model_format":"gguf","architecture":"qwen3"}"#), "{config}");
    place.is_made_again("whole", &created);
    let digest = created.manifest.layers[0].digest;
    let of_digest = place.create("digest", &format!("FROM @{digest}\nFROM ./mmproj.gguf")).expect("made");
    assert_eq!(of_digest.manifest.layers, created.manifest.layers[..2]);
}

#[test]
fn refuses_what_it_cannot_make() {
    let place = Place::new();
    place.model("model.gguf");
    place.gguf("other.gguf", |metadata| {
        metadata.set("general.architecture", "qwen3");
        metadata.set("qwen3.block_count", 1u32);
    });
    place.gguf("part.gguf", |metadata| {
        metadata.set("general.architecture", "qwen3");
        metadata.set("split.count", 3u16);
    });
    place.gguf("mmproj.gguf", |metadata| metadata.set("general.architecture", "clip"));
    std::fs::create_dir(place.path("tensors")).expect("a folder");
    std::fs::write(place.path("tensors/model.safetensors"), b"x").expect("written");
    std::fs::create_dir(place.path("empty")).expect("a folder");
    std::fs::write(place.path("notes.txt"), b"hello").expect("written");
    let absent = Digest::of(b"absent");
    for (text, words) in [
        ("FROM no-such-model".to_string(), "no model is called `no-such-model`"),
        ("FROM ./model.gguf\nFROM ./other.gguf".to_string(), "two models are named after FROM: `./model.gguf` and"),
        ("FROM ./mmproj.gguf".to_string(), "only projectors"),
        ("FROM ./part.gguf".to_string(), "split"),
        ("FROM ./tensors".to_string(), "does not convert"),
        ("FROM ./tensors/model.safetensors".to_string(), "does not convert"),
        ("FROM ./empty".to_string(), "no GGUF file in"),
        ("FROM ./notes.txt".to_string(), "is no GGUF file"),
        (format!("FROM {absent}"), "no blob sha256:"),
        ("FROM ./model.gguf\nADAPTER ./other.gguf".to_string(), "is a model, an adapter is expected"),
        ("FROM ./model.gguf\nADAPTER ./missing.gguf".to_string(), "missing.gguf"),
        ("FROM ./model.gguf\nDRAFT ./mmproj.gguf".to_string(), "is a projector, a model is expected"),
        ("FROM ./model.gguf\nREQUIRES soon".to_string(), "not a version"),
    ] {
        let error = place.create("wrong", &text).expect_err(&text).to_string();
        assert!(error.contains(words), "{text}: {error}");
        assert!(place.store.manifest(&"wrong".parse().expect("a name")).expect("readable").is_none(), "{text}");
    }
}

#[test]
fn tells_when_the_template_is_missing_or_of_another_family() {
    let place = Place::new();
    place.model("model.gguf");
    place.gguf("bare.gguf", |metadata| {
        metadata.set("general.architecture", "llama");
        metadata.set("llama.block_count", 2u32);
        metadata.set("tokenizer.ggml.tokens", StringArray::from_iter(["a", "<|start_header_id|>", "<|eot_id|>"]));
    });
    for (text, words) in [
        ("FROM ./model.gguf", vec![]),
        ("FROM ./model.gguf\nTEMPLATE <|im_start|>{{ .Prompt }}", vec![]),
        ("FROM ./model.gguf\nTEMPLATE {{ .Prompt }}", vec!["ChatML", "template of the file counts"]),
        ("FROM ./bare.gguf", vec!["has no template", "<|start_header_id|>"]),
        (
            "FROM ./bare.gguf\nTEMPLATE <|im_start|>{{ .Prompt }}",
            vec!["does not write `<|start_header_id|>`", "Llama 3"],
        ),
        ("FROM ./bare.gguf\nRENDERER qwen3", vec![]),
        ("FROM ./model.gguf\nPARAMETER mirostat 2", vec!["`mirostat` has no effect"]),
    ] {
        let created = place.create("linted", text).expect(text);
        assert_eq!(created.warnings.is_empty(), words.is_empty(), "{text}: {:?}", created.warnings);
        for word in words {
            assert!(created.warnings.iter().any(|warning| warning.contains(word)), "{text}: {:?}", created.warnings);
        }
    }
}
