//! The scenarios. Each starts servers of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Answer, Options, Question, Server, percentiles};

const WORDS: [&str; 16] =
    ["once", "upon", "a", "time", "there", "was", "a", "little", "girl", "who", "had", "a", "red", "ball", "and", "a"];

/// A text of so many words, other ones for each seed; most models make a token of each.
fn text(seed: usize, words: usize) -> String {
    let word = |index: usize| WORDS[(index * 7 + seed * 5 + index * index * (seed + 1) / 3) % WORDS.len()];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// Questions of several lengths, half of them drawn with a seed.
fn questions(options: &Options) -> Vec<Question> {
    let question = |index: usize| Question {
        prompt: text(index, 4 + index * index / 2),
        max_tokens: options.tokens / 2 + index * options.tokens / 16,
        seed: (index % 2 == 1).then_some(index as u64),
        ..Question::default()
    };
    (0..16).map(question).collect()
}

/// The answers each question gets when nobody else asks.
fn alone(server: &Server, options: &Options, questions: &[Question]) -> Vec<Answer> {
    questions.iter().map(|question| ask(server, options, question)).collect()
}

fn ask(server: &Server, options: &Options, question: &Question) -> Answer {
    let answer = question.ask(&server.address, &options.model).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    answers: Vec<Answer>,
    refusals: Vec<Answer>,
    errors: Vec<String>,
    wrong: usize,
}

impl Seen {
    fn note(&mut self, outcome: std::io::Result<Answer>, expected: &str) {
        match outcome {
            Ok(answer) if answer.status == 200 => {
                self.wrong += usize::from(answer.text != expected);
                self.answers.push(answer);
            }
            Ok(answer) if matches!(answer.status, 429 | 503) && answer.has_retry_after => self.refusals.push(answer),
            Ok(answer) => self.errors.push(format!("{}: {}", answer.status, answer.text)),
            Err(error) => self.errors.push(error.to_string()),
        }
    }

    fn report(&self, took: Duration) -> Value {
        let tokens: u64 = self.answers.iter().map(|answer| answer.completion_tokens).sum();
        let times = |time: fn(&Answer) -> Duration| percentiles(self.answers.iter().map(time).collect());
        json!({
            "seconds": took.as_secs(),
            "requests": self.answers.len(),
            "wrong": self.wrong,
            "errors": self.errors.len(),
            "first_errors": self.errors.iter().take(5).collect::<Vec<_>>(),
            "tokens_per_second": (tokens as f64 / took.as_secs_f64()).round(),
            "first_token": times(|answer| answer.first),
            "between_tokens_max": times(|answer| answer.gap),
            "whole": times(|answer| answer.total),
            "refused": percentiles(self.refusals.iter().map(|answer| answer.first).collect()),
        })
    }
}

/// So many clients that ask one question after the other, checked against what each gets alone.
fn press(server: &Server, options: &Options, clients: usize, pause_after_refusal: Duration) -> Value {
    let questions = questions(options);
    let expected = alone(server, options, &questions);
    let seen = Mutex::new(Seen::default());
    let start = Instant::now();
    let end = start + Duration::from_secs(options.seconds);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (seen, questions, expected) = (&seen, &questions, &expected);
            let ask_on = move || {
                let mut next = client;
                while Instant::now() < end {
                    let place = next % questions.len();
                    let outcome = questions[place].ask(&server.address, &options.model);
                    let is_refused = outcome.as_ref().is_ok_and(|answer| answer.status != 200);
                    seen.lock().expect("no client panics").note(outcome, &expected[place].text);
                    if is_refused {
                        std::thread::sleep(pause_after_refusal);
                    }
                    next += 1 + client % 7;
                }
            };
            std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, ask_on).expect("a thread");
        }
    });
    let mut report = seen.into_inner().expect("no client panics").report(start.elapsed());
    report["clients"] = json!(clients);
    report["flags"] = json!(server.flags.join(" "));
    report["resident_bytes"] = json!(server.resident_bytes());
    report
}

/// Many streams for a while.
pub fn streams(options: &Options) -> Value {
    let server = options.start(&[]);
    press(&server, options, options.streams, Duration::ZERO)
}

