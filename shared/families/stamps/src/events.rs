//! What happens in a stamp program.

domain::event_kinds! {
    CUSTOMER_ENROLLED "customer.enrolled" count "program_id" Customer "" [] "A customer got a card.";
    STAMP_GIVEN "stamp.given" count "program_id" Customer "stamp_id" ["stamps": Number] "A customer's visit was stamped.";
    STAMP_VOIDED "stamp.voided" count "program_id" Customer "stamp_id" ["stamps": Number] "The stamps of a visit were taken back.";
    MILESTONE_REACHED "milestone.reached" count "program_id" Customer "" ["visits": Number] "A customer came for the so-manieth time.";
    CARD_REWARD_ISSUED "card_reward.issued" count "program_id" Customer "card_reward_id" [] "A customer filled a card.";
    CARD_REWARD_REDEEMED "card_reward.redeemed" step "program_id" Customer "card_reward_id" [] "A customer got what a full card is good for.";
    CARD_REWARD_WITHDRAWN "card_reward.withdrawn" count "program_id" Customer "card_reward_id" [] "A reward was taken back with its stamps.";
}
