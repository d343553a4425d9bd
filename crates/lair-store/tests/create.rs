//! Models made of Modelfiles: what they share, what they override, which bytes are written, and that printing a stored model
//! as a Modelfile makes the same manifest again.

use std::path::{Path, PathBuf};

use lair_gguf::{GgufFile, GgufWriter, Metadata, SplitLimit, StringArray, TensorInfo, TensorType};
use lair_store::modelfile::{
    CreateError, CreateRequest, Created, ModelSettings, Modelfile, SaveRequest, create, save, stored_modelfile,
};
use lair_store::oci::Layer;
use lair_store::{Digest, ModelName, Note, Reference, Resolved, Settings, Store};

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

    /// A model of three tensors, each in a file of its own.
    fn split(&self, prefix: &str) -> Vec<PathBuf> {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "llama");
        metadata.set("llama.block_count", 2u32);
        metadata.set("tokenizer.chat_template", "{{ messages }}");
        let mut writer = GgufWriter::new(metadata).expect("its keys");
        for name in ["a.weight", "b.weight", "c.weight"] {
            writer.add_tensor(name, &[32], TensorType::F32).expect("a tensor");
        }
        let source =
            |tensor: &TensorInfo, out: &mut dyn std::io::Write| out.write_all(&vec![7; tensor.size_bytes as usize]);
        writer.write_shards(self.path(prefix), SplitLimit::Tensors(1), source).expect("written")
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
fn a_split_model_keeps_all_its_files_in_their_order() {
    let place = Place::new();
    let shards = place.split("big");
    let created = place.create("big", "FROM ./big-00001-of-00003.gguf\nSYSTEM Be brief.").expect("made");
    assert_eq!(types(&created), ["model", "model", "model", "system"]);
    let digests: Vec<Digest> = shards.iter().map(|path| Digest::of(&std::fs::read(path).expect("a shard"))).collect();
    assert_eq!(created.manifest.layers.iter().map(|layer| layer.digest).collect::<Vec<_>>()[..3], digests);
    assert!(place.text(&created.manifest.config).contains(r#""model_type":"96""#), "parameters of all files");
    place.is_made_again("big", &created);

    // Whichever part is named, in whatever order, or as the folder they lie in.
    let by_digest = format!("FROM {}\nFROM {}\nFROM {}\nSYSTEM Be brief.", digests[2], digests[0], digests[1]);
    for text in ["FROM ./big-00003-of-00003.gguf\nSYSTEM Be brief.", "FROM .\nSYSTEM Be brief.", &by_digest] {
        assert_eq!(place.create("other", text).expect(text).id, created.id, "{text}");
    }
    assert_eq!(place.create("of-model", "FROM big").expect("made").id, created.id);

    let Resolved::Model(model) = place.store.resolve(&Reference::parse("big").expect("a name")).expect("here") else {
        panic!("it is a model")
    };
    let opened = GgufFile::open(place.store.weights_path(&model).expect("a view")).expect("opens");
    assert_eq!((opened.tensors().len(), opened.paths().len()), (3, 3));

    let model = place.model("model.gguf");
    for (text, words) in [
        (format!("FROM {}\nFROM {}", digests[0], digests[2]), "only 2 are named after FROM"),
        (format!("FROM ./big-00001-of-00003.gguf\nFROM {}", model.display()), "two models are named after FROM"),
        ("FROM big\nFROM ./big-00001-of-00003.gguf".to_string(), "two models are named after FROM: `big` and"),
    ] {
        let error = place.create("wrong", &text).expect_err(&text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    std::fs::remove_file(&shards[1]).expect("removed");
    let error = place.create("wrong", "FROM ./big-00001-of-00003.gguf").expect_err("a part is missing").to_string();
    assert!(error.contains("big-00002-of-00003.gguf"), "{error}");
}

#[test]
fn safetensors_are_looked_at_before_they_are_refused() {
    let place = Place::new();
    let folder = place.path("hf");
    std::fs::create_dir(&folder).expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    let refusal = |place: &Place| {
        let error = place.create("wrong", "FROM ./hf").expect_err("not converted");
        assert!(error.hint().is_some_and(|hint| hint.contains("lair convert")), "{error}");
        error.to_string()
    };
    write("model.safetensors", "x");
    let bare = refusal(&place);
    assert!(
        bare.contains("holds safetensors, which") && bare.contains("it lacks a readable `config.json`, a tokenizer"),
        "{bare}"
    );
    write("config.json", r#"{"hidden_size": 8}"#);
    assert!(refusal(&place).contains("it lacks `architectures` in `config.json`"));
    write("config.json", r#"{"architectures": ["LlamaForCausalLM"]}"#);
    write("tokenizer.json", "{}");
    let index = r#"{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors", "c": "../../etc/passwd"}}"#;
    write("model.safetensors.index.json", index);
    let lacking = refusal(&place);
    assert!(
        lacking.contains("of LlamaForCausalLM") && lacking.ends_with("it lacks `model-2.safetensors`"),
        "{lacking}"
    );
    write("model-2.safetensors", "x");
    assert!(refusal(&place).ends_with("does not convert"));

    let adapter = place.path("lora");
    std::fs::create_dir(&adapter).expect("a folder");
    std::fs::write(adapter.join("adapter_config.json"), "{}").expect("written");
    place.model("model.gguf");
    let error = place.create("wrong", "FROM ./model.gguf\nADAPTER ./lora").expect_err("not converted").to_string();
    assert!(error.contains("safetensors of a LoRA adapter"), "{error}");
}

#[test]
fn what_is_kept_and_not_yet_used_is_told() {
    let place = Place::new();
    place.model("model.gguf");
    place.gguf("lora.gguf", |metadata| metadata.set("general.type", "adapter"));
    place.gguf("mmproj.gguf", |metadata| metadata.set("general.architecture", "clip"));
    let created = place.create("whole", "FROM ./model.gguf\nFROM ./mmproj.gguf\nADAPTER ./lora.gguf").expect("made");
    assert!(created.warnings.iter().any(|warning| warning.contains("projector")), "{:?}", created.warnings);
    assert!(
        !created.warnings.iter().any(|warning| warning.contains("ADAPTER")),
        "adapters are used: {:?}",
        created.warnings
    );
}

#[test]
fn a_saved_model_has_exactly_its_settings() {
    let place = Place::new();
    place.model("model.gguf");
    let base = place
        .create(
            "base",
            "FROM ./model.gguf\nSYSTEM Be long.\nPARAMETER stop a\nMESSAGE user hi\nLICENSE MIT\nRENDERER qwen3-coder\n\
             TEMPLATE {{ .Prompt }}<|im_start|>",
        )
        .expect("made");
    let mut settings = place.settings(&base);
    settings.messages.clear();
    settings.system = Some("Be brief.".to_string());
    let name: ModelName = "saved".parse().expect("a name");
    let request = SaveRequest { name: &name, from: "base", settings: &settings, note: Note::from_source("a chat") };
    let saved = save(&place.store, request).expect("saved");
    assert_eq!(place.settings(&saved), settings);
    assert_eq!(types(&saved), ["model", "template", "system", "license", "params"]);
    assert_eq!(place.store.note(&name).expect("readable").expect("a note").source, "a chat");
    // As if a Modelfile had said it.
    let same = "FROM ./model.gguf\nSYSTEM Be brief.\nPARAMETER stop a\nLICENSE MIT\nRENDERER qwen3-coder\n\
                TEMPLATE {{ .Prompt }}<|im_start|>";
    assert_eq!(place.create("same", same).expect("made").id, saved.id);
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
        ("FROM ./model.gguf\nPARAMETER tfs_z 2", vec!["`tfs_z` has no effect"]),
        ("FROM ./model.gguf\nPARAMETER stop [\"a\", \"b\"]", vec!["is one text with its brackets"]),
    ] {
        let created = place.create("linted", text).expect(text);
        assert_eq!(created.warnings.is_empty(), words.is_empty(), "{text}: {:?}", created.warnings);
        for word in words {
            assert!(created.warnings.iter().any(|warning| warning.contains(word)), "{text}: {:?}", created.warnings);
        }
    }
}
