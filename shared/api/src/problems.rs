//! Problems that any function may return.

domain::problem_kinds! {
    BAD_REQUEST "bad-request" 400 "Bad request";
    MALFORMED_JSON "malformed-json" 400 "The body is not JSON";
    VALIDATION_FAILED "validation-failed" 422 "A field is invalid";
    UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" 415 "The body must be application/json";
    PAYLOAD_TOO_LARGE "payload-too-large" 413 "The body is too large";
    UNAUTHORIZED "unauthorized" 401 "Authentication required";
    INVALID_API_KEY "invalid-api-key" 401 "The API key is not valid";
    REVOKED_API_KEY "revoked-api-key" 401 "The API key has been revoked";
    INVALID_TOKEN "invalid-token" 401 "The token is not valid";
    EXPIRED_TOKEN "expired-token" 401 "The token has expired";
    NOT_A_MEMBER "not-a-member" 401 "The token's owner is not a member of the account";
    ACCOUNT_REQUIRED "account-required" 401 "The request must name an account";
    INSUFFICIENT_SCOPE "insufficient-scope" 403 "The credentials do not permit the request";
    SECRET_KEY_REQUIRED "secret-key-required" 403 "A secret key is required";
    SUBSCRIBER_TOKEN_REQUIRED "subscriber-token-required" 403 "The subscriber's own token is needed";
    SERVER_ONLY "server-only" 403 "A publishable key is not accepted for this object";
    ORIGIN_NOT_ALLOWED "origin-not-allowed" 403 "The origin is not allowed";
    NOT_FOUND "not-found" 404 "Not found";
    METHOD_NOT_ALLOWED "method-not-allowed" 405 "The path has no such method";
    CONFLICT "conflict" 409 "Another request changed the object at the same time";
    SIGNATURE_INVALID "signature-invalid" 403 "The signature is not valid";
    IDEMPOTENCY_KEY_REUSED "idempotency-key-reused" 422 "The Idempotency-Key belongs to another request";
    PRECONDITION_FAILED "precondition-failed" 412 "The object has changed since it was read";
    PRECONDITION_REQUIRED "precondition-required" 428 "If-Match is required";
    RATE_LIMITED "rate-limited" 429 "Too many requests";
    INTERNAL_ERROR "internal-error" 500 "Internal error";
    UNAVAILABLE "unavailable" 503 "The service is temporarily unavailable";
}
