//! The chat on the terminal: Ollama's commands and confirmations over a session.

mod help;
mod reader;
mod set;
mod show;

use std::io::Write;
use std::time::Duration;

use lair_engine::Sampling;
use lair_store::modelfile::Parameters;
use lair_text::grammar::GrammarSource;

use crate::answer_printer::{AnswerLook, AnswerPrinter, visible};
use crate::failure::{ExitCode, Failure, Outcome};
use crate::interrupt;
use crate::locate::{self, Located};
use crate::parameters;
use crate::pictures::{refuse_pictures, words};
use crate::sampling::SamplingArgs;
use crate::session::{Answer, LoadOptions, Message, Session, Think, Wishes};
use crate::stored_model::Changes;
use crate::timings::timings;
use help::help;
use reader::{Input, Reader};

/// What can be changed in a chat.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the model is told before the conversation, in place of what it brings itself.
    pub system: Option<String>,
    /// How tokens are chosen, as the command line says.
    pub sampling: SamplingArgs,
    /// Longest answer in tokens, as the command line says.
    pub max_tokens: Option<usize>,
    /// Texts that end an answer, as the command line says; none leaves them to the model.
    pub stop: Vec<String>,
    /// What was set with `/set parameter`; it goes over the command line.
    pub parameters: Parameters,
    /// How models are loaded, as the command line says.
    pub load: LoadOptions,
    /// Whether, and how hard, the model is to think.
    pub think: Think,
    /// What answers must be.
    pub format: Option<GrammarSource>,
    /// Whether reasoning is left out.
    pub hides_reasoning: bool,
    /// Whether lines are broken between words.
    pub wraps_words: bool,
    /// Whether figures follow each answer.
    pub is_verbose: bool,
}

/// A running chat.
struct Chat {
    reader: Reader,
    located: Located,
    /// Absent only after neither another model nor the present one could be loaded.
    loaded: Option<Session>,
    settings: Settings,
    /// The conversation, without the system message; it begins with what the model brings.
    messages: Vec<Message>,
    /// How long the last loading took, until an answer's figures have said it.
    load: Duration,
}

/// Chats until the user leaves.
pub fn chat(located: Located, session: Session, settings: Settings) -> Outcome {
    let reader = Reader::new(locate::history_file()?)?;
    let load = session.load_duration();
    let mut chat = Chat { reader, located, loaded: Some(session), settings, messages: Vec::new(), load };
    let outcome = chat.begin().and_then(|()| chat.converse());
    chat.reader.save_history();
    outcome
}

impl Chat {
    fn converse(&mut self) -> Outcome {
        loop {
            match self.reader.read()? {
                Input::Dropped => println!("\nUse Ctrl + d or /bye to exit."),
                Input::End => {
                    println!();
                    return Ok(());
                }
                Input::Text(text) if text.trim().is_empty() => {}
                Input::Text(text) if is_command(&text) => {
                    if !self.command(text.trim()) {
                        return Ok(());
                    }
                }
                Input::Text(text) => self.take_turn(text)?,
            }
        }
    }

    fn session(&self) -> Result<&Session, Failure> {
        let nothing = || Failure::new(ExitCode::NotFound, "no model is loaded").with_hint("/load MODEL".to_owned());
        self.loaded.as_ref().ok_or_else(nothing)
    }

    /// Begins the conversation anew, with the messages that the model brings.
    fn begin(&mut self) -> Outcome {
        println!("{} ({}). /? for help.", self.located.name, self.session()?.summary());
        self.messages = self.located.messages();
        for message in &self.messages {
            let text = visible(&message.content);
            match message.role.as_str() {
                "user" => println!(">>> {text}"),
                _ => println!("{text}\n"),
            }
        }
        Ok(())
    }

    /// A message of the user and the answer to it. A failure is shown; the chat goes on without the message.
    fn take_turn(&mut self, text: String) -> Outcome {
        if let Err(failure) = refuse_pictures(&text) {
            show_failure(&failure);
            return Ok(());
        }
        self.messages.push(Message::new("user", &text));
        match self.answer() {
            Ok(answer) => self.messages.push(Message::new("assistant", &answer.text)),
            Err(failure) => {
                self.messages.pop();
                show_failure(&failure);
            }
        }
        Ok(())
    }

    /// Streams the answer to the conversation and gives it.
    fn answer(&mut self) -> Result<Answer, Failure> {
        let system = self.settings.system.as_ref().or(self.located.settings.system.as_ref());
        let system = system.filter(|text| !text.is_empty()).map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.into_iter().chain(self.messages.iter().cloned()).collect();
        let session = self.session()?;
        let prompt = session.prompt_of_messages(&messages, self.settings.think)?;
        let wishes = Wishes {
            sampling: self.sampling()?,
            max_tokens: self.max_tokens(),
            stop: self.stop(),
            logprobs: None,
            format: self.settings.format.clone(),
        };
        interrupt::forget();
        let mut out = std::io::stdout().lock();
        let look = AnswerLook::of_terminal(self.settings.wraps_words, self.settings.hides_reasoning);
        let mut printer = AnswerPrinter::new(&mut out, look);
        let answer = session.answer(&prompt, &wishes, &mut |channel, text| printer.write(channel, text));
        printer.finish()?;
        writeln!(out, "\n")?;
        let answer = answer?;
        if answer.finish_reason == "length" {
            writeln!(out, "(the answer reached its longest length)\n")?;
        }
        if self.settings.is_verbose {
            writeln!(out, "{}\n", timings(&answer, std::mem::take(&mut self.load)))?;
        }
        interrupt::forget();
        Ok(answer)
    }

