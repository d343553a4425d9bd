//! Model files and what is in them, as a client brings them: a blob, then a model made of it, then a question to that
//! model. Lines 75 to 131.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lair_gguf::{GgufFile, GgufWriter, Metadata, Value as Meta};
use lair_store::Digest;
use serde_json::json;

use crate::hostile_files;
use crate::server::{Answer, Server};
use crate::world::{World, ask, chat};
use crate::{Attack, Case, Try, split_models, template_limits};

/// The lines of the 34 kinds.
const FIRST_KIND: u16 = 75;
const LAST_KIND: u16 = 108;

/// The model that is bent.
fn stories() -> PathBuf {
    lair_testkit::shared_data("models/stories260K-f32.gguf").expect("there, or no server had started")
}

/// The tiny model with other metadata, and with other weights where `patch` changes those of a tensor.
fn remade(edit: impl FnOnce(&mut Metadata), patch: impl Fn(&str, &mut [u8])) -> Vec<u8> {
    let model = GgufFile::open(stories()).expect("a sound file");
    let mut metadata = model.metadata().clone();
    edit(&mut metadata);
    let mut writer = GgufWriter::new(metadata).expect("its keys");
    for tensor in model.tensors() {
        writer.add_tensor(&tensor.name, &tensor.shape, tensor.tensor_type).expect("as it was");
    }
    let mut bytes = Vec::new();
    let write = writer.write(&mut bytes, |info, out| {
        let mut data = model.tensor_data(model.tensor(&info.name).expect("there")).to_vec();
        patch(&info.name, &mut data);
        out.write_all(&data)
    });
    write.expect("written");
    bytes
}

/// Brings a file and makes a model of it.
fn create(server: &Server, bytes: &[u8]) -> Answer {
    let digest = Digest::of(bytes).to_string();
    let brought = server.ask("POST", &format!("/api/blobs/{digest}"), &[], bytes);
    assert_eq!(brought.status, 201, "{}", brought.body);
    server.post("/api/create", &json!({ "model": "hostile", "files": { "x.gguf": digest }, "stream": false }))
}

/// Makes a model of a file and asks it. Whether that was answered; else the words of the refusal.
fn try_file(server: &Server, bytes: &[u8]) -> Result<(), String> {
    let created = create(server, bytes);
    if created.status != 200 {
        assert!((400..500).contains(&created.status), "{}: {}", created.status, created.body);
        return Err(created.body);
    }
    let answer = server.post("/v1/completions", &ask(json!({ "model": "hostile" })));
    let deleted = server.ask(
        "DELETE",
        "/api/delete",
        &[("Content-Type", "application/json")],
        json!({ "model": "hostile" }).to_string().as_bytes(),
    );
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    match answer.status {
        200 => Ok(()),
        // A fault of the file is told as one: 500 would say that this program broke.
        400..500 | 507 => Err(answer.body),
        other => panic!("{other}: {}", answer.body),
    }
}

#[track_caller]
fn file_refused(world: &World, what: &str, bytes: &[u8]) -> String {
    try_file(&world.open, bytes).expect_err(&format!("{what} was answered"))
}

/// That no model can be made of this and asked.
pub fn assert_refused(world: &World, bytes: &[u8]) {
    file_refused(world, "it", bytes);
}

/// The files of llama.cpp's own tests, and others after them, by the list of the crate that reads them. Those that are sound
/// as files have no model in them.
pub fn kinds() -> Vec<Attack> {
    let (mut attacks, mut line) = (Vec::new(), FIRST_KIND - 1);
    for (index, kinds) in hostile_files::KINDS.iter().enumerate() {
        kinds(&mut |name, file, _| {
            let is_own = name.contains(' ') || name == "KV_BAD_VALUE_SIZE";
            line += u16::from(!is_own && index < 4);
            // The last list is of what is wrong with alignments, offsets and lengths of rows.
            let line = if index < 4 { line } else { 115 };
            attacks.push(Attack { line, name: name.to_owned(), tried: Try::File(file.bytes.as_slice().into()) });
        });
    }
    assert_eq!(line, LAST_KIND, "there are 34 kinds");
    attacks
}

