//! Processes that are killed while they pull, and many that pull the same: this program calls itself as the child.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lair_store::{Digest, ModelName, Progress, Reference, Store};

use crate::fakes::blob;
use crate::fakes::http::{Call, Http};
use crate::fakes::registry::{Model, name_at, store};

const ROOT: &str = "LAIR_TEST_KILL_ROOT";
const NAME: &str = "LAIR_TEST_KILL_NAME";
const KILLS: usize = 200;

/// Says every step on standard output, so that the parent can kill at one.
struct Spoken;

impl Progress for Spoken {
    fn status(&mut self, text: &str) {
        println!("STEP {text}");
    }
    fn started(&mut self, _: u64, source: &str) {
        println!("STEP from {source}");
    }
    fn advanced(&mut self, bytes: u64) {
        println!("STEP {bytes} more");
    }
    fn note(&mut self, text: &str) {
        println!("STEP {text}");
    }
    fn finished(&mut self) {
        println!("STEP finished");
    }
}

#[test]
#[ignore = "the child of the tests below"]
fn child() {
    let root = std::env::var(ROOT).expect("the parent says where");
    let name: ModelName = std::env::var(NAME).expect("and what").parse().expect("a name");
    let store = open(Path::new(&root));
    store.pull(&Reference::Name(name), &mut Spoken).expect("pulled");
}

fn open(root: &Path) -> Store {
    store(root, |_| ())
}

fn start(root: &Path, name: &ModelName) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["kill::child", "--exact", "--ignored", "--nocapture"])
        .env(ROOT, root)
        .env(NAME, name.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

fn is_weights(call: &Call) -> bool {
    call.path.contains(&Digest::of(&blob()).to_string())
}

fn bytes_asked(server: &Http) -> usize {
    let of_call = |call: &Call| call.range().map_or(blob().len(), |(first, last)| last + 1 - first);
    server.calls().iter().filter(|call| is_weights(call)).map(of_call).sum()
}

/// Steps of a child, counted until `step_max`; then it is killed. Returns whether it had ended well before that.
fn run_until(mut child: Child, step_max: usize) -> bool {
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let steps = lines.map_while(Result::ok).filter(|line| line.contains("STEP"));
    if steps.take(step_max).count() == step_max {
        child.kill().expect("killed");
    }
    child.wait().expect("ends").success()
}

/// What must hold whenever nobody is at work: what is listed is whole, what has the name of a blob is that blob.
fn check(root: &Path, name: &ModelName, was_listed: bool) -> bool {
    let store = open(root);
    let models = store.list().expect("lists");
    assert!(models.iter().all(lair_store::FoundModel::is_whole), "something half-written is listed");
    let is_listed = models.iter().any(|model| model.model_name.as_ref() == Some(name));
    assert!(is_listed || !was_listed, "what was listed is lost");
    let entries = std::fs::read_dir(store.blobs().root().join("blobs")).into_iter().flatten().flatten();
    for entry in entries {
        let bytes = std::fs::read(entry.path()).expect("reads");
        let name = entry.file_name().into_string().expect("plain");
        assert_eq!(Digest::of(&bytes).file_name(), name, "a blob that is not what its name says");
    }
    is_listed
}

#[test]
fn two_hundred_kills_lose_nothing_and_cost_at_most_a_part_each() {
    const PART_BYTES: usize = 64 * 1024;
    let server = Model::new(blob()).serve();
    let name = name_at(server.host());
    let (mut random, mut killed, mut rounds) = (0x2545_F491_4F6C_DD1D_u64, 0, 0);
    while killed < KILLS {
        let root = tempfile::tempdir().expect("a folder");
        server.forget();
        let (mut is_listed, mut kills_of_round) = (false, 0);
        // Killed again and again until it is through, then once more while it looks at what is there.
        while killed < KILLS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let step_max = 1 + (random % 24) as usize;
            let has_ended = run_until(start(root.path(), &name), step_max);
            killed += usize::from(!has_ended);
            kills_of_round += usize::from(!has_ended);
            is_listed = check(root.path(), &name, is_listed);
            if has_ended {
                assert!(is_listed, "it ended well and is not listed");
                break;
            }
        }
        let asked = bytes_asked(&server);
        let bound = blob().len() + kills_of_round * PART_BYTES + kills_of_round * 4 * PART_BYTES;
        // What a connection had asked for and not received counts as asked, not as fetched: a part for each.
        assert!(asked <= bound, "{asked} bytes asked for with {kills_of_round} kills");
        rounds += 1;
    }
    println!("{killed} kills in {rounds} rounds");
}

#[test]
fn eight_processes_that_pull_the_same_share_one_download() {
    let server = Model::new(blob()).serve();
    let name = name_at(server.host());
    let root = tempfile::tempdir().expect("a folder");
    let children: Vec<Child> = (0..8).map(|_| start(root.path(), &name)).collect();
    for child in children {
        assert!(run_until(child, usize::MAX), "one of them failed");
    }
    assert!(check(root.path(), &name, true));
    assert_eq!(bytes_asked(&server), blob().len(), "some bytes came more than once");
    let blobs = std::fs::read_dir(open(root.path()).blobs().root().join("blobs")).expect("reads").count();
    assert_eq!(blobs, 2, "weights and configuration");
}
