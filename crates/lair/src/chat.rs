//! The chat on the terminal: lines, commands, history.

use std::io::Write;

use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use crate::commands::run::report;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::locate::{self, Located};
use crate::sampling::{PARAMETERS, SamplingArgs};
use crate::session::{LoadOptions, Message, Session, Wishes};

/// What can be changed in a chat.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the model is told before the conversation.
    pub system: Option<String>,
    /// How tokens are chosen, where it differs from the model's defaults.
    pub sampling: SamplingArgs,
    /// Longest answer in tokens.
    pub max_tokens: Option<usize>,
    /// How models are loaded (`/load`).
    pub load: LoadOptions,
    /// Whether figures follow each answer.
    pub is_verbose: bool,
}

/// Lines of history that are kept.
const HISTORY_LENGTH: usize = 1000;

const HELP: &str = "\
  /clear                        forget the conversation
  /set system TEXT              what the model is told before the conversation; /set system alone removes it
  /set parameter NAME VALUE     how tokens are chosen; `/show parameters` lists the names
  /set verbose | quiet          figures after each answer, or none
  /show info | parameters | system | template | history
  /load MODEL                   another model; the conversation stays
  /regenerate                   answer the last message again
  /bye                          leave; Ctrl-D does the same
  \"\"\"                           begins and ends a message of several lines
  Ctrl-C                        stops the answer";

/// A running chat.
struct Chat {
    located: Located,
    session: Session,
    settings: Settings,
    messages: Vec<Message>,
}

/// Chats until the user leaves.
pub fn chat(located: Located, session: Session, settings: Settings) -> Outcome {
    let config = Config::builder().max_history_size(HISTORY_LENGTH).map_err(terminal_failure)?.build();
    let mut editor = DefaultEditor::with_config(config).map_err(terminal_failure)?;
    let history = locate::history_file()?;
    // Absent before the first chat; and a chat without its history is still a chat.
    let _ = editor.load_history(&history);
    let outcome = converse(&mut editor, located, session, settings);
    if let Err(error) = editor.save_history(&history) {
        eprintln!("the history could not be kept in {}: {error}", history.display());
    }
    outcome
}

fn converse(editor: &mut DefaultEditor, located: Located, session: Session, settings: Settings) -> Outcome {
    let mut chat = Chat { located, session, settings, messages: Vec::new() };
    println!("{} ({}). /help for help.", chat.located.name, chat.session.summary());
    loop {
        match read_message(editor) {
            Ok(Some(line)) if line.trim().is_empty() => {}
            Ok(Some(line)) if line.starts_with('/') => {
                if !chat.command(line.trim())? {
                    return Ok(());
                }
            }
            Ok(Some(line)) => chat.take_turn(line)?,
            Ok(None) => return Ok(()),
            Err(error) => return Err(terminal_failure(error)),
        }
    }
}