fn cut(world: &World) {
    let whole = remade(|_| (), |_, _| ());
    for length in [0, 1, 3, 4, 5, 23, 24, 25, 100, 1000, 5000, whole.len() / 2, whole.len() - 1] {
        file_refused(world, &format!("{length} bytes"), &whole[..length]);
    }
    try_file(&world.open, &whole).expect("whole it is fine");
}

/// A file of a kilobyte that says it has 2^30 tokens.
fn claims(world: &World) {
    for (claimed, kind) in [(1_u64 << 30, 8_u32), (1 << 62, 8), (u64::MAX, 4), (1 << 40, 9)] {
        let mut bytes = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        let key = b"tokenizer.ggml.tokens";
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key);
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(claimed.to_le_bytes());
        bytes.resize(1024, 0);
        file_refused(world, &format!("{claimed} of type {kind}"), &bytes);
    }
}

fn declared(world: &World, key: &str, value: impl Into<Meta>) {
    let value = value.into();
    let what = format!("{key} = {value:?}");
    file_refused(world, &what, &remade(|metadata| metadata.set(key, value), |_, _| ()));
}

fn hyper_parameters(world: &World) {
    for count in [0, 513, 6, u32::MAX] {
        declared(world, "llama.block_count", count);
    }
    for count in [0, 7, u32::MAX] {
        declared(world, "llama.attention.head_count", count);
    }
    for count in [0, 3, 5, u32::MAX] {
        declared(world, "llama.attention.head_count_kv", count);
    }
    for (key, values) in [
        ("llama.embedding_length", [0, 63, u32::MAX]),
        ("llama.feed_forward_length", [0, 1, u32::MAX]),
        ("llama.rope.dimension_count", [3, 9, u32::MAX]),
        ("llama.context_length", [0, 0, 0]),
    ] {
        values.into_iter().for_each(|value| declared(world, key, value));
    }
    for epsilon in [f32::NAN, -1.0, f32::INFINITY] {
        declared(world, "llama.attention.layer_norm_rms_epsilon", epsilon);
    }
    for theta in [f32::NAN, 0.0, -1.0, f32::INFINITY] {
        declared(world, "llama.rope.freq_base", theta);
    }
    declared(world, "general.architecture", "nobody");
    declared(world, "general.architecture", "../../llama");
    let experts = remade(
        |metadata| {
            metadata.set("llama.expert_count", 2_u32);
            metadata.set("llama.expert_used_count", 5_u32);
        },
        |_, _| (),
    );
    file_refused(world, "more experts used than there are", &experts);
    let key = "llama.embedding_length";
    file_refused(world, "no width", &remade(|metadata| drop(metadata.remove(key)), |_, _| ()));
    file_refused(world, "a width that is text", &remade(|metadata| metadata.set(key, "64"), |_, _| ()));
}

/// The tiny model with other tokens.
fn with_tokens(edit: impl Fn(usize, &str) -> String, count: usize) -> Vec<u8> {
    let change = |metadata: &mut Metadata| {
        let value = metadata.get("tokenizer.ggml.tokens").expect("it has a vocabulary").clone();
        let tokens = value.as_array().and_then(|tokens| tokens.as_strings()).expect("texts");
        let tokens: Vec<String> = tokens.iter().enumerate().map(|(id, text)| edit(id, text)).take(count).collect();
        metadata.set("tokenizer.ggml.tokens", Meta::Array(lair_gguf::Array::String(tokens.iter().collect())));
    };
    remade(change, |_, _| ())
}

fn vocabularies(world: &World) {
    let same = |_: usize, text: &str| text.to_owned();
    file_refused(world, "fewer pieces than rows", &with_tokens(same, 500));
    let replaced = |place: usize, by: &str| {
        with_tokens(|id, text| if id == place { by.to_owned() } else { text.to_owned() }, usize::MAX)
    };
    // 3 is the first of the tokens for bytes.
    for odd in ["<0x-1>", "<0xZZ>", "<0x>", "<0x1FF>", ""] {
        let bytes = replaced(3, odd);
        if try_file(&world.open, &bytes).is_ok() {
            // Another spelling is a piece of text; no byte may be made of it.
            let answer = world.open.post("/tokenize", &json!({ "model": "tiny", "content": "\u{0}" }));
            assert_eq!(answer.status, 200);
        }
    }
    file_refused(world, "a piece of a megabyte", &replaced(400, &"x".repeat(1 << 20)));
    for key in ["bos", "eos", "unknown", "padding"] {
        declared(world, &format!("tokenizer.ggml.{key}_token_id"), 99_999_u32);
    }
    declared(world, "tokenizer.ggml.model", "nobody");
    declared(world, "tokenizer.ggml.model", 7_u32);
}

