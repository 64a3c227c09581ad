//! Customers and their cards.

use api::{
    App, Client, IfMatch, Json, List, PageQuery, PathId, Post, Principal, Problem, ProblemKind, Query, created,
    etag, merge_patch, rate_limited, require_origin, respond,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{
    id::{CustomerId, ProgramId},
    stamp::{Card, Customer, ProgramStatus},
    subscriber::Consent,
    token::{SHOWN_FOR, Shown},
};
use serde::Deserialize;
use store::{Answer, CommitError, customers, entities::AuditEntry, stamps};

use crate::dto::{CardView, CustomerView, EnrolledView, EnrolmentRequest, ShownCardView};

/// A customer of the account: another account's does not exist.
pub async fn own(app: &App, principal: &Principal, id: &CustomerId) -> Result<Customer, Problem> {
    let found = customers::read(&app.table, &principal.account_id, id).await?;
    found.ok_or_else(|| ProblemKind::NotFound.because("There is no such customer."))
}
