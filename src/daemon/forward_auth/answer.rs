//! Verdicts as responses. The client of the edge sees all of them but the 204, so they say no more than
//! their status, and never carry Server or the instance's name; Location and Set-Cookie only where a ticket
//! becomes a session.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue,
    LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Response, StatusCode};

use crate::decisions::access::{Reason, SESSION_COOKIE};
use crate::words::token::{Token, TokenRecord};

static INSTANCE_ID: HeaderName = HeaderName::from_static("x-mcp-instance-id");
/// No script, no picture, nothing but the page's own style.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// 204, in the request's own header map: its memory is there already, and goes on to the next request.
pub(super) fn allow(instance: HeaderValue, mut headers: HeaderMap) -> Response<Full<Bytes>> {
    headers.clear();
    headers.insert(&INSTANCE_ID, instance);
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    response
}

/// As [`allow`], where the edge takes all cookies away: those that are not ours go on.
pub(super) fn allow_with_cookies(
    instance: HeaderValue,
    cookies: Option<Vec<u8>>,
) -> Response<Full<Bytes>> {
    let mut response = allow(instance, HeaderMap::new());
    let cookies = cookies.and_then(|cookies| HeaderValue::from_bytes(&cookies).ok());
    if let Some(cookies) = cookies {
        response.headers_mut().insert(COOKIE, cookies);
    }
    response
}