/// Four times as many clients as are taken.
pub fn overload(options: &Options) -> Value {
    let server = options.start(&["--parallel", "8", "--max-queue", "8"]);
    press(&server, options, 64, Duration::from_millis(200))
}

/// A normal request beside sockets that say nothing, or their head byte by byte.
pub fn slow_sockets(options: &Options) -> Value {
    let server = options.start(&[]);
    let question = Question { prompt: text(1, 8), max_tokens: 8, ..Question::default() };
    let expected = ask(&server, options, &question).text;
    let rounds = || -> (Vec<Duration>, usize) {
        let answers: Vec<Answer> = (0..100).map(|_| ask(&server, options, &question)).collect();
        let wrong = answers.iter().filter(|answer| answer.text != expected).count();
        (answers.into_iter().map(|answer| answer.total).collect(), wrong)
    };
    let (calm, wrong_calm) = rounds();
    let is_over = AtomicBool::new(false);
    let (beside, wrong_beside, opened) = std::thread::scope(|scope| {
        let sockets = scope.spawn(|| hold_slow_sockets(&server.address, options.streams, &is_over));
        std::thread::sleep(Duration::from_secs(2));
        let (mut beside, mut wrong) = rounds();
        let end = Instant::now() + Duration::from_secs(options.seconds);
        while Instant::now() < end {
            let (more, wrong_more) = rounds();
            beside.extend(more);
            wrong += wrong_more;
        }
        is_over.store(true, Ordering::Relaxed);
        (beside, wrong, sockets.join().expect("it does not panic"))
    });
    json!({
        "sockets": options.streams,
        "sockets_opened": opened,
        "calm": percentiles(calm),
        "beside": percentiles(beside),
        "wrong": wrong_calm + wrong_beside,
        "errors": 0,
    })
}

