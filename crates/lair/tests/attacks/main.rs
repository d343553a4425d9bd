//! The attack list: what hostile clients, pages, files and registries send, one named case for each, against the real
//! program on a real port.
//!
//! Run it alone with `cargo test -p lair --test attacks -- --nocapture`; it prints what ran and what does not apply and why.
//! Every case ends with the same second check: the server is alive and answers a normal request as it did before. Beside all
//! of them a client keeps asking the same question and must get the same bytes each time. A second pass does all of it
//! with stacks of 512 KiB, so that nothing recurses with what it is sent.
//!
//! The lines (1 to 150) are a list of what brought down or opened up other servers: their advisories and issues. Parsers
//! that have hostile lists of their own are asked by these very lists, not by copies. Needs the shared data; without it
//! every test says that it is skipped.

mod browser;
mod files;
mod grammars;
mod network;
mod requests;
mod transport;
mod world;

// The lists of the crates that own the parsers: their tests run here too.
#[path = "../../../lair-store/tests/fakes/mod.rs"]
mod fakes;
#[path = "../../../lair-gguf/tests/hostile_files.rs"]
mod hostile_files;
#[path = "../../../lair-store/tests/transfer/hostile.rs"]
mod hostile_registries;
#[path = "../registry/mod.rs"]
mod registry;
#[path = "../server/mod.rs"]
mod server;
#[path = "../../../lair-gguf/tests/split_models.rs"]
mod split_models;
#[path = "../../../lair-text/tests/template_limits.rs"]
mod template_limits;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use world::World;

/// Lines of the list.
const LINES: u16 = 150;
/// Cases that must be there at least.
const CASES_MIN: usize = 150;
/// What a thread gets in the second pass.
const SMALL_STACK_BYTES: usize = 512 << 10;
/// What it gets in the first: as much as threads have by themselves.
const USUAL_STACK_BYTES: usize = 2 << 20;

/// A case as it is written: the line of the list, what is sent, and what is done.
type Case = (u16, &'static str, Try);

/// A case.
#[derive(Clone)]
struct Attack {
    line: u16,
    name: String,
    tried: Try,
}

/// How a case is tried. Each fails by a panic.
#[derive(Clone)]
enum Try {
    /// On the servers.
    On(fn(&World)),
    /// The same, and it waits long for what the server does of itself: beside the others.
    Beside(fn(&World)),
    /// A model file, brought to the server, which must be refused.
    File(Arc<[u8]>),
    /// On no server.
    Here(fn()),
    /// A case of another line does it.
    By(&'static str),
    /// There is nothing that could be attacked so, because of this.
    Nothing(&'static str),
}

fn all() -> Vec<Attack> {
    let lists = [requests::ATTACKS, grammars::ATTACKS, transport::ATTACKS, browser::ATTACKS, files::ATTACKS];
    let cases = lists.into_iter().chain([network::ATTACKS]).flatten().cloned();
    let mut attacks: Vec<Attack> =
        cases.map(|(line, name, tried)| Attack { line, name: name.to_owned(), tried }).collect();
    attacks.extend(files::kinds());
    attacks.sort_by_key(|attack| attack.line);
    attacks
}

/// What came of a pass.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failed: Vec<String>,
}

impl Outcome {
    fn note(&mut self, attack: &Attack, is_held: bool) {
        match is_held {
            true => self.passed += 1,
            false => self.failed.push(format!("line {}: {}", attack.line, attack.name)),
        }
    }
}

/// Whether a case holds: it did not panic, on a thread with a stack of this size.
fn holds(stack_bytes: usize, attack: impl FnOnce() + Send) -> bool {
    thread::scope(|scope| {
        let run = || catch_unwind(AssertUnwindSafe(attack)).is_ok();
        let thread = thread::Builder::new().stack_size(stack_bytes).spawn_scoped(scope, run);
        thread.expect("a thread can be started").join().unwrap_or(false)
    })
}

fn pass(stack_bytes: usize) {
    let Some(world) = World::start(stack_bytes) else { return };
    let (world, attacks) = (&world, all());
    let is_over = AtomicBool::new(false);
    let (asked, outcome) = (AtomicUsize::new(0), Mutex::new(Outcome::default()));
    let try_one = |attack: &Attack| {
        let is_held = match &attack.tried {
            Try::On(attacking) | Try::Beside(attacking) => holds(stack_bytes, || attacking(world)),
            Try::File(bytes) => holds(stack_bytes, || files::assert_refused(world, bytes)),
            Try::Here(attacking) => holds(stack_bytes, attacking),
            Try::By(_) | Try::Nothing(_) => return,
        };
        let is_held = is_held && holds(stack_bytes, || world.assert_alive());
        outcome.lock().expect("not poisoned").note(attack, is_held);
    };
    thread::scope(|scope| {
        // A client as any other, all the time.
        let control = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                world.assert_streams_as_ever();
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (beside, others): (Vec<_>, Vec<_>) =
            attacks.iter().partition(|attack| matches!(attack.tried, Try::Beside(_)));
        let beside: Vec<_> = beside.into_iter().map(|attack| scope.spawn(|| try_one(attack))).collect();
        others.into_iter().for_each(try_one);
        beside.into_iter().for_each(|thread| thread.join().expect("it catches what it throws"));
        is_over.store(true, Ordering::Relaxed);
        if control.join().is_err() {
            let failed = "a client that asked all the time was answered otherwise".to_owned();
            outcome.lock().expect("not poisoned").failed.push(failed);
        }
    });
    let Outcome { passed, failed } = outcome.into_inner().expect("not poisoned");
    let other = |which: fn(&Try) -> Option<&'static str>| -> Vec<String> {
        let why = attacks.iter().filter_map(|attack| which(&attack.tried).map(|why| (attack, why)));
        why.map(|(attack, why)| format!("  line {}: {}: {why}\n", attack.line, attack.name)).collect()
    };
    let nothing = other(|tried| if let Try::Nothing(why) = tried { Some(why) } else { None });
    let by = other(|tried| if let Try::By(which) = tried { Some(which) } else { None });
    println!(
        "attacks with stacks of {} KiB: {passed} cases hold, {} fail\n{} lines are tried by others:\n{}{} cases do not apply:\n{}",
        stack_bytes >> 10,
        failed.len(),
        by.len(),
        by.concat(),
        nothing.len(),
        nothing.concat()
    );
    println!("a control client got the same {} times", asked.load(Ordering::Relaxed));
    assert!(failed.is_empty(), "{} fail:\n{}", failed.len(), failed.join("\n"));
    assert!(passed >= CASES_MIN, "only {passed} cases");
}

#[test]
fn every_line_of_the_list_has_a_case_or_a_reason() {
    let attacks = all();
    let lines: BTreeSet<u16> = attacks.iter().map(|attack| attack.line).collect();
    let missing: Vec<u16> = (1..=LINES).filter(|line| !lines.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let names: BTreeSet<(u16, &String)> = attacks.iter().map(|attack| (attack.line, &attack.name)).collect();
    assert_eq!(names.len(), attacks.len(), "two cases of a line have one name");
}

#[test]
fn attacks_are_answered_and_the_server_lives() {
    pass(USUAL_STACK_BYTES);
}

#[test]
fn attacks_are_answered_on_small_stacks_too() {
    pass(SMALL_STACK_BYTES);
}
