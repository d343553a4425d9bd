//! JSON as Go's `json.Encoder` writes it, byte for byte, so that a blob made here has the digest that Ollama's would have:
//! no blanks, `<`, `>` and `&` escaped, a line end behind the value.

use serde_json::Value as Json;

/// The bytes of a value. Objects keep the order of their fields.
pub(crate) fn to_bytes(value: &Json) -> Vec<u8> {
    let mut text = String::new();
    push_value(&mut text, value);
    text.push('\n');
    text.into_bytes()
}

fn push_value(text: &mut String, value: &Json) {
    match value {
        Json::Null => text.push_str("null"),
        Json::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) => text.push_str(&float_text(number)),
            None => text.push_str(&number.to_string()),
        },
        Json::String(string) => push_string(text, string),
        Json::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                push_value(text, item);
            }
            text.push(']');
        }
        Json::Object(fields) => {
            text.push('{');
            for (index, (name, field)) in fields.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                push_string(text, name);
                text.push(':');
                push_value(text, field);
            }
            text.push('}');
        }
    }
}

fn push_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                text.push_str(&format!("\\u{:04x}", character as u32));
            }
            _ => text.push(character),
        }
    }
    text.push('"');
}

/// The shortest digits that read back as the same number; with an exponent below 1e-6 and from 1e21.
pub(crate) fn float_text(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_go_writes() {
        let value = serde_json::json!({
            "stop": ["<|im_end|>", "a\"b\\c\n\t\u{1}\u{2028}é"], "temperature": 0.3, "one": 1.0, "big": 1e21,
            "small": 1e-7, "whole": 4096, "yes": true, "none": null
        });
        let expected = concat!(
            r#"{"stop":["\u003c|im_end|\u003e","a\"b\\c\n\t\u0001\u2028é"],"temperature":0.3,"one":1,"big":1e+21,"#,
            r#""small":1e-7,"whole":4096,"yes":true,"none":null}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(to_bytes(&value)).expect("UTF-8"), expected);
    }
}
