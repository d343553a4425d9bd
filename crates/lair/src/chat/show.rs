//! `/show`: what the model is, and how it is set.

use lair_store::modelfile::Parameters;

use super::Chat;
use super::help::help;
use crate::answer_printer::visible;
use crate::failure::Failure;
use crate::session::Session;

impl Chat {
    /// Runs `/show WHAT`.
    pub(super) fn show(&self, what: &str) {
        let text = match what {
            "info" => self.session().and_then(Session::info),
            "license" | "licence" => self.license(),
            "modelfile" => self.located.modelfile(),
            "parameters" => self.parameters(),
            "system" => Ok(self.system()),
            "template" => self.session().map(|session| match session.template_source() {
                Some(source) => visible(source).trim_end().to_owned(),
                None => "No prompt template was specified for this model.".to_owned(),
            }),
            "history" => Ok(self.history()),
            "" => Ok(help("show").unwrap_or_default()),
            _ => Ok(format!("Unknown command '/show {what}'. Type /? for help")),
        };
        match text {
            Ok(text) => println!("{text}\n"),
            Err(failure) => super::show_failure(&failure),
        }
    }

    fn license(&self) -> Result<String, Failure> {
        let stored = self.located.settings.licenses.join("\n\n");
        let text = if stored.is_empty() { self.session()?.license().unwrap_or_default() } else { stored };
        Ok(match text.trim_end() {
            "" => "No license was specified for this model.".to_owned(),
            text => visible(text),
        })
    }

    fn parameters(&self) -> Result<String, Failure> {
        let section = |title: &str, parameters: &Parameters| {
            let lines = parameters.lines().into_iter().map(|(name, value)| format!("  {name:<22} {}", visible(&value)));
            let lines: Vec<String> = lines.collect();
            let body = if lines.is_empty() { "  none".to_owned() } else { lines.join("\n") };
            format!("{title}\n{body}")
        };
        let mut text = section("User defined parameters:", &self.settings.parameters);
        text += &format!("\n\n{}", section("Model defined parameters:", &self.located.settings.parameters));
        let sampling = self.sampling()?;
        text += "\n\nIn effect:";
        for (name, value) in [
            ("temperature", sampling.temperature.to_string()),
            ("top_k", sampling.top_k.to_string()),
            ("top_p", sampling.top_p.to_string()),
            ("min_p", sampling.min_p.to_string()),
            ("typical_p", sampling.typical_p.to_string()),
            ("mirostat", sampling.mirostat.map_or("0".to_owned(), |mirostat| mirostat.to_string())),
            ("repeat_penalty", sampling.repeat_penalty.to_string()),
            ("presence_penalty", sampling.presence_penalty.to_string()),
            ("frequency_penalty", sampling.frequency_penalty.to_string()),
            ("repeat_last_n", sampling.penalty_last_n.to_string()),
            ("seed", sampling.seed.map_or("another each time".to_owned(), |seed| seed.to_string())),
            ("num_predict", self.max_tokens().map_or("-1".to_owned(), |count| count.to_string())),
            ("num_ctx", self.session()?.context_length().to_string()),
        ] {
            text += &format!("\n  {name:<22} {value}");
        }
        Ok(text)
    }

    fn system(&self) -> String {
        match (&self.settings.system, &self.located.settings.system) {
            (Some(text), _) => format!("User defined system:\n{text}"),
            (None, Some(text)) => format!("Model defined system:\n{}", visible(text)),
            (None, None) => "No system message was specified for this model.".to_owned(),
        }
    }

    fn history(&self) -> String {
        let line = |message: &crate::session::Message| format!("{}: {}", message.role, visible(&message.content));
        let lines: Vec<String> = self.messages.iter().map(line).collect();
        if lines.is_empty() { "Nothing was said yet.".to_owned() } else { lines.join("\n") }
    }
}
