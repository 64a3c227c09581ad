//! Routes of campaigns: settings, states, messages.

use accounts::entities::AuditEntry;
use api::{
    App, IfMatch, Json, List, PageQuery, PathId, Post, Principal, Problem, Query, created, etag, existing,
    merge_patch, problems, respond, retried,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use campaigns::{
    campaign::{Campaign, CampaignSettings, CampaignStatus, Channel, Send},
    sends, twilio_accounts,
};
use domain::id::{AccountId, CampaignId, CustomerId};
use families::EventView;
use projection::events;
use stamps::{programs, stamp::Card};
use table::{Answer, CommitError};

use crate::dto::{CampaignView, CampaignWithCounts, SendView, TestRequest};

/// Reads a campaign of the account. A campaign of another account is not found (404).
pub async fn own(app: &App, account: &AccountId, id: &CampaignId) -> Result<Campaign, Problem> {
    let found = campaigns::read(&app.table, account, id).await?;
    existing(found, "campaign")
}

fn audit(app: &App, principal: &Principal, action: &str, id: &CampaignId) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, id.as_str(), app.now())
}

/// Checks that the program and the code pool in the settings exist and belong to the account.
async fn require_own(app: &App, account: &AccountId, settings: &CampaignSettings) -> Result<(), Problem> {
    let program = programs::read(&app.table, account, &settings.program_id).await?;
    if program.is_none_or(|program| program.deleting) {
        return Err(Problem::because(problems::NOT_FOUND, "There is no such program."));
    }
    let Some(pool) = &settings.code_pool_id else { return Ok(()) };
    let counter = app.table.look_up(codes::claims::counter(account, pool)).await?;
    counter.map(drop).ok_or_else(|| Problem::because(problems::NOT_FOUND, "There is no such code pool."))
}

/// Creates a campaign.
///
/// The campaign is a draft and sends no messages until it is activated.
#[utoipa::path(post, path = "/api/v1/campaigns", tag = "campaign", request_body = CampaignSettings,
    responses((status = CREATED, body = CampaignView)))]
pub async fn create(
    State(app): State<App>,
    principal: Principal,
    post: Post<CampaignSettings>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    require_own(&app, &principal.account_id, &post.body).await?;
    let campaign = Campaign::new(principal.account_id.clone(), post.body.clone(), app.now());
    let audit = audit(&app, &principal, "campaign.created", &campaign.id);
    let (location, rev) = (format!("/api/v1/campaigns/{}", campaign.id), campaign.rev);
    let commit = campaigns::create(&campaign, &audit);
    let answer = created(location, &CampaignView::from(campaign))?;
    let committed = post.commit(&app, commit, &answer).await?;
    Ok((etag(rev), respond(committed.answer_or(answer))).into_response())
}

/// Lists the account's campaigns, oldest first.
#[utoipa::path(get, path = "/api/v1/campaigns", tag = "campaign", params(PageQuery),
    responses((status = OK, body = List<CampaignView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<CampaignView>>, Problem> {
    let found = campaigns::list(&app.table, &principal.account_id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(CampaignView::from).into()))
}

/// Returns a campaign with the numbers of its messages.
#[utoipa::path(get, path = "/api/v1/campaigns/{id}", tag = "campaign", params(("id" = CampaignId, Path)),
    responses((status = OK, body = CampaignWithCounts)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
) -> Result<Response, Problem> {
    let campaign = own(&app, &principal.account_id, &id).await?;
    let counts = campaigns::stats(&app.table, &id).await?;
    let rev = campaign.rev;
    let view = CampaignWithCounts { campaign: campaign.into(), counts: counts.into() };
    Ok((etag(rev), axum::Json(view)).into_response())
}

/// Changes settings of a campaign (RFC 7396 merge patch).
///
/// An active campaign must be paused first. `program_id` can't be changed.
#[utoipa::path(patch, path = "/api/v1/campaigns/{id}", tag = "campaign",
    params(("id" = CampaignId, Path), ("If-Match" = String, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = CampaignView)))]
