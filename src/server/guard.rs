//! What every request passes before its handler: who makes it, whether they may, and the audit log.
//!
//! Who: an `Authorization` header is the credential where there is one, also over a connection that would be one by
//! itself; a token that is not (or no longer) valid is refused, never left out of account. What for: the route's
//! [`Rule`]. A caller who may see some VMs only is refused others as if they did not exist.
//!
//! An entry of the audit log is written when the handler has answered: its object is what the path names, unless the
//! handler knows better ([`Note`]). Refusals of callers who are known are entries, too.

use crate::admitted::Admission;
use crate::failure::Failure;
use crate::rules::{self, Deed, Reach, Rule};
use crate::service::PATIENCE;
use crate::state::State;
use api::{ApiError, Caller, ErrorCode, Peer};
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, header};
use hub::{Error, Hub, Missing};
use model::{BackupId, Role, VmName};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::timeout;

/// The longest token, with room for those of a later version.
const MAX_TOKEN: usize = 256;
/// The longest text that goes into the audit log from a request, in characters.
pub(crate) const MAX_DETAIL: usize = 300;

/// What a handler tells the audit log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Note(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    actor: Option<String>,
    object: Option<String>,
    detail: Option<String>,
    skip: bool,
}

impl Note {
    fn change(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Who it is, where no caller is known.
    pub(crate) fn actor(&self, actor: impl ToString) {
        self.change(|noted| noted.actor = Some(actor.to_string()));
    }

    /// What it is done to.
    pub(crate) fn object(&self, object: impl ToString) {
        self.change(|noted| noted.object = Some(object.to_string()));
    }

    /// More for a person.
    pub(crate) fn detail(&self, detail: impl ToString) {
        self.change(|noted| noted.detail = Some(detail.to_string().chars().take(MAX_DETAIL).collect()));
    }

    /// It was no deed after all: a dry run.
    pub(crate) fn skip(&self) {
        self.change(|noted| noted.skip = true);
    }
}

/// Lets a request through to its handler, or refuses it.
pub(crate) async fn guard(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let route = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let rule = route.as_deref().and_then(|route| rules::find(parts.method.as_str(), route));
    let Some(rule) = rule else {
        tracing::error!(?route, method = %parts.method, "a route without a rule is refused to everybody");
        return Failure(ApiError::new(ErrorCode::Forbidden, "nobody may do this")).into_response();
    };
    let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer::Process);
    let request_id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let params = params_of(&mut parts, &state).await;
    let token = match bearer(&parts.headers) {
        Bearer::Token(token) => Some(token.to_owned()),
        Bearer::None | Bearer::Other => None,
    };
    let (caller, refused) = match admit(&state, rule, &parts, &params).await {
        Ok(caller) => (caller, None),
        Err((caller, failure)) => (caller, Some(failure)),
    };
    let note = Note::default();
    let mut response = match refused {
        Some(failure) => failure.into_response(),
        None => {
            parts.extensions.remove::<Caller>();
            if let Some(caller) = &caller {
                parts.extensions.insert(caller.clone());
            }
            parts.extensions.insert(note.clone());
            next.run(Request::from_parts(parts, body)).await
        }
    };
    let outcome = outcome(&response);
    if let Some(deed) = deed(rule, caller.as_ref(), &params, &note) {
        state.hub.audit(hub::Deed { peer, request_id, outcome, ..deed }).await;
    }
    if let Some(caller) = caller {
        if let Some(token) = token {
            let admission = Admission { hub: state.hub.clone(), token, least: rule.least };
            response = admission.bound(&caller, response);
        }
        response.extensions_mut().insert(caller);
    }
    response
}

/// The parts of the path, by name.
type Params = Vec<(String, String)>;

async fn params_of(parts: &mut Parts, state: &State) -> Params {
    // What can't be decoded is refused by the handler, which says why.
    match RawPathParams::from_request_parts(parts, state).await {
        Ok(params) => params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        Err(_) => Params::new(),
    }
}

