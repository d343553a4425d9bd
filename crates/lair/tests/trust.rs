//! Whom a transfer trusts: authorities, proxies, tokens and keys, with the real program and servers of this machine.

mod registry;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lair_store::{Settings, Store};
use lair_testkit::{shared_data, skipped};
use ring::signature::{ED25519, UnparsedPublicKey};

use registry::proxy::Proxy;
use registry::tls::{Authority, make_user_key};
use registry::{Http, Memory, Reply, Request, in_memory, lair, run, succeed};

/// A home with the model `tiny`; nothing without the shared data.
fn home_with_model() -> Option<tempfile::TempDir> {
    let model = shared_data("models/stories260K-f32.gguf")?;
    let home = tempfile::tempdir().expect("a folder");
    succeed(lair(home.path()).arg("import").arg(model).arg("tiny"));
    Some(home)
}

/// Copies `tiny` to `name` and pushes it.
fn push_as(home: &Path, name: &str, adjust: impl Fn(&mut Command)) -> (bool, String) {
    succeed(lair(home).args(["cp", "tiny", name]));
    let mut command = lair(home);
    command.args(["push", name]);
    adjust(&mut command);
    run(&mut command)
}

/// Pulls `name` into a fresh home.
fn pull(name: &str, adjust: impl Fn(&mut Command)) -> (bool, String) {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = lair(home.path());
    command.args(["pull", name]);
    adjust(&mut command);
    let (is_content, said) = run(&mut command);
    let store = Store::open(Settings::at(home.path().join("lair")));
    let is_listed = store.list().expect("lists").iter().any(|model| model.is_whole());
    assert_eq!(is_content, is_listed, "{said}");
    (is_content, said)
}

fn check_that_an_authority_must_be_named(home: &Path, name: &str, authority: &Authority, other: &Authority) {
    for (variable, file) in [("", PathBuf::new()), ("SSL_CERT_FILE", other.file()), ("LAIR_CA_FILE", other.file())] {
        let (is_content, said) = push_as(home, name, |command| {
            if !variable.is_empty() {
                command.env(variable, &file);
            }
        });
        assert!(!is_content && said.contains("certificate"), "{variable}: {said}");
        assert!(said.contains("LAIR_CA_FILE"), "{variable}: no hint in {said}");
    }
    let (is_content, said) = push_as(home, name, |command| {
        command.env("LAIR_CA_FILE", authority.file());
    });
    assert!(is_content, "{said}");
    for variable in ["SSL_CERT_FILE", "LAIR_CA_FILE"] {
        let (is_content, said) = pull(name, |command| {
            command.env(variable, authority.file());
        });
        assert!(is_content, "{variable}: {said}");
        let (is_content, said) = pull(name, |command| {
            command.env(variable, other.file());
        });
        assert!(!is_content && said.contains("LAIR_CA_FILE"), "{variable}: {said}");
    }
    let (is_content, said) = pull(name, |command| {
        command.env("LAIR_CA_FILE", "/nowhere/ca.pem");
    });
    assert!(!is_content && said.contains("/nowhere/ca.pem"), "{said}");
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else() {
    let Some(home) = home_with_model() else { return };
    let (Some(authority), Some(other)) = (Authority::new(), Authority::new()) else { return };
    let (_memory, answer) = in_memory();
    let server = Http::start_tls(&authority.issue(&["IP:127.0.0.1"]), answer);
    let name = format!("{}/acme/tiny", server.address);
    check_that_an_authority_must_be_named(home.path(), &name, &authority, &other);
    // A certificate of the right authority for another name is none.
    let (_memory, answer) = in_memory();
    let server = Http::start_tls(&authority.issue(&["DNS:elsewhere.example"]), answer);
    let name = format!("{}/acme/tiny", server.address);
    let (is_content, said) = push_as(home.path(), &name, |command| {
        command.env("LAIR_CA_FILE", authority.file());
    });
    assert!(!is_content && said.contains("certificate"), "{said}");
}

/// Ends the registry when the test does.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_registry_with_tls_is_spoken_to() {
    let Some(home) = home_with_model() else { return };
    let (Some(authority), Some(other)) = (Authority::new(), Authority::new()) else { return };
    let identity = authority.issue(&["IP:127.0.0.1"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = port.expect("a port").to_string();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: '{address}', tls: {{certificate: {}, key: {}}}}}\n",
        home.path().join("registry").display(),
        identity.certificate.display(),
        identity.key.display(),
    );
    let file = home.path().join("registry.yml");
    std::fs::write(&file, config).expect("written");
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        skipped("`docker-registry` is not installed");
        return;
    };
    let mut started = Started(child);
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(started.0.try_wait().expect("asked").is_none(), "the registry has ended");
        std::thread::yield_now();
    }
    check_that_an_authority_must_be_named(home.path(), &format!("{address}/acme/tiny"), &authority, &other);
}

