//! Verdicts as responses. The client of the edge sees all of them but the 204, so they say no more than
//! their status, and never carry Location, Server, Set-Cookie or the instance's name.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};

use crate::decisions::access::Reason;
use crate::words::name::InstanceName;

const INSTANCE_ID: HeaderName = HeaderName::from_static("x-mcp-instance-id");

pub(super) fn allow(instance: &InstanceName) -> Response<Full<Bytes>> {
    let Ok(id) = HeaderValue::from_str(instance.as_str()) else {
        // A DNS label always is a header's value; were it not, nobody would pass.
        return refuse(Reason::Unready);
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(INSTANCE_ID, id);
    response
}

pub(super) fn refuse(reason: Reason) -> Response<Full<Bytes>> {
    let (status, body) = told(reason.status());
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match reason {
        Reason::NoCredentials => {
            let challenge = HeaderValue::from_static(r#"Bearer realm="MCP""#);
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        Reason::Unknown | Reason::WrongToken | Reason::ExpiredToken => {
            let challenge = r#"Bearer realm="MCP", error="invalid_token""#;
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Reason::Unready => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Reason::WrongMethod => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        _ => {}
    }
    response
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn every_refusal_has_its_own_status_and_a_short_body_with_its_phrase() {
        for reason in Reason::ALL {
            let response = refuse(reason);
            assert_eq!(response.status().as_u16(), reason.status(), "{reason:?}");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
            assert_eq!(challenged, reason.status() == 401, "{reason:?}");
            assert!(!response.headers().contains_key(INSTANCE_ID));
            let phrase = response.status().canonical_reason().unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"], phrase);
            assert!(body.to_string().len() < 200);
        }
    }
}