/// Weights that are no numbers end the request with an error, and nothing else.
fn weights(world: &World) {
    for (name, pattern) in [("not a number", f32::NAN), ("infinite", f32::INFINITY), ("nearly infinite", f32::MAX)] {
        let fill = |data: &mut [u8]| data.chunks_exact_mut(4).for_each(|x| x.copy_from_slice(&pattern.to_le_bytes()));
        let bytes = remade(
            |_| (),
            |tensor, data| {
                if tensor.contains("ffn_down") {
                    fill(data)
                }
            },
        );
        let created = create(&world.open, &bytes);
        if created.status == 200 {
            for extra in [json!({}), json!({ "temperature": 1, "top_p": 0.5 }), json!({ "stream": true })] {
                let body = super::server::joined(&ask(json!({ "model": "hostile" })), &extra);
                let answer = world.open.post("/v1/completions", &body);
                assert!(answer.status == 500 || answer.body.contains("error"), "{name}: {}", answer.body);
            }
        }
    }
    let zeros = remade(|_| (), |_, data| data.fill(0));
    assert!(try_file(&world.open, &zeros).is_ok(), "all logits equal is no fault");
}

/// A template in the file: making the model, or asking it, is refused; nothing else happens.
fn template_refused(world: &World, source: &str) {
    let bytes = remade(|metadata| metadata.set("tokenizer.chat_template", source), |_, _| ());
    let created = create(&world.open, &bytes);
    if created.status == 200 {
        let answer = world.open.post("/v1/chat/completions", &chat(json!({ "model": "hostile" })));
        assert_eq!(answer.status, 400, "{}: {}", &source[..source.len().min(60)], answer.body);
        // The model itself is sound.
        assert_eq!(world.open.post("/v1/completions", &ask(json!({ "model": "hostile" }))).status, 200);
    }
}

fn templates(world: &World) {
    let nested = |open: &str, middle: &str, close: &str, depth| open.repeat(depth) + middle + &close.repeat(depth);
    for source in [
        format!("{{{{ {} }}}}", nested("(", "1", ")", 6_000)),
        nested("{% if 1 %}", "", "{% endif %}", 5_500),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% for x in range(10**9) %}{{ x }}{% endfor %}".to_owned(),
        "{{ 'a' * 10**9 }}".to_owned(),
        "x".repeat(10 << 20),
        "{% set n = namespace(s='ab') %}{% for i in range(100) %}{% set n.s = n.s ~ n.s %}{% endfor %}".to_owned(),
        format!("{{{{ 'x'{} }}}}", "|upper".repeat(100_000)),
    ] {
        template_refused(world, &source);
    }
}

fn go_templates(world: &World) {
    for source in [
        "{{ (".to_owned() + &"(".repeat(6_000),
        "{{ if 1 }}".repeat(5_500) + &"{{ end }}".repeat(5_500),
        "{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}".to_owned(),
        "{{ printf \"%999999999d\" 1 }}".to_owned(),
        "{{ range .Messages }}".repeat(200) + "x" + &"{{ end }}".repeat(200),
        "{{ .Messages.X.Y.Z }}{{ call .X }}".to_owned(),
    ] {
        let create = json!({ "model": "hostile", "from": "tiny", "template": source, "stream": false });
        if world.open.post("/api/create", &create).status == 200 {
            let answer = world.open.post("/v1/chat/completions", &chat(json!({ "model": "hostile" })));
            assert!(matches!(answer.status, 200 | 400), "{}", answer.body);
        }
    }
}

fn host_objects(world: &World) {
    for source in [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self._TemplateReference__context.environment }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ ''.format_map }}{{ '{0.__class__}'.format(1) }}",
    ] {
        let bytes = remade(|metadata| metadata.set("tokenizer.chat_template", source), |_, _| ());
        if create(&world.open, &bytes).status == 200 {
            let messages = json!([{ "role": "user", "content": "hi" }]);
            let answer = world.open.post("/apply-template", &json!({ "model": "hostile", "messages": messages }));
            assert!(matches!(answer.status, 200 | 400), "{source}: {}", answer.body);
            let told = answer.json()["prompt"].as_str().unwrap_or_default().to_owned();
            for trace in ["root:", "uid=", "<class", "module", "0x"] {
                assert!(!told.contains(trace), "{source}: {told}");
            }
        }
    }
}