/// A line, or the lines between `"""`; `None` when the user leaves. Ctrl-C drops what was typed.
fn read_message(editor: &mut DefaultEditor) -> Result<Option<String>, ReadlineError> {
    const FENCE: &str = "\"\"\"";
    let first = match editor.readline(">>> ") {
        Ok(line) => line,
        Err(ReadlineError::Interrupted) => {
            println!("(/bye or Ctrl-D leaves)");
            return Ok(Some(String::new()));
        }
        Err(ReadlineError::Eof) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = match first.trim_start().strip_prefix(FENCE) {
        None => first,
        Some(rest) if rest.trim_end().ends_with(FENCE) => rest.trim_end().trim_end_matches(FENCE).to_owned(),
        Some(rest) => {
            let mut lines = vec![rest.to_owned()];
            loop {
                match editor.readline("... ") {
                    Ok(line) => match line.trim_end().strip_suffix(FENCE) {
                        Some(last) => {
                            lines.push(last.to_owned());
                            break lines.join("\n").trim_matches('\n').to_owned();
                        }
                        None => lines.push(line),
                    },
                    Err(ReadlineError::Interrupted) => return Ok(Some(String::new())),
                    Err(ReadlineError::Eof) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        }
    };
    if message.ends_with('\r') {
        message.pop();
    }
    if !message.trim().is_empty() {
        editor.add_history_entry(message.as_str())?;
    }
    Ok(Some(message))
}

impl Chat {
    /// A message of the user and the answer to it. A failure is shown; the chat goes on without the message.
    fn take_turn(&mut self, text: String) -> Outcome {
        self.messages.push(Message::new("user", &text));
        match self.answer() {
            Ok(answer) => self.messages.push(Message::new("assistant", &answer)),
            Err(failure) => {
                self.messages.pop();
                show_failure(&failure);
            }
        }
        Ok(())
    }

    /// Streams the answer to the conversation and gives it.
    fn answer(&self) -> Result<String, Failure> {
        let system = self.settings.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain(self.messages.iter().cloned()).collect();
        let tokens = self.session.tokens_of_messages(&messages)?;
        let wishes = Wishes {
            sampling: self.settings.sampling.over(self.session.default_sampling())?,
            max_tokens: self.settings.max_tokens,
            logprobs: None,
        };
        interrupt::forget();
        let mut out = std::io::stdout().lock();
        let answer = self.session.answer(&tokens, &wishes, &mut |text| {
            out.write_all(text.as_bytes())?;
            out.flush()
        })?;
        let note = if answer.was_interrupted { " (stopped)" } else { "" };
        writeln!(out, "{note}\n")?;
        if answer.finish_reason == "length" {
            writeln!(out, "(the answer reached its longest length)\n")?;
        }
        if self.settings.is_verbose {
            writeln!(out, "{}\n", report(&answer))?;
        }
        interrupt::forget();
        Ok(answer.text)
    }

    /// A line that begins with `/`; false when the user leaves.
    fn command(&mut self, line: &str) -> Result<bool, Failure> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match name {
            "/bye" | "/exit" | "/quit" => return Ok(false),
            "/help" | "/?" => println!("{HELP}"),
            "/clear" => {
                self.messages.clear();
                println!("The conversation is forgotten.");
            }
            "/set" => self.set(rest),
            "/show" => self.show(rest),
            "/load" => self.load(rest),
            "/regenerate" => self.regenerate()?,
            _ => println!(
                "There is no command `{name}`; /help lists them. A message cannot begin with `/`: put a space before it."
            ),
        }
        Ok(true)
    }

    fn set(&mut self, what: &str) {
        let (name, rest) = what.split_once(char::is_whitespace).unwrap_or((what, ""));
        match name {
            "system" => {
                let text = rest.trim().trim_matches('"');
                self.settings.system = (!text.is_empty()).then(|| text.to_owned());
                println!("{}", if text.is_empty() { "No system message." } else { "The system message is set." });
            }
            "verbose" => self.settings.is_verbose = true,
            "quiet" => self.settings.is_verbose = false,
            "parameter" => match rest.trim().split_once(char::is_whitespace) {
                Some(("max_tokens" | "num_predict", value)) => match value.trim().parse() {
                    Ok(count) => self.settings.max_tokens = Some(count),
                    Err(_) => println!("`{value}` is not a number of the right kind"),
                },
                Some((name, value)) => self.set_parameter(name, value.trim()),
                None => {
                    println!("usage: /set parameter NAME VALUE, with NAME one of max_tokens, {}", PARAMETERS.join(", "))
                }
            },
            _ => println!("usage: /set system TEXT, /set parameter NAME VALUE, /set verbose or /set quiet"),
        }
    }

    fn set_parameter(&mut self, name: &str, value: &str) {
        let mut sampling = self.settings.sampling.clone();
        if let Err(message) = sampling.set(name, value) {
            println!("{message}");
            return;
        }
        match sampling.over(self.session.default_sampling()) {
            Ok(_) => {
                self.settings.sampling = sampling;
                println!("{name} is {value}.");
            }
            Err(failure) => println!("{}", failure.cause),
        }
    }

    fn show(&self, what: &str) {
        match what {
            "info" => println!("{}\n{}", self.located.path.display(), self.session.summary()),
            "parameters" => match self.settings.sampling.over(self.session.default_sampling()) {
                Ok(sampling) => {
                    println!("temperature {}", sampling.temperature);
                    println!("top_k {}\ntop_p {}\nmin_p {}", sampling.top_k, sampling.top_p, sampling.min_p);
                    println!("typical_p {}\nrepeat_penalty {}", sampling.typical_p, sampling.repeat_penalty);
                    println!("presence_penalty {}", sampling.presence_penalty);
                    println!("frequency_penalty {}", sampling.frequency_penalty);
                    println!("repeat_last_n {}", sampling.penalty_last_n);
                    println!("seed {}", sampling.seed.map_or("another each time".to_owned(), |seed| seed.to_string()));
                    println!(
                        "max_tokens {}",
                        self.settings.max_tokens.map_or("none".to_owned(), |count| count.to_string())
                    );
                }
                Err(failure) => println!("{}", failure.cause),
            },
            "system" => println!("{}", self.settings.system.as_deref().unwrap_or("No system message.")),
            "template" => println!("{}", self.session.template_source().unwrap_or("The model has no chat template.")),
            "history" => {
                for message in &self.messages {
                    println!("{}: {}", message.role, message.content);
                }
            }
            _ => println!("usage: /show info, parameters, system, template or history"),
        }
    }

    /// Loads another model; the old one stays if that fails.
    fn load(&mut self, model: &str) {
        if model.is_empty() {
            println!("usage: /load MODEL");
            return;
        }
        let loaded = locate::locate(Some(model), false)
            .and_then(|located| Session::load(&located, &self.settings.load).map(|session| (located, session)));
        match loaded {
            Ok((located, session)) => {
                (self.located, self.session) = (located, session);
                println!("{} ({}).", self.located.name, self.session.summary());
            }
            Err(failure) => show_failure(&failure),
        }
    }

    fn regenerate(&mut self) -> Outcome {
        if self.messages.last().is_some_and(|message| message.role == "assistant") {
            self.messages.pop();
        }
        match self.messages.pop() {
            Some(message) => self.take_turn(message.content),
            None => {
                println!("There is no message to answer again.");
                Ok(())
            }
        }
    }
}

fn show_failure(failure: &Failure) {
    println!("error: {}", failure.cause);
    if let Some(hint) = &failure.hint {
        println!("hint: {hint}");
    }
}

fn terminal_failure(error: ReadlineError) -> Failure {
    Failure::new(crate::failure::ExitCode::Other, format!("the terminal cannot be read: {error}"))
}
