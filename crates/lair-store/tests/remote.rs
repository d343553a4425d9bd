//! Models looked at where they lie: what is read is right, little is fetched, and what servers do wrong is said.

mod fakes;

use std::time::Duration;

use fakes::http::{Body, Call, Http, Reply};
use lair_gguf::{GgufFile, GgufWriter, SplitLimit, TensorType, Value};
use lair_store::{Digest, HubToken, ProxySetting, Reference, RemoteError, RemoteModel, Settings, SourceError};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn settings() -> Settings {
    let mut settings = Settings::at("nowhere");
    settings.proxy = ProxySetting::Direct;
    settings.stall_timeout = Duration::from_secs(20);
    settings.transfer.tries_max = 2;
    settings.transfer.first_wait = Duration::ZERO;
    settings
}

fn find(link: &str) -> Result<RemoteModel, RemoteError> {
    RemoteModel::find(&Reference::parse(link).expect("a reference"), &settings())
}

/// Bytes that differ everywhere.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A model with a vocabulary of this many pieces and two tensors of a MiB each.
fn writer(pieces: usize) -> GgufWriter {
    let mut metadata = lair_gguf::Metadata::default();
    metadata.set("general.architecture", Value::from("llama"));
    let words: Vec<String> = (0..pieces).map(|index| format!("piece number {index:08} of the vocabulary")).collect();
    metadata.set("tokenizer.ggml.tokens", words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut writer = GgufWriter::new(metadata).expect("sound keys");
    for name in ["a.weight", "b.weight"] {
        writer.add_tensor(name, &[1024, 256], TensorType::F32).expect("a sound tensor");
    }
    writer
}

fn model(pieces: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.gguf");
    let weights = noise(1 << 20);
    writer(pieces).write_file(&path, |_, out| out.write_all(&weights)).expect("writes");
    std::fs::read(path).expect("reads")
}

/// What the server sent of bodies, together.
fn sent(http: &Http, file_length: usize) -> usize {
    let length = |call: &Call| call.range().map_or(file_length, |(first, last)| last.min(file_length - 1) + 1 - first);
    http.calls().iter().map(length).sum()
}

#[test]
fn a_header_with_a_large_vocabulary_is_read_in_steps_and_the_weights_are_not() {
    let file = model(150_000);
    let header_length = file.len() - (2 << 20);
    assert!(header_length > 6 << 20, "{header_length} bytes are no large header");
    let served = file.clone();
    let http = Http::start(move |call| Reply::file(call, &served));
    let remote = find(&format!("{}/x.gguf", http.endpoint)).expect("there");
    assert_eq!((remote.files().len(), remote.files()[0].size_bytes), (1, file.len() as u64));
    http.forget();
    let opened = remote.open("x.gguf").expect("opens");
    let header = opened.gguf_header().expect("a header");
    assert_eq!(header, lair_gguf::Header::parse(&file, file.len() as u64).expect("a header"));
    let sent = sent(&http, file.len());
    assert!(sent < 10_000_000 && sent < header_length + (2 << 20) + (128 << 10), "{sent} bytes for {header_length}");
    assert_eq!(opened.received_bytes(), sent as u64);
    assert!(http.calls().len() <= 8, "{} requests", http.calls().len());
}

#[test]
fn any_range_is_that_of_the_file_and_blocks_are_asked_for_once() {
    let file = noise(1_500_001);
    let served = file.clone();
    let http = Http::start(move |call| Reply::file(call, &served));
    let remote = find(&format!("{}/weights", http.endpoint)).expect("there").open("weights").expect("opens");
    let ends = [0, 1, 131_071, 131_072, 131_073, 262_144, 700_000, 1_500_000, 1_500_001, 9_999_999];
    for start in ends {
        for end in ends {
            let expected = file.get(start.min(file.len())..end.min(file.len())).unwrap_or_default();
            assert!(remote.read_at(start as u64..end as u64).expect("reads") == expected, "{start}..{end}");
        }
    }
    // The first block came twice: once to learn the length, once with the file.
    assert!(sent(&http, file.len()) <= file.len() + 131_072, "{} bytes", sent(&http, file.len()));
    assert!(remote.received_bytes() <= file.len() as u64);
}

#[test]
fn long_reads_are_whole_and_pass_the_cache_by() {
    let file = noise(9 << 20);
    let served = file.clone();
    let http = Http::start(move |call| Reply::file(call, &served));
    let remote = find(&format!("{}/weights", http.endpoint)).expect("there").open("weights").expect("opens");
    assert!(remote.read_at(5..(9 << 20) - 5).expect("reads") == file[5..(9 << 20) - 5]);
    // More blocks than the cache holds, and the first again.
    for start in (0..9 << 20).step_by(128 << 10) {
        assert!(remote.read_at(start as u64..start as u64 + 10).expect("reads") == file[start..start + 10]);
    }
    assert!(remote.read_at(0..10).expect("reads") == file[..10]);
}

#[test]
fn a_server_without_ranges_is_named_unless_the_file_is_small() {
    let small = Http::start(|_| Reply::bytes("{}"));
    let remote = find(&format!("{}/config.json", small.endpoint)).expect("there");
    assert_eq!(remote.open("config.json").expect("opens").all().expect("reads"), b"{}");
    for reply in [Reply::bytes(noise(300_000)), Reply::bytes("").body(Body::Endless(noise(1000)))] {
        let http = Http::start(move |_| reply.clone());
        let error = find(&format!("{}/x.gguf", http.endpoint)).err().expect("refused");
        let RemoteError::Source { error: source, .. } = &error else { panic!("{error}") };
        assert!(matches!(**source, SourceError::NoRanges { .. }), "{error}");
        assert!(error.to_string().contains("no parts of files") && error.hint().is_some(), "{error}");
        assert_eq!(http.calls().len(), 1, "it was asked again");
    }
}

#[test]
fn answers_that_are_not_what_was_asked_for_are_refused() {
    let range = |text: &str| Reply { status: 206, ..Reply::bytes(noise(131_072)) }.with("Content-Range", text);
    let cases = [
        (range("bytes 5-131076/900000"), "another range"),
        (range("bytes 0-131071/*"), "another range"),
        (range("bytes 0-5/900000"), "another range"),
        (range("bytes 0-131071/900000").body(Body::Announced(131_072, vec![1; 7])), "after 7 of 131072 bytes"),
        (range("bytes 0-131071/900000").with("Content-Encoding", "gzip"), "packed as `gzip`"),
        (Reply::status(416), "status 416"),
        (Reply::status(404), "status 404"),
    ];
    for (reply, words) in cases {
        let http = Http::start(move |_| reply.clone());
        let error = find(&format!("{}/x.gguf", http.endpoint)).err().expect(words).to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
    let empty = Http::start(|_| Reply::status(416).with("Content-Range", "bytes */0"));
    let remote = find(&format!("{}/x.gguf", empty.endpoint)).expect("an empty file");
    let error = remote.open("x.gguf").expect("opens").gguf_header().expect_err("no header");
    assert!(matches!(error, RemoteError::Gguf { .. }), "{error}");
}

#[test]
fn a_file_that_changes_its_length_meanwhile_is_refused_and_a_passing_failure_is_not() {
    let (first, second) = (noise(900_000), noise(800_000));
    let http = Http::start(move |call| match call.range() {
        Some((0, _)) => Reply::file(call, &first),
        _ => Reply::file(call, &second),
    });
    let remote = find(&format!("{}/x", http.endpoint)).expect("there").open("x").expect("opens");
    let error = remote.read_at(400_000..400_010).expect_err("another length");
    assert!(matches!(error, SourceError::WrongSize { found: 800_000, expected: 900_000 }), "{error}");

    let file = noise(500_000);
    let served = file.clone();
    let count = std::sync::atomic::AtomicU32::new(0);
    let flaky = Http::start(move |call| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 {
        0 => Reply::status(503),
        _ => Reply::file(call, &served),
    });
    let remote = find(&format!("{}/x", flaky.endpoint)).expect("there").open("x").expect("opens");
    assert!(remote.read_at(0..500_000).expect("reads") == file);
}

#[test]
fn a_safetensors_header_is_as_long_as_it_says_and_no_longer_than_the_file() {
    let json = br#"{"a":{"dtype":"F32","shape":[100000],"data_offsets":[0,400000]}}"#;
    let file = |length: u64| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(json);
        bytes.resize(bytes.len() + 400_000, 0);
        bytes
    };
    let served = [file(json.len() as u64), file(u64::MAX), file(1 << 20)];
    let http = Http::start(move |call| {
        let index = call.path.trim_start_matches('/').split('.').next().and_then(|name| name.parse().ok()).unwrap_or(0);
        Reply::file(call, &served[index])
    });
    let header = |index: usize| {
        let name = format!("{index}.safetensors");
        find(&format!("{}/{name}", http.endpoint)).expect("there").open(&name).expect("opens").safetensors_header()
    };
    assert_eq!(header(0).expect("a header"), [&(json.len() as u64).to_le_bytes()[..], json].concat());
    for index in [1, 2] {
        assert!(matches!(header(index), Err(RemoteError::HeaderTooLong { .. })), "file {index}");
    }
    // The same as files for those who open files.
    let headers = find(&format!("{}/0.safetensors", http.endpoint)).expect("there").headers().expect("headers");
    assert_eq!(std::fs::metadata(&headers.weights()[0]).expect("there").len(), 400_008 + json.len() as u64);
}

/// A hub with a split model whose bytes lie behind redirections.
fn hub(shards: Vec<Vec<u8>>) -> (Http, Http) {
    let list: Vec<_> = shards
        .iter()
        .zip(1..)
        .map(|(bytes, number)| {
            let oid = Digest::of(bytes).to_string().replace("sha256:", "");
            serde_json::json!({"type": "file", "path": format!("Q8_0/tiny-Q8_0-0000{number}-of-00002.gguf"),
                               "size": bytes.len(), "oid": "a".repeat(40), "lfs": {"oid": oid, "size": bytes.len()}})
        })
        .collect();
    let list = serde_json::Value::from(list).to_string();
    let storage = Http::start(move |call| Reply::file(call, &shards[usize::from(call.path.contains("00002-of"))]));
    let to = storage.endpoint.clone();
    let hub = Http::start(move |call| match call.path.split('?').next().unwrap_or_default() {
        "/api/models/acme/tiny/revision/main" => Reply::bytes(format!(r#"{{"sha": "{COMMIT}"}}"#)),
        path if path == format!("/api/models/acme/tiny/tree/{COMMIT}") => Reply::bytes(list.clone()),
        path if path.starts_with(&format!("/acme/tiny/resolve/{COMMIT}/")) => match call.header("authorization") {
            Some("Bearer hf_secret") => Reply::redirect(&format!("{to}/signed{path}?signature=x")),
            _ => Reply::status(403).with("X-Error-Code", "GatedRepo"),
        },
        _ => Reply::status(404),
    });
    (hub, storage)
}

#[test]
fn a_split_model_of_the_hub_can_be_opened_by_its_headers() {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = noise(1 << 20);
    let paths = writer(20_000)
        .write_shards(folder.path().join("tiny"), SplitLimit::Tensors(1), |_, out| out.write_all(&weights))
        .expect("writes");
    let shards: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("reads")).collect();
    let total: usize = shards.iter().map(Vec::len).sum();
    let (hub, storage) = hub(shards);
    let mut settings = Settings { hub_endpoint: hub.endpoint.clone(), ..settings() };
    let reference = Reference::parse("hf.co/acme/tiny:Q8_0").expect("a reference");

    let gated = RemoteModel::find(&reference, &settings).expect("listed").headers().expect_err("gated");
    let RemoteError::Source { error, .. } = &gated else { panic!("{gated}") };
    assert!(matches!(**error, SourceError::Gated { .. }), "{gated}");

    settings.hub_token = HubToken::new("hf_secret");
    let remote = RemoteModel::find(&reference, &settings).expect("there");
    assert_eq!((remote.commit(), remote.weights().len()), (Some(COMMIT), 2));
    let headers = remote.headers().expect("headers");
    assert!(headers.received_bytes() < total as u64 / 2, "{} of {total} bytes", headers.received_bytes());
    assert!(storage.calls().iter().all(|call| call.header("authorization").is_none()), "the token went along");
    let (here, there) = (GgufFile::open(&paths[0]).expect("opens"), GgufFile::open(headers.path()).expect("opens"));
    assert_eq!((here.metadata(), here.tensors()), (there.metadata(), there.tensors()));
    let path = headers.path().to_owned();
    drop((headers, there));
    assert!(!path.exists(), "the folder is left");
}

#[test]
fn what_lies_on_no_server_is_refused() {
    for text in ["smollm2", "./x.gguf", "pip:llm-x==1", "sha256:abcd"] {
        let error = find(text).err().expect(text);
        assert!(matches!(error, RemoteError::NotRemote { .. }) && error.hint().is_some(), "{text}: {error}");
    }
    let error = find("http://127.0.0.1:1/..").err().expect("no file");
    assert!(matches!(error, RemoteError::NotRemote { .. }), "{error}");
}
