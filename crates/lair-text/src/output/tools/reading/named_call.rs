//! A name, something between, and the arguments as JSON: `[TOOL_CALLS]weather[ARGS]{"city": "Rome"}`.

use super::json_text::{JsonText, Scan};
use super::{Calls, Step, ToolSet, is_name};

/// Bytes before the arguments.
const HEADER_BYTES_MAX: usize = 512;

/// How what stands before the arguments is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::output::tools) struct NamedStyle {
    /// What begins a call; may be empty, where what begins the region begins the one call in it.
    pub open: &'static str,
    /// Takes the name, and the model's own id, out of what stands between that and the arguments.
    pub header: fn(&str) -> Option<Header>,
    /// What may stand behind the arguments. The last of these also ends a call without arguments.
    pub close: &'static [&'static str],
}

/// Who is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::output::tools) struct Header {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Debug)]
enum State {
    Header(String),
    Arguments(JsonText),
}

/// Reads one call, behind what opens it.
#[derive(Clone, Debug)]
pub(super) struct NamedCall {
    style: &'static NamedStyle,
    is_strict: bool,
    state: State,
}

impl NamedCall {
    pub(super) fn new(style: &'static NamedStyle, is_strict: bool) -> NamedCall {
        NamedCall { style, is_strict, state: State::Header(String::new()) }
    }

    pub(super) fn push(&mut self, c: char, tools: &ToolSet, calls: &mut Calls) -> Step {
        let (style, is_strict) = (self.style, self.is_strict);
        let header = |text: &str| {
            let header = (style.header)(text)?;
            (is_name(&header.name) && (!is_strict || tools.has(&header.name))).then_some(header)
        };
        match &mut self.state {
            State::Header(text) if c == '{' => {
                let Some(header) = header(text) else { return Step::Broken };
                calls.begin(header.id, header.name);
                self.state = State::Arguments(JsonText::new());
                self.push(c, tools, calls)
            }
            State::Header(text) => {
                text.push(c);
                let without = style.close.last().and_then(|close| text.strip_suffix(close));
                if let Some(header) = without.and_then(header) {
                    calls.whole(header.id, header.name, "{}");
                    return Step::Done;
                }
                // Where nothing but the name tells a call from text, text is let go at once.
                let can_be = !is_strict || tools.can_begin(text.trim_start());
                if text.len() > HEADER_BYTES_MAX || !can_be { Step::Broken } else { Step::More }
            }
            State::Arguments(text) => {
                let mut out = String::new();
                let scan = text.push(c, &mut out);
                calls.arguments(&out);
                match scan {
                    Scan::More => Step::More,
                    Scan::Done => {
                        calls.end();
                        Step::Done
                    }
                    Scan::DoneBefore | Scan::Broken => Step::Broken,
                }
            }
        }
    }
}
