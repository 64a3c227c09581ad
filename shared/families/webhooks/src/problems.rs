//! What webhook endpoints refuse.

domain::problem_kinds! {
    ENDPOINT_DISABLED "endpoint-disabled" 409 "The webhook endpoint is disabled";
    TOO_MANY_ENDPOINTS "too-many-endpoints" 409 "The account has no room for more webhook endpoints";
}
