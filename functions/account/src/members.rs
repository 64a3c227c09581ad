//! Members of an account: the people who may act for it.
//!
//! Invariants: an account always has at least one owner. Only an owner can grant or remove the role `owner`.

use accounts::{
    entities::{AuditEntry, Member},
    id::MemberId,
};
use api::{App, Json, List, PathId, Post, Principal, PrincipalKind, Problem, created, problems, respond};
use axum::{extract::State, http::StatusCode, response::Response};
use domain::{
    id::AccountId,
    scope::{Grant, Role},
};

use crate::dto::{MemberPatch, MemberView, NewMember};

/// Lists the members of the account.
#[utoipa::path(get, path = "/api/v1/members", tag = "account",
    responses((status = OK, body = List<MemberView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
) -> Result<axum::Json<List<MemberView>>, Problem> {
    let members = accounts::members(&app.table, &principal.account_id).await?;
    Ok(axum::Json(List { data: members.into_iter().map(MemberView::from).collect(), next_cursor: None }))
}

/// Adds a member to the account.
///
/// The member signs in at the OIDC issuer, which must have verified the email address. A secret key needs the scope
/// `*` to add a member. Only an owner can add an owner.
#[utoipa::path(post, path = "/api/v1/members", tag = "account", request_body = NewMember,
    responses((status = CREATED, body = MemberView)))]
pub async fn create(
    State(app): State<App>,
    principal: Principal,
    post: Post<NewMember>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    require_power_over(&principal, post.body.role)?;
    let now = app.now();
    let member = Member {
        id: MemberId::new(now),
        account_id: principal.account_id.clone(),
        email: post.body.email.as_str().to_owned(),
        login: accounts::login_of(&post.body.email),
        role: post.body.role,
        subject: None,
        created_at: now,
        rev: 1,
    };
    let audit = audit(&principal, "member.added", &member.id, &app);
    let answer = created(format!("/api/v1/members/{}", member.id), &MemberView::from(member.clone()))?;
    match post.commit(&app, accounts::add_member(&member, &audit), &answer).await {
        Ok(committed) => Ok(respond(committed.answer_or(answer))),
        Err(problem) => Err(problem.or(accounts::is_login_taken, accounts::problems::MEMBER_EXISTS)),
    }
}

/// Changes the role of a member.
///
/// A secret key needs the scope `*`. Only an owner can grant or remove the role `owner`. The last owner of an
/// account cannot lose the role.
#[utoipa::path(patch, path = "/api/v1/members/{id}", tag = "account",
    params(("id" = MemberId, Path)), request_body = MemberPatch,
    responses((status = OK, body = MemberView)))]
pub async fn update(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<MemberId>,
    Json(patch): Json<MemberPatch>,
) -> Result<axum::Json<MemberView>, Problem> {
    let member = own_member(&app, &principal.account_id, &id).await?;
    require_power_over(&principal, member.role)?;
    require_power_over(&principal, patch.role)?;
    let remaining = match patch.role {
        Role::Owner => None,
        Role::Admin | Role::Staff => other_owner(&app, &member).await?,
    };
    let rev = member.rev;
    let changed = Member { role: patch.role, rev: rev + 1, ..member };
    let audit = audit(&principal, "member.role_changed", &id, &app);
    accounts::update_member(&app.table, &changed, rev, remaining.as_ref(), &audit).await?;
    Ok(axum::Json(changed.into()))
}

/// Removes a member from the account.
///
/// The next request of the removed member is refused. A secret key needs the scope `*`. Only an owner can remove an
/// owner, and the last owner cannot be removed.
#[utoipa::path(delete, path = "/api/v1/members/{id}", tag = "account",
    params(("id" = MemberId, Path)), responses((status = NO_CONTENT)))]
pub async fn delete(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<MemberId>,
) -> Result<StatusCode, Problem> {
    let member = own_member(&app, &principal.account_id, &id).await?;
    require_power_over(&principal, member.role)?;
    let remaining = other_owner(&app, &member).await?;
    let audit = audit(&principal, "member.removed", &id, &app);
    accounts::remove_member(&app.table, &member, remaining.as_ref(), &audit).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn own_member(app: &App, account: &AccountId, id: &MemberId) -> Result<Member, Problem> {
    accounts::member(&app.table, account, id).await?.ok_or_else(|| problems::NOT_FOUND.into())
}

/// Checks that the principal may add, change or remove a member with this role.
///
/// Members can do more than most API keys. A key therefore needs the scope `*`. Only an owner can grant or remove
/// the role `owner`.
fn require_power_over(principal: &Principal, role: Role) -> Result<(), Problem> {
    let detail = match &principal.kind {
        PrincipalKind::SecretKey(grants) if !grants.contains(&Grant::all()) => {
            "A key needs the scope `*` to change members."
        }
        PrincipalKind::Member(Role::Owner) => return Ok(()),
        _ if role == Role::Owner => "Only an owner can grant or remove the role `owner`.",
        _ => return Ok(()),
    };
    Err(Problem::because(problems::INSUFFICIENT_SCOPE, detail))
}

/// Finds another owner, who remains if this member stops being an owner. Returns `None` if the member is not an
/// owner.
///
/// # Errors
/// [`accounts::problems::LAST_OWNER`] if the member is the only owner.
async fn other_owner(app: &App, member: &Member) -> Result<Option<Member>, Problem> {
    if member.role != Role::Owner {
        return Ok(None);
    }
    let members = accounts::members(&app.table, &member.account_id).await?;
    let other = members.into_iter().find(|other| other.role == Role::Owner && other.id != member.id);
    other.map(Some).ok_or_else(|| accounts::problems::LAST_OWNER.into())
}

fn audit(principal: &Principal, action: &str, member: &MemberId, app: &App) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, member.as_str(), app.now())
}