pub async fn patch(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    seen: IfMatch,
    Json(patch): Json<serde_json::Value>,
) -> Result<Response, Problem> {
    let old = own(&app, &principal.account_id, &id).await?;
    seen.check(old.rev)?;
    require_kept(&old)?;
    if old.status == CampaignStatus::Active {
        return Err(campaigns::problems::CAMPAIGN_ACTIVE.into());
    }
    let settings: CampaignSettings = merge_patch(&old.settings, &patch)?;
    if settings.program_id != old.settings.program_id {
        return Err(Problem::field("program_id", "can't be changed after the campaign is created"));
    }
    require_own(&app, &principal.account_id, &settings).await?;
    let new = Campaign { settings, ..old.next(app.now()) };
    let audit = audit(&app, &principal, "campaign.updated", &id);
    match campaigns::update(&new, old.rev, &audit).apply(&app.table).await {
        Ok(()) => Ok((etag(new.rev), axum::Json(CampaignView::from(new))).into_response()),
        Err(CommitError::Condition(_)) => Err(problems::PRECONDITION_FAILED.into()),
        Err(error) => Err(error.into()),
    }
}

fn require_kept(campaign: &Campaign) -> Result<(), Problem> {
    if campaign.deleting { Err(campaigns::problems::CAMPAIGN_DELETING.into()) } else { Ok(()) }
}

/// Deletes a campaign with its messages.
///
/// No more messages of the campaign are sent. The deletion runs in the background. Until it is finished, the campaign
/// has `deleting: true`; afterwards the campaign is not found (404).
#[utoipa::path(delete, path = "/api/v1/campaigns/{id}", tag = "campaign", params(("id" = CampaignId, Path)),
    responses((status = ACCEPTED)))]
pub async fn delete(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    seen: Option<IfMatch>,
) -> Result<Response, Problem> {
    let campaign = own(&app, &principal.account_id, &id).await?;
    if let Some(seen) = seen {
        seen.check(campaign.rev)?;
    }
    let audit = audit(&app, &principal, "campaign.deleted", &id);
    campaigns::begin_delete(&app.table, &campaign, &audit, app.now()).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/campaigns/{id}"))]).into_response())
}

/// Activates a draft campaign.
///
/// A campaign with a `segment` trigger sends its messages now. A campaign with an `inactivity` or `birthday` trigger
/// is checked now and once a day after midnight in its `time_zone`. A campaign with a `milestone` trigger sends a
/// message when a customer reaches the number of visits.
#[utoipa::path(post, path = "/api/v1/campaigns/{id}/activate", tag = "campaign",
    params(("id" = CampaignId, Path)), responses((status = OK, body = CampaignView)))]
pub async fn activate(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    go(&app, &principal, &id, &post, Step::Activate).await
}

/// Pauses an active campaign.
///
/// Messages that have not been handed over to the provider wait until the campaign is resumed.
#[utoipa::path(post, path = "/api/v1/campaigns/{id}/pause", tag = "campaign",
    params(("id" = CampaignId, Path)), responses((status = OK, body = CampaignView)))]
pub async fn pause(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    go(&app, &principal, &id, &post, Step::Pause).await
}

/// Resumes a paused campaign.
///
/// The campaign sends the messages that waited, and creates messages for customers who match its trigger by now.
#[utoipa::path(post, path = "/api/v1/campaigns/{id}/resume", tag = "campaign",
    params(("id" = CampaignId, Path)), responses((status = OK, body = CampaignView)))]
pub async fn resume(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    go(&app, &principal, &id, &post, Step::Resume).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Activate,
    Pause,
    Resume,
}

impl Step {
    /// Returns the state before the step, the state after the step, and the action in the audit log.
    fn states(self) -> (CampaignStatus, CampaignStatus, &'static str) {
        match self {
            Self::Activate => (CampaignStatus::Draft, CampaignStatus::Active, "campaign.activated"),
            Self::Pause => (CampaignStatus::Active, CampaignStatus::Paused, "campaign.paused"),
            Self::Resume => (CampaignStatus::Paused, CampaignStatus::Active, "campaign.resumed"),
        }
    }

    fn refused(self, status: CampaignStatus) -> Problem {
        match (self, status) {
            (Self::Activate, CampaignStatus::Paused) => Problem::because(
                campaigns::problems::CAMPAIGN_NOT_ACTIVE,
                "The campaign is paused: resume it.",
            ),
            (Self::Activate | Self::Resume, CampaignStatus::Active) => {
                campaigns::problems::CAMPAIGN_ACTIVE.into()
            }
            _ => campaigns::problems::CAMPAIGN_NOT_ACTIVE.into(),
        }
    }
}