/// Who it is, where they may do it; none is needed for what everybody may.
async fn admit(
    state: &State,
    rule: &Rule,
    parts: &Parts,
    params: &Params,
) -> Result<Option<Caller>, (Option<Caller>, Failure)> {
    let Some(least) = rule.least else { return Ok(None) };
    let identified = if rule.looks_after_the_hub() {
        timeout(PATIENCE, identify(&state.hub, parts)).await.unwrap_or_else(|_| {
            let message = "the catalog does not answer, so it is not known who asks";
            Err(ApiError::new(ErrorCode::CatalogUnavailable, message)
                .hint("look at the catalog's server; /health needs no credentials")
                .into())
        })
    } else {
        identify(&state.hub, parts).await
    };
    let caller = identified.map_err(|failure| (None, failure))?;
    let refused = if caller.role < least {
        let message = format!("this needs the role {least}, and the caller's is {}", caller.role);
        Some(ApiError::new(ErrorCode::Forbidden, message).hint("ask an administrator of the hub").into())
    } else {
        reach(state, rule, &caller, params).await.err()
    };
    match refused {
        Some(failure) => Err((Some(caller), failure)),
        None => Ok(Some(caller)),
    }
}

async fn identify(hub: &Hub, parts: &Parts) -> Result<Caller, Failure> {
    let unauthorized = |message: &str| {
        let error = ApiError::new(ErrorCode::Unauthorized, message);
        Failure(
            error
                .hint("log in first: sendense-ctl hub login HUB (a URL, or a name of sendense-ctl hub list)"),
        )
    };
    match bearer(&parts.headers) {
        Bearer::None => match parts.extensions.get::<Caller>() {
            Some(caller) => Ok(caller.clone()),
            None => Err(unauthorized("this needs credentials")),
        },
        Bearer::Token(token) => match hub.caller_of(token).await? {
            Some(caller) => Ok(caller),
            None => Err(unauthorized("the token is not valid, or no longer")),
        },
        Bearer::Other => Err(unauthorized("one Authorization header is needed, as: Bearer TOKEN")),
    }
}

/// What an `Authorization` header says.
enum Bearer<'a> {
    None,
    Token(&'a str),
    /// Several headers, another scheme, or what is no token.
    Other,
}

fn bearer(headers: &HeaderMap) -> Bearer<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Bearer::None };
    if values.next().is_some() {
        return Bearer::Other;
    }
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if (1..=MAX_TOKEN).contains(&token.len()) => Bearer::Token(token),
        _ => Bearer::Other,
    }
}

/// Whether what the path names exists for the caller. What is not there at all is left to the handler, which says the
/// same of it; what can't be looked up is refused.
async fn reach(state: &State, rule: &Rule, caller: &Caller, params: &Params) -> Result<(), Failure> {
    let hub = &state.hub;
    let param = |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if let Reach::Mount(name) = rule.reach {
        return match found(hub.mounted(param(name).unwrap_or_default()).await)? {
            Some(mount) if !caller.sees(&mount.vm_name) => {
                Err(missing(Missing::Mount, param(name).unwrap_or_default()))
            }
            Some(mount) if rule.least == Some(Role::Restorer) && rule.method != "DELETE" => {
                state.keyed.check(&mount.mount_id, caller)
            }
            _ => Ok(()),
        };
    }
    if caller.vms.is_none() {
        return Ok(());
    }
    match rule.reach {
        Reach::None | Reach::Handler | Reach::Mount(_) => Ok(()),
        Reach::Hub => {
            let message = "this concerns the whole hub, and the token is for some VMs only";
            Err(ApiError::new(ErrorCode::Forbidden, message)
                .hint("ask an administrator of the hub for another token")
                .into())
        }
        Reach::Backups(names) => {
            for name in names {
                let id = param(name).unwrap_or_default();
                if let Ok(id) = BackupId::new(id)
                    && let Some(backup) = found(hub.backup(&id).await)?
                    && !caller.sees(&backup.vm_name)
                {
                    return Err(missing(Missing::Backup, id.as_str()));
                }
            }
            Ok(())
        }
        Reach::Vm(name) => match VmName::new(param(name).unwrap_or_default()) {
            Ok(vm) if !caller.sees(&vm) => Err(missing(Missing::Vm, vm.as_str())),
            _ => Ok(()),
        },
        Reach::Job(name) => {
            let id = param(name).unwrap_or_default();
            match found(hub.job(id).await)? {
                Some(job) if !job.vm_name.as_ref().is_some_and(|vm| caller.sees(vm)) => {
                    Err(missing(Missing::Job, id))
                }
                _ => Ok(()),
            }
        }
    }
}

