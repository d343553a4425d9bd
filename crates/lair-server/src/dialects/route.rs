//! A route as data: the router serves what these say, and `/openapi.json` describes it.

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::{self, MethodRouter};

use super::{error_response, read_body};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::keys::Scope;
use crate::server::SharedApp;

/// What a field of a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string.
    Text,
    /// A number.
    Number,
    /// A number without a fraction.
    Whole,
    /// `true` or `false`.
    Switch,
    /// An array.
    List,
    /// An object.
    Object,
    /// A string or an array of strings.
    Texts,
    /// More than one of these.
    Mixed,
}

/// A field of a body: its name, what it holds, whether it must be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) is_required: bool,
}

impl Field {
    /// A field that may be left out.
    pub(crate) const fn new(name: &'static str, kind: Kind) -> Field {
        Field { name, kind, is_required: false }
    }

    /// A field that must be there.
    pub(crate) const fn required(name: &'static str, kind: Kind) -> Field {
        Field { name, kind, is_required: true }
    }
}

/// What a client must show to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: whether the server is alive may be asked by watchdogs, which have no key.
    Nothing,
    /// A key, whatever it may do.
    Key,
    /// A key that may do this.
    Scope(Scope),
}

impl From<Scope> for Needs {
    fn from(scope: Scope) -> Needs {
        Needs::Scope(scope)
    }
}

/// One method of one path. Who may use it is said first, so that no route can be without it.
pub(crate) struct Route {
    /// What a client must show where keys are asked for.
    pub(crate) needs: Needs,
    /// In lower case, as OpenAPI writes it.
    pub(crate) method: &'static str,
    /// Parameters in braces.
    pub(crate) path: &'static str,
    /// What it is for, in one sentence.
    pub(crate) summary: &'static str,
    /// The fields of its body, in lists that routes share; none if it takes no body.
    pub(crate) fields: &'static [&'static [Field]],
    /// What answers.
    pub(crate) handler: MethodRouter<SharedApp>,
}

impl Route {
    pub(crate) fn get<H, T>(needs: impl Into<Needs>, path: &'static str, summary: &'static str, handler: H) -> Route
    where
        H: Handler<T, SharedApp>,
        T: 'static,
    {
        let needs = needs.into();
        Route { needs, method: "get", path, summary, fields: &[], handler: routing::get(handler) }
    }

    pub(crate) fn post<H, T>(
        needs: impl Into<Needs>,
        path: &'static str,
        summary: &'static str,
        fields: &'static [&'static [Field]],
        handler: H,
    ) -> Route
    where
        H: Handler<T, SharedApp>,
        T: 'static,
    {
        let needs = needs.into();
        Route { needs, method: "post", path, summary, fields, handler: routing::post(handler) }
    }

    pub(crate) fn delete<H, T>(
        needs: impl Into<Needs>,
        path: &'static str,
        summary: &'static str,
        fields: &'static [&'static [Field]],
        handler: H,
    ) -> Route
    where
        H: Handler<T, SharedApp>,
        T: 'static,
    {
        let needs = needs.into();
        Route { needs, method: "delete", path, summary, fields, handler: routing::delete(handler) }
    }

    pub(crate) fn head<H, T>(needs: impl Into<Needs>, path: &'static str, summary: &'static str, handler: H) -> Route
    where
        H: Handler<T, SharedApp>,
        T: 'static,
    {
        let needs = needs.into();
        Route { needs, method: "head", path, summary, fields: &[], handler: routing::head(handler) }
    }
}

/// The fields of a request's body.
pub(crate) async fn fields_of(app: &SharedApp, request: Request) -> Result<Fields, ApiError> {
    Fields::parse(&read_body(app, request).await?)
}

/// An answer, or the error in the words of the dialect that `path` belongs to.
pub(crate) fn spoken(path: &str, answered: Result<Response, ApiError>) -> Response {
    answered.unwrap_or_else(|error| error_response(path, &error))
}

/// A parameter of a request's query, percent-decoded; `None` if it is not there or no text.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&');
    let value = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(rest.next()?)? * 16 + digit(rest.next()?)?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded() {
        let uri: Uri = "/slots?model=a%2Fb%3Ac&x=1+2&bad=%f&cut=%ff".parse().expect("a path");
        assert_eq!(parameter(&uri, "model").as_deref(), Some("a/b:c"));
        assert_eq!(parameter(&uri, "x").as_deref(), Some("1 2"));
        for name in ["bad", "cut", "y", ""] {
            assert_eq!(parameter(&uri, name), None, "{name}");
        }
    }
}