    /// How tokens are chosen: what was set here, over the command line, over the model's parameters, over its file's.
    fn sampling(&self) -> Result<Sampling, Failure> {
        let session = self.session()?;
        let sampling = self.settings.sampling.over(session.default_sampling())?;
        parameters::sampling(&self.settings.parameters, &sampling, session.context_length())
    }

    fn max_tokens(&self) -> Option<usize> {
        let of_model = || parameters::max_tokens(&self.located.settings.parameters);
        match self.settings.parameters.get("num_predict") {
            Some(_) => parameters::max_tokens(&self.settings.parameters),
            None => self.settings.max_tokens.or_else(of_model),
        }
    }

    fn stop(&self) -> Vec<String> {
        let wishes = [self.settings.parameters.stop(), &self.settings.stop, self.located.settings.parameters.stop()];
        wishes.into_iter().find(|stop| !stop.is_empty()).unwrap_or_default().to_vec()
    }

    /// A line that begins with `/`; false when the user leaves.
    fn command(&mut self, line: &str) -> bool {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match name {
            "/bye" | "/exit" | "/quit" => return false,
            "/help" | "/?" => match help(rest) {
                Some(text) => println!("{text}\n"),
                None => println!("There is no help on '{rest}'. Type /? for the commands"),
            },
            "/clear" => {
                self.messages.clear();
                println!("Cleared session context");
            }
            "/set" => self.set(rest),
            "/show" => self.show(rest),
            "/load" => self.load(rest),
            "/save" => self.save(rest),
            "/regenerate" => self.regenerate(),
            _ => println!("Unknown command '{name}'. Type /? for help"),
        }
        true
    }

    /// Goes on with another model and a new conversation; if that fails, with the old ones.
    fn load(&mut self, model: &str) {
        if model.is_empty() || model.contains(char::is_whitespace) {
            println!("Usage:\n  /load <modelname>");
            return;
        }
        println!("Loading model '{model}'");
        let parameters = self.settings.parameters.clone();
        let outcome = locate::locate(Some(model), false).and_then(|located| self.switch_to(located, parameters));
        if let Err(failure) = outcome.and_then(|()| self.begin()) {
            show_failure(&failure);
        }
    }

    /// Loads a model with these parameters in the place of the present one. Two models at once may not fit into memory, so
    /// the present one goes first, and comes back if the other cannot be loaded.
    fn switch_to(&mut self, located: Located, parameters: Parameters) -> Outcome {
        let wanted = located.load_options(&parameters, &self.settings.load)?;
        if let Some(session) = self.loaded.take() {
            session.unload();
        }
        match Session::load(&located, &wanted) {
            Ok(session) => {
                self.load = session.load_duration();
                (self.located, self.loaded, self.settings.parameters) = (located, Some(session), parameters);
                Ok(())
            }
            Err(failure) => {
                let present = self.located.load_options(&self.settings.parameters, &self.settings.load)?;
                self.loaded = Some(Session::load(&self.located, &present)?);
                Err(failure)
            }
        }
    }

    fn save(&mut self, name: &str) {
        if name.is_empty() || name.contains(char::is_whitespace) {
            println!("Usage:\n  /save <modelname>");
            return;
        }
        let changes = Changes {
            system: self.settings.system.clone(),
            parameters: self.settings.parameters.clone(),
            messages: self.messages.clone(),
        };
        match self.located.save_as(name, changes) {
            Ok(()) => println!("Created new model '{name}'"),
            Err(failure) => show_failure(&failure),
        }
    }

    fn regenerate(&mut self) {
        let is_answered = self.messages.last().is_some_and(|message| message.role == "assistant");
        if is_answered {
            self.messages.pop();
        }
        if self.messages.last().is_none_or(|message| message.role != "user") {
            println!("There is no message to answer again.");
            return;
        }
        match self.answer() {
            Ok(answer) => self.messages.push(Message::new("assistant", &answer.text)),
            Err(failure) => show_failure(&failure),
        }
    }
}

/// Whether a line is a command and not a message that begins with the path of a file.
fn is_command(line: &str) -> bool {
    let first = words(line).into_iter().next().unwrap_or_default();
    line.starts_with('/') && !(first[1..].contains('/') && std::path::Path::new(&first).exists())
}

fn show_failure(failure: &Failure) {
    println!("error: {}", failure.cause);
    for line in &failure.details {
        println!("{line}");
    }
    if let Some(hint) = &failure.hint {
        println!("hint: {hint}");
    }
}