#[test]
fn a_proxy_is_used_where_it_is_set_and_passed_by_where_it_is_not_wanted() {
    let Some(home) = home_with_model() else { return };
    let Some(authority) = Authority::new() else { return };
    let (_memory, answer) = in_memory();
    // Nobody but the proxy knows where this host is.
    let server = Http::start_tls(&authority.issue(&["DNS:models.example", "IP:127.0.0.1"]), answer);
    let proxy = Proxy::start(&[("models.example:443", &server.address)]);
    let with_secret = format!("http://user:password@{}", proxy.address);
    let trusting = |command: &mut Command| {
        command.env("LAIR_CA_FILE", authority.file());
    };
    let (is_content, said) = push_as(home.path(), "models.example/acme/tiny", |command| {
        trusting(command);
        command.env("HTTPS_PROXY", &with_secret);
    });
    assert!(is_content, "{said}");
    let login = STANDARD.encode("user:password");
    assert!(!proxy.tunnels().is_empty());
    for tunnel in proxy.tunnels() {
        assert_eq!(tunnel.target, "models.example:443");
        assert!(tunnel.head.contains(&login), "the proxy is not told who asks: {}", tunnel.head);
    }
    // What is for the proxy is not for the server.
    for request in server.requests() {
        let is_leaked = request.headers.iter().any(|(name, value)| name.contains("proxy") || value.contains(&login));
        assert!(!is_leaked, "{request:?}");
    }
    for variable in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        let before = proxy.tunnels().len();
        let (is_content, said) = pull("models.example/acme/tiny", |command| {
            trusting(command);
            command.env(variable, format!("http://{}", proxy.address));
        });
        assert!(is_content && proxy.tunnels().len() > before, "{variable}: {said}");
    }
    // A host that the proxy refuses, and one that it is not asked for.
    let refused = |command: &mut Command| {
        trusting(command);
        command.env("HTTPS_PROXY", format!("http://{}", proxy.address));
    };
    let (is_content, said) = pull("other.example/acme/tiny", refused);
    assert!(!is_content && said.contains("HTTPS_PROXY"), "{said}");
    for excepted in ["127.0.0.1", "models.example, 127.0.0.1", "*"] {
        let before = proxy.tunnels().len();
        let (is_content, said) = pull(&format!("{}/acme/tiny", server.address), |command| {
            refused(command);
            command.env("NO_PROXY", excepted);
        });
        assert!(is_content, "{excepted}: {said}");
        assert_eq!(proxy.tunnels().len(), before, "{excepted}: the proxy was asked");
    }
}

/// Three hosts behind one server: the registry of Ollama, the one that makes its tokens, and a storage that blobs are
/// redirected to.
struct OllamaWorld {
    memory: Arc<Mutex<Memory>>,
    /// What the public key of the user's file says, 32 bytes.
    point: Vec<u8>,
    /// Tokens that were given, by scope.
    given: Mutex<Vec<String>>,
}

