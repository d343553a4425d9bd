//! Who is let in: the one place where a request meets the keys, their scopes and their limits. Nothing is let in that is not
//! in the list of routes with what it needs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::http::{HeaderMap, Method, header};
use lair_engine::PrefixScope;
use tokio::sync::OwnedSemaphorePermit;

use crate::caller::Caller;
use crate::dialects;
use crate::dialects::route::Needs;
use crate::error::{ApiError, ErrorKind};
use crate::keys::{ApiKey, Key};
use crate::rate_limit::FAILURE_DELAY;
use crate::request_log::Trace;
use crate::server::App;

/// A request that may be answered.
pub(crate) struct Admission {
    /// Who asks.
    pub(crate) caller: Caller,
    /// One of the requests that its key may have at a time.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// A request that is not let in.
pub(crate) struct Refused {
    /// Why.
    pub(crate) error: ApiError,
    /// The key whose limits it met: the client is told what is left of them.
    pub(crate) key: Option<Arc<Key>>,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Refused {
        Refused { error, key: None }
    }
}

/// What is looked at to decide.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
    /// As it stands in the list of routes; `None` for a path that is not there.
    pub(crate) route: Option<&'r str>,
    /// Where the request comes from.
    pub(crate) client: IpAddr,
}

/// Checks the host, the origin, the key, what the key may do and how much.
pub(crate) async fn admit(app: &App, asked: Asked<'_>, trace: &Arc<Trace>) -> Result<Admission, Refused> {
    let Asked { method, headers, route, client } = asked;
    app.options.access.check(method, headers, app.options.address)?;
    let needs = needs_of(method, route);
    let mut caller = Caller { trace: Some(Arc::clone(trace)), ..Caller::default() };
    if needs == Needs::Nothing || !app.keys.is_demanded() {
        return Ok(Admission { caller, place: None });
    }
    let text = shown_key(headers).ok_or_else(|| {
        ApiError::new(ErrorKind::Unauthorized, "this server asks for a key")
            .with_hint("send it as `Authorization: Bearer KEY`".to_owned())
    })?;
    let key = match app.keys.find(text, SystemTime::now()) {
        Ok(key) => key,
        Err(error) => {
            if app.wrong_keys.note(client, Instant::now()) {
                tokio::time::sleep(FAILURE_DELAY).await;
            }
            return Err(error.into());
        }
    };
    trace.note_key(&key.name);
    check_scope(&key, needs)?;
    let place = match key.limiter.admit(Instant::now()) {
        Ok(place) => place,
        Err(error) => return Err(Refused { error, key: Some(key) }),
    };
    caller.scope = ApiKey::new(text).map(|key| PrefixScope(key.digest())).unwrap_or_default();
    caller.key = Some(key);
    Ok(Admission { caller, place })
}

/// What a route needs. What is no route is answered, with 404 or 405, only to those who have a key.
fn needs_of(method: &Method, route: Option<&str>) -> Needs {
    // A browser asks what a page may send before it sends the key.
    if method == Method::OPTIONS {
        return Needs::Nothing;
    }
    route.and_then(|route| dialects::needs_of(method, route)).unwrap_or(Needs::Key)
}

fn check_scope(key: &Key, needs: Needs) -> Result<(), ApiError> {
    match needs {
        Needs::Scope(scope) if !key.rules.allows(scope) => {
            let cause = format!("the key `{}` has no scope `{scope}`, which this needs", key.name);
            let has: Vec<&str> = key.rules.scopes.iter().map(|scope| scope.name()).collect();
            Err(ApiError::new(ErrorKind::Forbidden, cause).with_hint(format!("it has {}", has.join(", "))))
        }
        _ => Ok(()),
    }
}

/// The key in one of the two headers that clients send it in.
fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    });
    let shown = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()));
    shown.map(str::trim).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeyRules, Scope};
    use crate::rate_limit::Limiter;

    #[test]
    fn what_is_no_route_needs_a_key_and_only_health_needs_none() {
        let needs = |method: Method, route| needs_of(&method, route);
        assert_eq!(needs(Method::GET, Some("/health")), Needs::Nothing);
        assert_eq!(needs(Method::HEAD, Some("/health")), Needs::Nothing);
        assert_eq!(needs(Method::OPTIONS, Some("/api/delete")), Needs::Nothing);
        assert_eq!(needs(Method::GET, None), Needs::Key);
        assert_eq!(needs(Method::PUT, Some("/health")), Needs::Key);
        assert_eq!(needs(Method::DELETE, Some("/api/delete")), Needs::Scope(Scope::ModelsWrite));
        assert_eq!(needs(Method::POST, Some("/v1/chat/completions")), Needs::Scope(Scope::Chat));
        assert_eq!(needs(Method::HEAD, Some("/v1/models")), Needs::Scope(Scope::ModelsRead));
    }

    #[test]
    fn a_key_without_the_scope_is_told_which() {
        let rules = KeyRules { scopes: vec![Scope::Chat], ..KeyRules::unlimited() };
        let key = Key { name: "ci".to_owned(), limiter: Limiter::of(&rules).into(), rules };
        assert_eq!(check_scope(&key, Needs::Key), Ok(()));
        assert_eq!(check_scope(&key, Needs::Scope(Scope::Chat)), Ok(()));
        let error = check_scope(&key, Needs::Scope(Scope::ModelsWrite)).expect_err("it lacks it");
        assert!(error.status() == 403 && error.text().contains("`models:write`"), "{error}");
    }

    #[test]
    fn keys_stand_in_two_headers() {
        for (name, value, expected) in [
            ("authorization", "Bearer a", Some("a")),
            ("authorization", "bearer  a ", Some("a")),
            ("authorization", "Basic a", None),
            ("authorization", "Bearer ", None),
            ("x-api-key", "a", Some("a")),
            ("x-api-key", "", None),
            ("cookie", "a", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header"));
            assert_eq!(shown_key(&headers), expected, "{name}: {value}");
        }
    }
}
