//! Functionary 3.2: each part of an answer begins with whom it is for.
//!
//! Source: the chat template of Functionary medium 3.2. The prompt ends with `>>>`.

use crate::output::tools::ToolSyntax;
use crate::output::tools::reading::{CallStyle, Form, Header, NamedStyle, Place};
use crate::output::tools::written::Written;

const CALL: NamedStyle = NamedStyle { open: "", header, close: &[] };
const STYLES: &[CallStyle] = &[CallStyle::Named(&CALL)];

pub(super) const FUNCTIONARY_RECIPIENT: ToolSyntax = ToolSyntax {
    name: "functionary-recipient",
    example: ">>>weather\n{\"city\": \"Rome\"}",
    signs: &[&["recipient==all"], &["'>>>'"], &["\">>>all"]],
    drops: &[(Place::Start, "all\n"), (Place::Anywhere, ">>>all\n")],
    forms: &[
        Form { open: ">>>", styles: STYLES, is_strict: true, ..Form::ANYWHERE },
        Form { place: Place::Start, styles: STYLES, is_strict: true, ..Form::ANYWHERE },
    ],
    written: Written::each("NAME\nARGUMENTS", ">>>"),
    ..ToolSyntax::PLAIN
};

/// The first line.
fn header(text: &str) -> Option<Header> {
    let (name, rest) = text.split_once('\n')?;
    rest.trim().is_empty().then(|| Header { name: name.trim().to_owned(), ..Header::default() })
}