impl OllamaWorld {
    fn answer(&self, request: &Request) -> Reply {
        match request.header("host").unwrap_or_default() {
            "registry.ollama.ai" => self.registry(request),
            "ollama.com" => self.token(request),
            "storage.example" => {
                assert_eq!(request.header("authorization"), None, "the token went to another host");
                self.memory.lock().expect("not poisoned").answer(request)
            }
            host => Reply::new(500, format!("who is {host}?")),
        }
    }

    fn registry(&self, request: &Request) -> Reply {
        let is_push = !matches!(request.method.as_str(), "GET");
        let scope = if is_push { "repository:acme/tiny:pull,push" } else { "repository:acme/tiny:pull" };
        let token = format!("Bearer token-for-{scope}");
        if request.header("authorization") != Some(&token) {
            let asked = format!("Bearer realm=\"https://ollama.com/token\",service=\"ollama.com\",scope=\"{scope}\"");
            return Reply::new(401, "").with("WWW-Authenticate", asked);
        }
        if request.method == "GET" && request.path.contains("/blobs/sha256:") {
            return Reply::new(307, "").with("Location", format!("https://storage.example{}", request.path));
        }
        self.memory.lock().expect("not poisoned").answer(request)
    }

    /// Checks the signature as the real one must: with the public key, over what was asked.
    fn token(&self, request: &Request) -> Reply {
        let header = request.header("authorization").unwrap_or_default();
        let Some((public, signature)) = header.split_once(':') else { return Reply::new(401, "") };
        let (public, signature) = (STANDARD.decode(public).unwrap_or_default(), STANDARD.decode(signature));
        // `ssh-ed25519` and the point, each behind its length.
        let is_known = public.ends_with(&self.point) && public.len() == 4 + 11 + 4 + 32;
        let url = format!("https://ollama.com{}?{}", request.path, request.query);
        let of_nothing = STANDARD.encode("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let message = format!("GET,{url},{of_nothing}");
        let key = UnparsedPublicKey::new(&ED25519, &self.point);
        let is_signed = key.verify(message.as_bytes(), &signature.unwrap_or_default()).is_ok();
        let field = |name: &str| {
            let fields = request.query.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            fields.unwrap_or_default().replace("%3A", ":").replace("%2F", "/").replace("%2C", ",")
        };
        let is_fresh = field("ts").parse::<u64>().is_ok() && field("nonce").len() >= 16;
        if !(is_known && is_signed && is_fresh) {
            return Reply::new(401, "");
        }
        let scope = field("scope");
        self.given.lock().expect("not poisoned").push(scope.clone());
        Reply::new(200, format!("{{\"token\":\"token-for-{scope}\"}}"))
    }
}

#[test]
fn the_key_of_an_ollama_user_opens_the_registry_and_its_tokens_stay_there() {
    let Some(home) = home_with_model() else { return };
    let Some(authority) = Authority::new() else { return };
    let key_file = home.path().join(".ollama/id_ed25519");
    if !make_user_key(&key_file) {
        return;
    }
    let public = std::fs::read_to_string(key_file.with_extension("pub")).expect("made with the key");
    let public = STANDARD.decode(public.split(' ').nth(1).expect("a key")).expect("base64");
    let (memory, _) = in_memory();
    let given = Mutex::default();
    let world = Arc::new(OllamaWorld { memory, point: public[public.len() - 32..].to_vec(), given });
    let shared = Arc::clone(&world);
    let hosts = ["registry.ollama.ai", "ollama.com", "storage.example"];
    let names = hosts.map(|host| format!("DNS:{host}"));
    let identity = authority.issue(&[names[0].as_str(), &names[1], &names[2]]);
    let server = Http::start_tls(&identity, move |request| shared.answer(request));
    let targets = hosts.map(|host| format!("{host}:443"));
    let proxy = Proxy::start(&targets.each_ref().map(|target| (target.as_str(), server.address.as_str())));
    let connected = |command: &mut Command| {
        command.env("LAIR_CA_FILE", authority.file());
        command.env("HTTPS_PROXY", format!("http://{}", proxy.address));
    };
    let (is_content, said) = push_as(home.path(), "acme/tiny", connected);
    assert!(is_content, "{said}");
    // Another home with the same key pulls what was pushed.
    let (is_content, said) = pull("acme/tiny", |command| {
        connected(command);
        command.env("HOME", home.path());
    });
    assert!(is_content, "{said}");
    let given = world.given.lock().expect("not poisoned").clone();
    assert!(given.contains(&"repository:acme/tiny:pull,push".to_string()), "{given:?}");
    assert!(given.contains(&"repository:acme/tiny:pull".to_string()), "{given:?}");
    // The signature is for the maker of tokens, the token for the registry: each request carried its own or nothing.
    for request in server.requests() {
        let sent = request.header("authorization").unwrap_or_default();
        let is_right = match request.header("host").unwrap_or_default() {
            "registry.ollama.ai" => sent.is_empty() || sent.starts_with("Bearer token-for-"),
            "ollama.com" => sent.contains(':') && !sent.contains("Bearer"),
            _ => sent.is_empty(),
        };
        assert!(is_right, "{request:?}");
    }
    // Another key, and none, are turned away with a word about what to do.
    let stranger = tempfile::tempdir().expect("a folder");
    for has_key in [false, true] {
        if has_key {
            make_user_key(&stranger.path().join(".ollama/id_ed25519"));
        }
        let (is_content, said) = pull("acme/tiny", |command| {
            connected(command);
            command.env("HOME", stranger.path());
        });
        assert!(!is_content && said.contains("ollama signin"), "{said}");
    }
}

/// A registry that sends one elsewhere for a token gets no login, and the other host is never asked.
#[test]
fn a_login_goes_to_its_registry_alone() {
    let Some(home) = home_with_model() else { return };
    let elsewhere = Http::start(|_| Reply::new(200, "{\"token\":\"t\"}"));
    let realm = format!("http://{}/token", elsewhere.address);
    let (_memory, answer) = in_memory();
    let server = Http::start(move |request| match request.path.as_str() {
        "/v2/" => answer(request),
        _ => Reply::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")),
    });
    let login = STANDARD.encode("me:secret");
    let docker = home.path().join(".docker");
    std::fs::create_dir_all(&docker).expect("made");
    let logins = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{login}\"}}}}}}", server.address);
    std::fs::write(docker.join("config.json"), logins).expect("written");
    let (is_content, said) = push_as(home.path(), &format!("{}/acme/tiny", server.address), |_| ());
    assert!(!is_content && said.contains("another host"), "{said}");
    assert!(elsewhere.requests().is_empty(), "{:?}", elsewhere.requests());

    // The registry's own realm gets it, another registry on this machine does not.
    let (_memory, answer) = in_memory();
    let own = Arc::new(Mutex::new(String::new()));
    let realm = Arc::clone(&own);
    let expected = format!("Basic {login}");
    let server = Http::start(move |request| {
        if request.path == "/token" {
            let is_known = request.header("authorization") == Some(&expected);
            return if is_known { Reply::new(200, "{\"token\":\"mine\"}") } else { Reply::new(401, "") };
        }
        if request.path == "/v2/" || request.header("authorization") == Some("Bearer mine") {
            return answer(request);
        }
        let realm = realm.lock().expect("not poisoned").clone();
        Reply::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"{realm}\""))
    });
    *own.lock().expect("not poisoned") = format!("http://{}/token", server.address);
    let name = format!("{}/acme/tiny", server.address);
    let (is_content, said) = push_as(home.path(), &name, |_| ());
    assert!(!is_content && said.contains("docker login"), "{said}");
    let logins = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{login}\"}}}}}}", server.address);
    std::fs::write(docker.join("config.json"), logins).expect("written");
    let (is_content, said) = push_as(home.path(), &name, |_| ());
    assert!(is_content, "{said}");
}