/// Keeps so many sockets open: half say nothing, half a byte of their head each half second. Those that are closed are
/// opened again. Returns how many were opened.
fn hold_slow_sockets(address: &str, count: usize, is_over: &AtomicBool) -> usize {
    const HEAD: &[u8] =
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let connect = || {
        let socket = TcpStream::connect(address).expect("it listens");
        socket.set_nonblocking(true).expect("a socket");
        (socket, 0)
    };
    let mut sockets: Vec<(TcpStream, usize)> = (0..count).map(|_| connect()).collect();
    let mut opened = count;
    while !is_over.load(Ordering::Relaxed) {
        for (index, (socket, sent)) in sockets.iter_mut().enumerate() {
            let is_closed = matches!(socket.read(&mut [0; 512]), Ok(0));
            let is_lost = index % 2 == 1 && socket.write_all(&HEAD[*sent % HEAD.len()..][..1]).is_err();
            *sent += 1;
            if is_closed || is_lost {
                (*socket, *sent) = connect();
                opened += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    opened
}

/// Many prompts at the same moment that begin alike: the beginning is computed once.
pub fn shared_prefix(options: &Options) -> Value {
    let system = text(3, options.prompt_tokens);
    let question = |index: usize| Question {
        prompt: format!("{system}. {} says", text(index, 2 + index % 3)),
        max_tokens: options.tokens,
        seed: Some(index as u64),
        ..Question::default()
    };
    let questions: Vec<Question> = (0..options.streams).map(question).collect();
    let server = options.start(&[]);
    ask(&server, options, &Question { prompt: "Hello".to_owned(), max_tokens: 1, ..Question::default() });
    let start = Instant::now();
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (index, question) in questions.iter().enumerate() {
            let (seen, server) = (&seen, &server);
            scope.spawn(move || {
                let answer = ask(server, options, question);
                seen.lock().expect("no client panics").push((index, answer));
            });
        }
    });
    let took = start.elapsed();
    drop(server);
    // Alone means: by a server that has seen nothing like it.
    let mut answers = seen.into_inner().expect("no client panics");
    answers.sort_by_key(|(index, _)| *index);
    let fresh = options.start(&[]);
    ask(&fresh, options, &Question { prompt: "Hello".to_owned(), max_tokens: 1, ..Question::default() });
    let alone = alone(&fresh, options, &questions);
    let wrong = answers.iter().zip(&alone).filter(|((_, answer), alone)| answer.text != alone.text).count();
    let computed: u64 = answers.iter().map(|(_, answer)| answer.prompt_tokens - answer.cached_tokens).sum();
    json!({
        "requests": answers.len(),
        "wrong": wrong,
        "errors": 0,
        "prompt_tokens": answers.iter().map(|(_, answer)| answer.prompt_tokens).sum::<u64>(),
        "computed_prompt_tokens": computed,
        "first_token": percentiles(answers.iter().map(|(_, answer)| answer.first).collect()),
        "first_token_of_one_alone_ms": alone[0].first.as_millis(),
        "all_ms": took.as_millis(),
    })
}

/// A long prompt before and after a restart.
pub fn restart(options: &Options) -> Value {
    let folder = std::env::temp_dir().join(format!("lair-load-{}", std::process::id()));
    let cache = folder.display().to_string();
    let question = Question {
        prompt: text(9, options.prompt_tokens),
        max_tokens: options.tokens,
        seed: Some(4),
        ..Question::default()
    };
    let hello = Question { prompt: "Hello".to_owned(), max_tokens: 1, ..Question::default() };
    let mut answers = Vec::new();
    let mut has_ended_well = true;
    for _ in 0..2 {
        let server = options.start(&["--prompt-cache", &cache]);
        ask(&server, options, &hello);
        answers.push(ask(&server, options, &question));
        answers.push(ask(&server, options, &question));
        has_ended_well &= server.end();
    }
    let _ = std::fs::remove_dir_all(&folder);
    let first = |index: usize| answers[index].first.as_secs_f64() * 1000.0;
    json!({
        "prompt_tokens": answers[0].prompt_tokens,
        "cold_ms": first(0).round(),
        "from_memory_ms": first(1).round(),
        "after_restart_ms": first(2).round(),
        "after_restart_share_of_cold": (first(2) / first(0) * 1000.0).round() / 1000.0,
        "cached_tokens_after_restart": answers[2].cached_tokens,
        "wrong": answers.iter().filter(|answer| answer.text != answers[0].text).count(),
        "errors": u8::from(!has_ended_well),
    })
}

/// Clients that go away while their answer is made, on a server with one place: how long until the next has it.
pub fn cancel(options: &Options) -> Value {
    let server = options.start(&["--parallel", "1"]);
    let short = Question { prompt: text(1, 4), max_tokens: 1, ..Question::default() };
    let expected = ask(&server, options, &short);
    let calm: Vec<Duration> = (0..20).map(|_| ask(&server, options, &short).first).collect();
    let (mut waits, mut wrong) = (Vec::new(), 0);
    for round in 0..options.streams {
        // In the prompt, or while tokens come.
        let words = if round % 2 == 0 { options.prompt_tokens } else { 8 };
        let endless = Question { prompt: text(100 + round, words), max_tokens: 4000, ..Question::default() };
        let mut socket = TcpStream::connect(&server.address).expect("it listens");
        socket.write_all(&endless.bytes(&server.address, &options.model)).expect("sent");
        std::thread::sleep(Duration::from_millis(50 + (round * 37 % 200) as u64));
        drop(socket);
        let answer = ask(&server, options, &short);
        wrong += usize::from(answer.text != expected.text);
        waits.push(answer.first);
    }
    json!({ "calm": percentiles(calm), "after_cancel": percentiles(waits), "wrong": wrong, "errors": 0 })
}

/// A long prompt beside streams: how long their tokens pause, and how soon a short prompt gets through.
pub fn long_prompt(options: &Options) -> Value {
    let server = options.start(&[]);
    let running = |index: usize| Question {
        prompt: text(index, 8),
        max_tokens: 200,
        seed: Some(index as u64),
        ..Question::default()
    };
    let short = Question { prompt: text(40, 20), max_tokens: 8, ..Question::default() };
    let long = Question { prompt: text(77, options.prompt_tokens), max_tokens: 4, ..Question::default() };
    let calm = ask(&server, options, &running(0));
    let short_alone = ask(&server, options, &Question { prompt: text(41, 20), ..short.clone() });
    let (beside, short_beside, long_beside) = std::thread::scope(|scope| {
        let server = &server;
        let streams: Vec<_> = (0..4).map(|index| scope.spawn(move || ask(server, options, &running(index)))).collect();
        std::thread::sleep(Duration::from_millis(300));
        let long = scope.spawn(move || ask(server, options, &long));
        std::thread::sleep(Duration::from_millis(300));
        let short = ask(server, options, &short);
        let streams: Vec<Answer> = streams.into_iter().map(|stream| stream.join().expect("answered")).collect();
        (streams, short, long.join().expect("answered"))
    });
    json!({
        "between_tokens_max_alone_ms": calm.gap.as_millis(),
        "between_tokens_max": percentiles(beside.iter().map(|answer| answer.gap).collect()),
        "short_first_token_alone_ms": short_alone.first.as_millis(),
        "short_first_token_beside_ms": short_beside.first.as_millis(),
        "long_first_token_ms": long_beside.first.as_millis(),
        "wrong": usize::from(beside[0].text != calm.text),
        "errors": 0,
    })
}

/// The same number of tokens with a schema and without, in turn: what the masks cost.
pub fn schema(options: &Options) -> Value {
    // Little of it is forced, so that nearly every token needs a mask.
    let schema = json!({ "type": "array", "minItems": 30, "items": { "type": "string", "minLength": 12 } });
    let server = options.start(&["--no-speculate"]);
    let rate = |answers: &[Answer]| {
        let tokens: u64 = answers.iter().map(|answer| answer.completion_tokens - 1).sum();
        let longest = answers.iter().map(|answer| answer.total - answer.first).max().unwrap_or_default();
        tokens as f64 / longest.as_secs_f64()
    };
    let question = |index: usize, schema: Option<&Value>, is_sampled: bool, max_tokens| Question {
        prompt: format!("A JSON array of {} sentences about {}:\n", 30 + index, text(index, 3)),
        max_tokens,
        schema: schema.cloned(),
        seed: is_sampled.then_some(index as u64),
    };
    let all = |schema: Option<&Value>, is_sampled: bool, max_tokens: &[usize]| -> Vec<Answer> {
        std::thread::scope(|scope| {
            let server = &server;
            let one =
                |(index, &max)| scope.spawn(move || ask(server, options, &question(index, schema, is_sampled, max)));
            let asked: Vec<_> = max_tokens.iter().enumerate().map(one).collect();
            asked.into_iter().map(|asked| asked.join().expect("answered")).collect()
        })
    };
    let (mut with, mut without, mut wrong) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2], 0);
    let most = vec![options.tokens; options.streams];
    all(Some(&schema), false, &most);
    let start = Instant::now();
    while with[1].len() < 3 || start.elapsed().as_secs() < options.seconds {
        // The likeliest tokens, and such as are drawn at a temperature.
        for is_sampled in [false, true] {
            let bound = all(Some(&schema), is_sampled, &most);
            let counts: Vec<usize> = bound.iter().map(|answer| answer.completion_tokens as usize).collect();
            // What is cut off is no whole text of JSON, and begins as one.
            wrong += bound.iter().filter(|answer| !answer.text.trim_start().starts_with("[")).count();
            with[usize::from(is_sampled)].push(rate(&bound));
            without[usize::from(is_sampled)].push(rate(&all(None, is_sampled, &counts)));
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let ratio = |index: usize| {
        let mut ratios = with[index].iter().zip(&without[index]).map(|(with, without)| with / without).collect();
        (median(&mut ratios) * 1000.0).round() / 1000.0
    };
    let ratios = [ratio(0), ratio(1)];
    let rates = |all: &mut [Vec<f64>; 2]| all.each_mut().map(|rates| median(rates).round());
    json!({
        "rounds": with[0].len(),
        "greedy_and_sampled_tokens_a_second_with": rates(&mut with),
        "greedy_and_sampled_tokens_a_second_without": rates(&mut without),
        "greedy_and_sampled_ratio": ratios,
        "wrong": wrong,
        "errors": 0,
    })
}
