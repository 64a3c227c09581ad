//! The kinds of events: what happens, under which name, and which ids and numbers tell of it.
//!
//! An event of a kind always has the fields that the kind names: feeds, webhooks and their documents follow from that.

/// What an event happens to, or in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Waitlist,
    Feature,
    CodePool,
    Program,
    Campaign,
}

impl Topic {
    /// The field of its id.
    pub fn field(self) -> &'static str {
        match self {
            Self::Waitlist => "waitlist_id",
            Self::Feature => "feature_id",
            Self::CodePool => "code_pool_id",
            Self::Program => "program_id",
            Self::Campaign => "campaign_id",
        }
    }
}

/// Who does it, or to whom it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    Subscriber,
    Customer,
    Nobody,
}

macro_rules! event_kinds {
    ($($name:ident $text:literal $topic:ident $person:ident $object:literal [$($number:literal)*] $about:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum EventKind {
            $(#[serde(rename = $text)] $name),*
        }

        impl EventKind {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// In words, a sentence.
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => $about),* }
            }

            pub fn topic(self) -> Topic {
                match self { $(Self::$name => Topic::$topic),* }
            }

            pub fn person(self) -> Person {
                match self { $(Self::$name => Person::$person),* }
            }

            /// The field of the id of what else it is about, if it is.
            pub fn object(self) -> Option<&'static str> {
                let field = match self { $(Self::$name => $object),* };
                (!field.is_empty()).then_some(field)
            }

            /// The numbers of the matter, by name.
            pub fn numbers(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($number),*]),* }
            }
        }
    };
}

event_kinds! {
    SubscriberJoined "subscriber.joined" Waitlist Subscriber "" [] "Somebody joined a waitlist.";
    SubscriberVerified "subscriber.verified" Waitlist Subscriber "" [] "A subscriber confirmed the address, and is in line.";
    SubscriberInvited "subscriber.invited" Waitlist Subscriber "" [] "A subscriber's turn has come.";
    SubscriberConverted "subscriber.converted" Waitlist Subscriber "" [] "A subscriber became what the list is for.";
    SubscriberUnsubscribed "subscriber.unsubscribed" Waitlist Subscriber "" [] "A subscriber wants no more mail.";
    SubscriberResubscribed "subscriber.resubscribed" Waitlist Subscriber "" [] "A subscriber who had unsubscribed confirmed to want mail again.";
    SubscriberErased "subscriber.erased" Waitlist Subscriber "" [] "A subscriber was erased.";
    ReferralCredited "referral.credited" Waitlist Subscriber "referral_id" [] "A subscriber brought another one, and moved up.";
    ReferralRevoked "referral.revoked" Waitlist Subscriber "referral_id" [] "A subscriber's credit for another one was taken back.";
    ReferralRestored "referral.restored" Waitlist Subscriber "referral_id" [] "A credit that was taken back was given again.";
    RewardIssued "reward.issued" Waitlist Subscriber "reward_id" [] "A subscriber reached a tier, and its reward.";
    RewardRevoked "reward.revoked" Waitlist Subscriber "reward_id" [] "A subscriber fell below a tier again.";
    FeatureVoted "feature.voted" Feature Subscriber "" [] "A subscriber voted for a feature.";
    FeatureUnvoted "feature.unvoted" Feature Subscriber "" [] "A subscriber took a vote back.";
    CommentPosted "comment.posted" Feature Subscriber "comment_id" [] "A subscriber's comment waits for a moderator.";
    CommentApproved "comment.approved" Feature Subscriber "comment_id" [] "A comment was approved, and can be read.";
    CommentRejected "comment.rejected" Feature Subscriber "comment_id" [] "A comment was rejected.";
    CommentErased "comment.erased" Feature Subscriber "comment_id" [] "A comment is gone with whoever wrote it.";
    CodeClaimed "code.claimed" CodePool Nobody "claim_id" [] "Somebody claimed a code.";
    CodeRedeemed "code.redeemed" CodePool Nobody "code_id" [] "A code was redeemed.";
    CodePoolLowStock "code_pool.low_stock" CodePool Nobody "" ["remaining" "threshold"] "A pool has fewer codes left than one of its thresholds.";
    ImportCompleted "import.completed" CodePool Nobody "import_id" ["added" "duplicates" "rejected"] "A file of codes was loaded.";
    ImportFailed "import.failed" CodePool Nobody "import_id" ["added" "duplicates" "rejected"] "A file of codes could not be loaded.";
    CustomerEnrolled "customer.enrolled" Program Customer "" [] "A customer got a card.";
    StampGiven "stamp.given" Program Customer "stamp_id" ["stamps"] "A customer's visit was stamped.";
    StampVoided "stamp.voided" Program Customer "stamp_id" ["stamps"] "The stamps of a visit were taken back.";
    MilestoneReached "milestone.reached" Program Customer "" ["visits"] "A customer came for the so-manieth time.";
    CardRewardIssued "card_reward.issued" Program Customer "card_reward_id" [] "A customer filled a card.";
    CardRewardRedeemed "card_reward.redeemed" Program Customer "card_reward_id" [] "A customer got what a full card is good for.";
    CardRewardWithdrawn "card_reward.withdrawn" Program Customer "card_reward_id" [] "A reward was taken back with its stamps.";
    MessageQueued "message.queued" Campaign Customer "send_id" [] "A customer belongs to a campaign's audience.";
    MessageReopened "message.reopened" Campaign Customer "send_id" [] "A message that counted as dealt with is to be dealt with again.";
    MessageRefused "message.refused" Campaign Customer "send_id" [] "A message is not sent, for a reason that it names.";
    MessageSent "message.sent" Campaign Customer "send_id" [] "A message was handed to the provider.";
    MessageFailed "message.failed" Campaign Customer "send_id" [] "The provider could not deliver a message.";
    MessageDelivered "message.delivered" Campaign Customer "send_id" [] "A message was delivered.";
    MessageRead "message.read" Campaign Customer "send_id" [] "A message was read.";
    MessageRedeemed "message.redeemed" Campaign Nobody "send_id" [] "The code that a message told was redeemed.";
}

impl EventKind {
    /// Whether it leads from a visit to a redemption, and is counted for the whole account as well.
    pub fn is_step(self) -> bool {
        matches!(
            self,
            Self::SubscriberJoined | Self::ReferralCredited | Self::CodeRedeemed | Self::CardRewardRedeemed
        )
    }
}

/// By the names: what the derive macro makes of names that come through a macro are those of the variants.
impl utoipa::PartialSchema for EventKind {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let names = Self::ALL.iter().map(|kind| kind.name());
        let text = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::String);
        text.enum_values(Some(names)).into()
    }
}

impl utoipa::ToSchema for EventKind {}