async fn go(
    app: &App,
    principal: &Principal,
    id: &CampaignId,
    post: &Post<serde_json::Value>,
    step: Step,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(app).await? {
        return Ok(respond(answer));
    }
    let (from, to, action) = step.states();
    retried(|| async {
        let campaign = own(app, &principal.account_id, id).await?;
        require_kept(&campaign)?;
        if campaign.status != from {
            // The same request may have been sent twice at the same time: return the answer of the other one.
            let before = post.answered(app).await?;
            return before.map(respond).ok_or_else(|| step.refused(campaign.status));
        }
        let now = app.now();
        let mut next = Campaign { status: to, ..campaign.next(now) };
        let audit = audit(app, principal, action, id);
        let commit = if to == CampaignStatus::Active {
            require_own(app, &campaign.account_id, &campaign.settings).await?;
            require_sender(app, &campaign).await?;
            next = Campaign {
                run: campaign.run + 1,
                swept_until: None,
                activated_at: campaign.activated_at.or(Some(now)),
                ..next
            };
            campaigns::start(&next, campaign.rev, &audit, now)
        } else {
            campaigns::update(&next, campaign.rev, &audit)
        };
        let body = serde_json::to_string(&CampaignView::from(next))?;
        let answer = Answer { status: StatusCode::OK.as_u16(), body, location: None };
        let committed = post.commit(app, commit, &answer).await?;
        Ok(respond(committed.answer_or(answer)))
    })
    .await
}

/// Checks that a sender is configured for the campaign's channel.
async fn require_sender(app: &App, campaign: &Campaign) -> Result<(), Problem> {
    let channel = campaign.settings.template.channel();
    if channel == Channel::Email {
        return Ok(());
    }
    let account = twilio_accounts::read(&app.table, &campaign.account_id).await?;
    let sender = account.and_then(|account| match channel {
        Channel::Whatsapp => account.whatsapp_sender,
        _ => account.sms_sender,
    });
    sender.map(drop).ok_or_else(|| campaigns::problems::NO_SENDER.into())
}

/// Sends a test message of the campaign to one customer.
///
/// The message is sent immediately and in any state of the campaign. A test message is not counted, and ignores the
/// frequency cap and quiet hours. A customer who has not consented to messages gets no test message.
#[utoipa::path(post, path = "/api/v1/campaigns/{id}/test", tag = "campaign", params(("id" = CampaignId, Path)),
    request_body = TestRequest, responses((status = ACCEPTED, body = SendView)))]
pub async fn test(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    post: Post<TestRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let campaign = own(&app, &principal.account_id, &id).await?;
    require_kept(&campaign)?;
    require_own(&app, &campaign.account_id, &campaign.settings).await?;
    require_sender(&app, &campaign).await?;
    let card = card(&app, &campaign, &post.body.customer_id).await?;
    let now = app.now();
    let occasion = format!("test {}", domain::secret::encode(&domain::secret::random::<12>()));
    let send = Send { test: true, ..Send::new(&campaign, &card, &occasion, now) };
    let commit = sends::ask(&send, now);
    let body = serde_json::to_string(&SendView::from(send))?;
    let answer = Answer { status: StatusCode::ACCEPTED.as_u16(), body, location: None };
    let committed = post.commit(&app, commit, &answer).await?;
    Ok(respond(committed.answer_or(answer)))
}

async fn card(app: &App, campaign: &Campaign, customer: &CustomerId) -> Result<Card, Problem> {
    let card = stamps::customers::card(&app.table, customer, &campaign.settings.program_id).await?;
    let own = card.filter(|card| card.account_id == campaign.account_id);
    own.ok_or_else(|| Problem::because(problems::NOT_FOUND, "The program has no such customer."))
}

/// Lists the messages of a campaign, in an arbitrary order.
#[utoipa::path(get, path = "/api/v1/campaigns/{id}/sends", tag = "campaign",
    params(("id" = CampaignId, Path), PageQuery), responses((status = OK, body = List<SendView>)))]
pub async fn sends(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<SendView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = sends::list(&app.table, &id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(SendView::from).into()))
}

/// Lists the events of a campaign, newest first.
///
/// Events are kept for 30 days.
#[utoipa::path(get, path = "/api/v1/campaigns/{id}/events", tag = "campaign",
    params(("id" = CampaignId, Path), PageQuery), responses((status = OK, body = List<EventView>)))]
pub async fn events(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CampaignId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<EventView>>, Problem> {
    own(&app, &principal.account_id, &id).await?;
    let found = events::list(&app.table, id.as_str(), page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(EventView::from).into()))
}