/// 303 to where the link leads without its ticket. With a session, its cookie.
pub(super) fn redirect(
    target: &str,
    session: Option<(&TokenRecord, &Token)>,
    now: jiff::Timestamp,
) -> Response<Full<Bytes>> {
    let Ok(target) = HeaderValue::from_str(target) else {
        return refuse(Reason::Malformed, None, true, HeaderMap::new());
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, target);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The page that follows shall not tell where it was come from.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some((record, token)) = session {
        let seconds = record
            .expires
            .map_or(0, |expires| expires.duration_since(now).as_secs().max(0));
        let cookie = format!(
            "{SESSION_COOKIE}={}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax",
            token.expose()
        );
        let mut cookie =
            HeaderValue::from_str(&cookie).expect("a token is of letters, digits and `_`");
        cookie.set_sensitive(true);
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// A refusal; for a person, as a page. `headers` is a map whose memory serves once more.
pub(super) fn refuse(
    reason: Reason,
    wait: Option<Duration>,
    to_person: bool,
    mut headers: HeaderMap,
) -> Response<Full<Bytes>> {
    let (status, body) = told(reason.status());
    let (body, media_type) = if to_person {
        (page(status), "text/html; charset=utf-8")
    } else {
        (Bytes::from_static(body.as_bytes()), "application/json")
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    headers.clear();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if to_person {
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(PAGE_POLICY),
        );
    }
    if let Some(challenge) = challenge(reason) {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    match reason {
        Reason::Unready | Reason::Limited => {
            headers.insert(RETRY_AFTER, seconds(wait));
        }
        Reason::WrongMethod => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        _ => {}
    }
    *response.headers_mut() = headers;
    response
}

/// Whole seconds, rounded up; one, where nothing says how long. What a bucket says at most needs no memory.
fn seconds(wait: Option<Duration>) -> HeaderValue {
    match wait.map_or(1, |wait| wait.as_secs() + 1) {
        1 => HeaderValue::from_static("1"),
        2 => HeaderValue::from_static("2"),
        3 => HeaderValue::from_static("3"),
        4 => HeaderValue::from_static("4"),
        5 => HeaderValue::from_static("5"),
        6 => HeaderValue::from_static("6"),
        more => HeaderValue::from(more),
    }
}

/// RFC 6750, section 3: what a bearer did wrong. Without an authorization server there is no metadata to point to.
fn challenge(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::NoCredentials => r#"Bearer realm="MCP""#,
        Reason::Unknown | Reason::WrongToken | Reason::ExpiredToken | Reason::RetiredToken => {
            r#"Bearer realm="MCP", error="invalid_token""#
        }
        Reason::WrongEndpoint => r#"Bearer realm="MCP", error="insufficient_scope""#,
        Reason::DuplicateAuthorization | Reason::Malformed => {
            r#"Bearer realm="MCP", error="invalid_request""#
        }
        _ => return None,
    })
}

/// A status and its body, which holds the status phrase: the MCP Inspector looks for `Unauthorized`.
fn told(status: u16) -> (StatusCode, &'static str) {
    match status {
        400 => (
            StatusCode::BAD_REQUEST,
            r#"{"status":400,"error":"Bad Request"}"#,
        ),
        401 => (
            StatusCode::UNAUTHORIZED,
            r#"{"status":401,"error":"Unauthorized"}"#,
        ),
        404 => (
            StatusCode::NOT_FOUND,
            r#"{"status":404,"error":"Not Found"}"#,
        ),
        405 => (
            StatusCode::METHOD_NOT_ALLOWED,
            r#"{"status":405,"error":"Method Not Allowed"}"#,
        ),
        429 => (
            StatusCode::TOO_MANY_REQUESTS,
            r#"{"status":429,"error":"Too Many Requests"}"#,
        ),
        503 => (
            StatusCode::SERVICE_UNAVAILABLE,
            r#"{"status":503,"error":"Service Unavailable"}"#,
        ),
        // In doubt: no.
        _ => (
            StatusCode::FORBIDDEN,
            r#"{"status":403,"error":"Forbidden"}"#,
        ),
    }
}

/// What a person reads in place of the browser's screen. It says the same whatever was wrong with a link.
fn page(status: StatusCode) -> Bytes {
    let (title, text) = match status.as_u16() {
        401 => (
            "This link does not open",
            "<p>It was used already, or its time is over, or it came without a ticket. A link opens once, in one \
             browser.\n<p>For a new one, ask whoever runs this instance. They run:\n\
             <p><code>instanced connect NAME --open</code>",
        ),
        429 => (
            "Too many tries",
            "<p>Too many links that do not open came from your address.\n\
             <p>Wait a minute, then open a new link.",
        ),
        503 => (
            "Not ready yet",
            "<p>Who may pass is not known at the moment.\n<p>Load this page again in a few seconds.",
        ),
        _ => (
            "Not from here",
            "<p>This request came from another page than the instance's own, or could not be read.",
        ),
    };
    let phrase = status.canonical_reason().unwrap_or_default();
    Bytes::from(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n\
         :root {{ color-scheme: light dark; --page: #f3f4f6; --card: #fff; --text: #1f2430; --line: #0001 }}\n\
         @media (prefers-color-scheme: dark) {{\n  \
         :root {{ --page: #14161a; --card: #1e2127; --text: #e4e6eb; --line: #fff2 }}\n}}\n\
         body {{ margin: 0; min-height: 100vh; padding: 1.5rem; box-sizing: border-box; display: grid; \
         place-items: center; background: var(--page); color: var(--text); font: 1rem/1.6 system-ui, sans-serif }}\n\
         main {{ max-width: 29rem; padding: 2.25rem 2.5rem; background: var(--card); border: 1px solid var(--line); \
         border-radius: .75rem; box-shadow: 0 1px 3px #0002 }}\n\
         h1 {{ font-size: 1.4rem; line-height: 1.25; margin: 0 0 1rem }}\n\
         p {{ margin: 0 0 .75rem }}\n\
         code {{ display: block; padding: .6rem .8rem; background: #8882; border-radius: .4rem; \
         font: .9rem ui-monospace, monospace }}\n\
         footer {{ margin-top: 1.5rem; font-size: .8rem; opacity: .6 }}\n\
         </style>\n<main>\n<h1>{title}</h1>\n{text}\n<footer>{} {phrase}</footer>\n</main>\n</html>\n",
        status.as_u16()
    ))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn every_refusal_has_its_own_status_and_a_short_body_with_its_phrase() {
        for reason in Reason::ALL {
            let response = refuse(reason, None, false, HeaderMap::new());
            assert_eq!(response.status().as_u16(), reason.status(), "{reason:?}");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            if reason.status() == 401 {
                assert!(response.headers().contains_key(WWW_AUTHENTICATE));
            }
            for absent in [&INSTANCE_ID, &LOCATION, &SET_COOKIE] {
                assert!(!response.headers().contains_key(absent), "{reason:?}");
            }
            let phrase = response.status().canonical_reason().unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"], phrase);
            assert!(body.to_string().len() < 200);
        }
    }

    #[tokio::test]
    async fn a_person_gets_a_page_that_fits_what_the_edge_reads() {
        for reason in Reason::ALL {
            let response = refuse(reason, None, true, HeaderMap::new());
            assert_eq!(response.status().as_u16(), reason.status(), "{reason:?}");
            let phrase = response.status().canonical_reason().unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let text = std::str::from_utf8(&body).unwrap();
            assert!(text.contains(phrase), "{text}");
            let most = crate::words::router::ForwardAuth::MAX_RESPONSE_BODY_SIZE;
            assert!(body.len() < most as usize);
        }
    }

    #[test]
    fn a_limit_says_how_long_it_lasts() {
        let response = refuse(
            Reason::Limited,
            Some(Duration::from_millis(5_200)),
            false,
            HeaderMap::new(),
        );
        assert_eq!(response.headers()[RETRY_AFTER], "6");
    }
}