/// `lair import` of this, which must fail; nothing of it waits for ever.
fn import_refused(path: &Path) {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lair"));
    command
        .env("LAIR_HOME", home.path())
        .env("HOME", home.path())
        .env_remove("LAIR_MODELS")
        .env_remove("OLLAMA_MODELS");
    command.args(["import".as_ref(), path.as_os_str(), "odd".as_ref()]).stdin(Stdio::null());
    let output = command.output().expect("it starts");
    assert!(!output.status.success(), "{}", path.display());
    let code = output.status.code();
    assert!(code.is_some_and(|code| code < 100), "{}: {code:?} {output:?}", path.display());
}

fn odd_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    assert!(Command::new("mkfifo").arg(at("fifo.gguf")).status().expect("there is `mkfifo`").success());
    std::os::unix::fs::symlink("/etc/passwd", at("link.gguf")).expect("linked");
    std::os::unix::fs::symlink(at("circle.gguf"), at("circle.gguf")).expect("linked");
    fs::write(at("empty.gguf"), b"").expect("written");
    for path in ["fifo.gguf", "link.gguf", "circle.gguf", "empty.gguf", "missing.gguf"].map(at) {
        import_refused(&path);
    }
    for path in ["/dev/zero", "/dev/null", "/proc/self/mem", "/"] {
        import_refused(Path::new(path));
    }
    import_refused(folder.path());
}

/// The file of a model that is loaded loses its end. That request may fail, others do not.
fn shrinks(world: &World) {
    let server = &world.open;
    // Brought over the wire, so that the file is the store's alone: an imported one is linked to where it came from.
    let bytes = remade(|metadata| metadata.set("general.name", "it shrinks"), |_, _| ());
    let created = create(server, &bytes);
    assert_eq!(created.status, 200, "{}", created.body);
    let question = |prompt: &str| ask(json!({ "model": "hostile", "prompt": prompt }));
    assert_eq!(server.post("/v1/completions", &question("Once")).status, 200);
    let path = server.home().join("models/blobs").join(Digest::of(&bytes).file_name());
    let facts = fs::metadata(&path).expect("it is in the store");
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&facts), 1, "another name would lose its bytes too");
    let mut rights = facts.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o644);
    fs::set_permissions(&path, rights).expect("ours");
    fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(100_000)).expect("cut");
    for prompt in ["Another", "And one more", "The last"] {
        let answer = server.post("/v1/completions", &question(prompt));
        assert!(answer.status == 200 || !answer.json()["error"].is_null(), "{}", answer.body);
    }
    world.assert_alive();
}

fn other_formats(world: &World) {
    let header = |length: u64, json: &str| [&length.to_le_bytes(), json.as_bytes()].concat();
    let tensors = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    for (what, bytes) in [
        ("a header of 2^63 bytes", header(1 << 63, "{}")),
        ("overlapping tensors", [header(tensors.len() as u64, tensors), vec![0; 12]].concat()),
        ("bytes behind the last tensor", [header(2, "{}"), vec![0; 100]].concat()),
        ("a zip", b"PK\x03\x04\x14\0\0\0\x08\0".to_vec()),
        ("a pickle", b"\x80\x02ccopy_reg\n_reconstructor\n".to_vec()),
        ("a program", b"\x7fELF\x02\x01\x01\0".to_vec()),
        ("a tar", {
            let mut tar = vec![0; 1024];
            tar[..9].copy_from_slice(b"../../etc");
            tar[257..262].copy_from_slice(b"ustar");
            tar
        }),
    ] {
        file_refused(world, what, &bytes);
    }
}