/// What was looked up, where it is there.
///
/// # Errors
/// Where that can't be told: nobody is let through then.
pub(crate) fn found<T>(looked_up: hub::Result<T>) -> Result<Option<T>, Failure> {
    match looked_up {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. } | Error::Invalid { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same as for what is not there.
pub(crate) fn missing(what: Missing, id: &str) -> Failure {
    Error::NotFound { what, id: id.to_owned() }.into()
}

fn outcome(response: &Response) -> String {
    match response.extensions().get::<ErrorCode>() {
        Some(code) => code.as_str().to_owned(),
        None if response.status().is_success() => hub::OK.to_owned(),
        None => response.status().as_u16().to_string(),
    }
}

/// The entry of the audit log, but for where the request came from and how it ended; `None` where there is to be none.
fn deed(rule: &Rule, caller: Option<&Caller>, params: &Params, note: &Note) -> Option<hub::Deed> {
    let (action, reads) = match rule.deed {
        Deed::None => return None,
        Deed::Change(action) => (action, false),
        Deed::Read(action) => (action, true),
    };
    let noted = std::mem::take(&mut *note.0.lock().unwrap_or_else(PoisonError::into_inner));
    // Nobody who is known: there is no end of such requests.
    let actor = noted.actor.or_else(|| caller.map(|caller| caller.who.to_string()))?;
    let object = noted.object.unwrap_or_else(|| {
        let values: Vec<&str> = params.iter().map(|(_, value)| value.as_str()).collect();
        if values.is_empty() { rule.path.to_owned() } else { values.join(" ") }
    });
    let object = object.chars().take(MAX_DETAIL).collect();
    (!noted.skip).then(|| hub::Deed {
        actor,
        peer: Peer::Process,
        action,
        object,
        outcome: String::new(),
        detail: noted.detail,
        request_id: None,
        reads,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_can_not_be_looked_up_lets_nobody_through() {
        assert!(matches!(found(Ok(1)), Ok(Some(1))));
        assert!(matches!(found::<()>(Err(Error::NotFound { what: Missing::Job, id: "x".into() })), Ok(None)));
        assert!(found::<()>(Err(Error::Internal("the catalog is away".into()))).is_err());
    }

    #[test]
    fn one_bearer_header_is_a_token_and_nothing_else_is() {
        let told = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            }
            match bearer(&headers) {
                Bearer::None => "none".to_owned(),
                Bearer::Token(token) => token.to_owned(),
                Bearer::Other => "other".to_owned(),
            }
        };
        assert_eq!(told(&[]), "none");
        for (value, token) in [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("BEARER a", "a")] {
            assert_eq!(told(&[value.as_bytes()]), token, "{value}");
        }
        let long = format!("Bearer {}", "x".repeat(MAX_TOKEN + 1));
        for value in ["", "Bearer", "Bearer ", "Basic YTpi", "abc", "Bearer\tabc", &long] {
            assert_eq!(told(&[value.as_bytes()]), "other", "{value}");
        }
        assert_eq!(told(&[b"Bearer \xff"]), "other");
        assert_eq!(told(&[b"Bearer a", b"Bearer b"]), "other");
    }
}
