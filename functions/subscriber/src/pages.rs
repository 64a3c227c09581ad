//! Pages that the links in mails open.
//!
//! Opening a page changes nothing, because mail scanners open links too. Only the button on the page sends the
//! request.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use domain::secret;

/// Returns the page whose button verifies an email address.
#[utoipa::path(get, path = "/verify", tag = "subscriber",
    responses((status = OK, body = String, content_type = "text/html")))]
pub async fn verify() -> Response {
    page(
        "Confirm your address",
        "One click and you are on the list.",
        "Yes, that's me",
        "api/v1/subscribers/verify",
        "You are in. Your position: {position}. Move up by sharing your link:",
    )
}

/// Returns the page whose button unsubscribes from all mail.
#[utoipa::path(get, path = "/unsubscribe", tag = "subscriber",
    responses((status = OK, body = String, content_type = "text/html")))]
pub async fn unsubscribe() -> Response {
    page(
        "Unsubscribe",
        "Click the button to unsubscribe.",
        "Unsubscribe",
        "api/v1/subscribers/unsubscribe",
        "You are unsubscribed.",
    )
}

const STYLE: &str = include_str!("pages.css");
const SCRIPT: &str = include_str!("pages.js");

fn page(title: &str, text: &str, button: &str, action: &str, done: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style>\
         <main><h1>{title}</h1><p id=\"text\" role=\"status\">{text}</p>\
         <button data-action=\"{action}\" data-done=\"{done}\">{button}</button><p><a id=\"link\"></a></p>\
         <noscript>Please allow JavaScript for this page.</noscript></main><script>{SCRIPT}</script></html>"
    );
    // The page loads nothing: only its inline script and style are allowed, by their hashes.
    let hash = |text: &str| secret::sha256_base64(text.as_bytes());
    let policy = format!(
        "default-src 'none'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; \
         script-src 'sha256-{}'; style-src 'sha256-{}'",
        hash(SCRIPT),
        hash(STYLE)
    );
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        [(header::CONTENT_SECURITY_POLICY, policy)],
        html,
    )
        .into_response()
}
