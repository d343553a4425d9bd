//! The fields of a JSON body, taken one by one. What is taken is honoured or refused; what nobody takes is named in a
//! header of the answer, so nothing is dropped in silence.

use serde_json::{Map, Value as Json};

use crate::error::{ApiError, ErrorKind};

/// The top level of a request body.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Json>,
}

impl Fields {
    /// Reads a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Fields, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Json::Object(map)) => Ok(Fields { map }),
            Ok(other) => Err(ApiError::new(
                ErrorKind::BadRequest,
                format!("the body is {}, an object is expected", kind(&other)),
            )),
            Err(error) => Err(ApiError::new(ErrorKind::BadRequest, format!("the body is not valid JSON: {error}"))),
        }
    }

    /// The fields of an object inside a body.
    pub(crate) fn of(map: Map<String, Json>) -> Fields {
        Fields { map }
    }

    /// Whether a field is there, be it as `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A field, whatever it holds; `null` is the same as nothing.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// Puts a field there, for what takes it next.
    pub(crate) fn put(&mut self, name: &str, value: Json) {
        self.map.insert(name.to_owned(), value);
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.take(name)
            .map(|value| match value {
                Json::String(text) => Ok(text),
                other => Err(wrong(name, &other, "a string")),
            })
            .transpose()
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, ApiError> {
        self.text(name)?.ok_or_else(|| ApiError::bad(name, format!("`{name}` is missing, a string is expected")))
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| wrong(name, &value, "a number"))? as f32;
        if !number.is_finite() {
            return Err(wrong(name, &value, "a number that is not so large"));
        }
        Ok(Some(number))
    }

    /// A whole number, as it is.
    pub(crate) fn whole(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        // Clients of untyped languages write 5 as 5.0.
        let whole =
            value.as_i64().or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9e15).map(|x| x as i64));
        whole.map(Some).ok_or_else(|| wrong(name, &value, "a whole number"))
    }

    /// A count from `least` to `most`.
    pub(crate) fn count(&mut self, name: &str, least: usize, most: usize) -> Result<Option<usize>, ApiError> {
        let Some(whole) = self.whole(name)? else { return Ok(None) };
        match usize::try_from(whole) {
            Ok(count) if (least..=most).contains(&count) => Ok(Some(count)),
            _ => Err(ApiError::bad(name, format!("`{name}` is {whole}, {least} to {most} expected"))),
        }
    }

    /// A yes or no.
    pub(crate) fn switch(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| wrong(name, &value, "true or false"))
    }

    /// A list.
    pub(crate) fn list(&mut self, name: &str) -> Result<Option<Vec<Json>>, ApiError> {
        self.take(name)
            .map(|value| match value {
                Json::Array(items) => Ok(items),
                other => Err(wrong(name, &other, "a list")),
            })
            .transpose()
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Map<String, Json>>, ApiError> {
        self.take(name)
            .map(|value| match value {
                Json::Object(map) => Ok(map),
                other => Err(wrong(name, &other, "an object")),
            })
            .transpose()
    }

    /// A text or a list of texts.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Json::String(text)) => Ok(vec![text]),
            Some(Json::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Json::String(text) => Ok(text),
                    other => Err(wrong(name, &other, "a string or a list of strings")),
                })
                .collect(),
            Some(other) => Err(wrong(name, &other, "a string or a list of strings")),
        }
    }

    /// Refuses a field that is known and not honoured, unless its value asks for nothing.
    pub(crate) fn refuse(&mut self, name: &str, why: &str) -> Result<(), ApiError> {
        match self.take(name) {
            Some(value) if !asks_for_nothing(&value) => {
                Err(ApiError::unsupported(name, format!("`{name}` is not supported: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// Takes fields that need no honouring, because they only describe the caller.
    pub(crate) fn accept(&mut self, names: &[&str]) {
        for name in names {
            self.map.remove(*name);
        }
    }

    /// The names nobody took.
    pub(crate) fn rest(self) -> Vec<String> {
        self.map.into_iter().map(|(name, _)| name).collect()
    }
}

fn asks_for_nothing(value: &Json) -> bool {
    match value {
        Json::Bool(is_on) => !is_on,
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::String(text) => text.is_empty(),
        _ => false,
    }
}

/// The error for a value of another kind.
pub(crate) fn wrong(name: &str, found: &Json, expected: &str) -> ApiError {
    ApiError::bad(name, format!("`{name}` is {}, {expected} is expected", kind(found)))
}

fn kind(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(_) => "a string".to_owned(),
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).expect("an object")
    }

    #[test]
    fn names_what_is_wrong_and_what_was_expected() {
        let mut body = fields(r#"{"t": "hot", "n": 1.5, "k": -3, "s": 7, "big": 1e300, "stop": ["a", 1]}"#);
        let message = |error: ApiError| (error.parameter.expect("a name"), error.message);
        assert_eq!(
            message(body.number("t").expect_err("a string")),
            ("t".to_owned(), "`t` is a string, a number is expected".to_owned())
        );
        assert!(message(body.whole("n").expect_err("a fraction")).1.contains("1.5"));
        assert_eq!(message(body.count("k", 0, 9).expect_err("negative")).1, "`k` is -3, 0 to 9 expected");
        assert!(message(body.text("s").expect_err("a number")).1.contains("`s` is 7"));
        assert!(body.number("big").is_err());
        assert!(body.texts("stop").is_err());
        assert!(Fields::parse(b"[1]").is_err() && Fields::parse(b"{").is_err() && Fields::parse(b"").is_err());
    }

    #[test]
    fn what_nobody_takes_is_left_and_null_is_nothing() {
        let mut body = fields(r#"{"a": null, "b": 5.0, "c": 1, "tools": [], "user": "x"}"#);
        assert_eq!(body.text("a"), Ok(None));
        assert_eq!(body.count("b", 0, 9), Ok(Some(5)));
        assert_eq!(body.refuse("tools", "no"), Ok(()));
        body.accept(&["user"]);
        assert_eq!(body.rest(), ["c"]);
        assert!(fields(r#"{"tools": [1]}"#).refuse("tools", "no").is_err());
    }
}
