//! Problems with which requests about webhook endpoints are refused.

domain::problem_kinds! {
    ENDPOINT_DISABLED "endpoint-disabled" 409 "The webhook endpoint is disabled";
    TOO_MANY_ENDPOINTS "too-many-endpoints" 409 "The account has the maximum number of webhook endpoints";
}