fn adapters(world: &World) {
    let digest = Digest::of(b"GGUF").to_string();
    assert_eq!(world.open.ask("POST", &format!("/api/blobs/{digest}"), &[], b"GGUF").status, 201);
    let create = json!({ "model": "hostile", "from": "tiny", "adapters": { "a.gguf": digest }, "stream": false });
    let answer = world.open.post("/api/create", &create);
    if answer.status == 200 {
        let answer = world.open.post("/v1/completions", &ask(json!({ "model": "hostile" })));
        assert!((400..500).contains(&answer.status), "{}", answer.body);
        return;
    }
    assert!((400..500).contains(&answer.status), "{}", answer.body);
}

fn media(world: &World) {
    let picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA//8AAP//CAYAAAA=";
    let parts = json!([{ "type": "image_url", "image_url": { "url": picture } }]);
    world.refused(400, "/v1/chat/completions", &chat(json!({ "messages": [{ "role": "user", "content": parts }] })));
    let parts = json!([{ "type": "input_audio", "input_audio": { "data": "UklGRv////9XQVZF", "format": "wav" } }]);
    world.refused(400, "/v1/chat/completions", &chat(json!({ "messages": [{ "role": "user", "content": parts }] })));
    world.refused(400, "/api/generate", &json!({ "model": "tiny", "prompt": "x", "images": ["iVBORw0KGgo="] }));
}

#[rustfmt::skip]
pub const ATTACKS: &[Case] = &[
    (109, "a file of four bytes", Try::On(|w| drop(file_refused(w, "GGUF", b"GGUF")))),
    (109, "files of one byte", Try::Here(hostile_files::files_of_one_byte_are_refused)),
    (110, "36 bytes with a string of 2^60", Try::On(|w| drop(file_refused(w, "huge", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0")))),
    (111, "a model cut anywhere", Try::On(cut)),
    (111, "a header cut everywhere", Try::Here(hostile_files::every_truncation_is_refused_with_offset_and_field)),
    (112, "lists in lists in a file", Try::Here(hostile_files::arrays_nest_a_little_and_no_more)),
    (113, "a small file with 2^30 tokens", Try::On(claims)),
    (114, "alignments of 0 and 2^31", Try::By("KV_BAD_ALIGN of line 79 and those after it")),
    (116, "a tensor in the header", Try::By("TENSORS_BAD_OFFSET of line 97: offsets count from where the header ends")),
    (117, "rows of 31", Try::By("\"a row of 31 in Q4_0\" of line 115")),
    (118, "types that were removed", Try::Here(hostile_files::types_of_other_programs_are_named)),
    (119, "declared numbers that cannot be", Try::On(hyper_parameters)),
    (120, "vocabularies that cannot be", Try::On(vocabularies)),
    (121, "weights that are no numbers", Try::On(weights)),
    (122, "templates without an end", Try::On(templates)),
    (122, "templates of Go without an end", Try::On(go_templates)),
    (122, "templates that nest too deep", Try::Here(template_limits::refuses_sources_that_nest_too_deep)),
    (122, "templates that take time and memory", Try::Here(template_limits::ends_attacks_on_time_and_memory)),
    (122, "a template of more than a mebibyte", Try::Here(template_limits::refuses_a_source_over_a_mebibyte)),
    (122, "templates that are damaged", Try::Here(template_limits::refuses_damaged_sources)),
    (123, "templates that reach for the host", Try::On(host_objects)),
    (123, "variables that the engine sets", Try::Here(template_limits::refuses_variables_that_the_engine_sets)),
    (124, "a part that is missing", Try::Here(split_models::names_a_missing_shard)),
    (124, "parts that do not belong together", Try::Here(split_models::refuses_shards_that_do_not_belong_together)),
    (124, "parts that contradict each other", Try::Here(split_models::refuses_shards_that_contradict_each_other)),
    (125, "pipes, folders, devices and links", Try::Here(odd_files)),
    (126, "the file of a loaded model shrinks", Try::On(shrinks)),
    (127, "an adapter that is none", Try::On(adapters)),
    (128, "files of other formats, archives and programs", Try::On(other_formats)),
    (129, "archives that lead outside", Try::Nothing("no route takes an archive; the wheels that `lair pull` opens give one member by its recorded name and digest, which `lair-store/tests/package_client.rs` holds")),
    (130, "pictures and sound", Try::On(media)),
    (131, "a kept page of another model, flipped, or longer", Try::By("`lair/src/prompt_cache/tests.rs`, and the target `kept_page` of `fuzz/README.md`")),
];
